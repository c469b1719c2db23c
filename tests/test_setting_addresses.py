"""Addresses in settings: whom the archive trusts, and what it asks and tells elsewhere."""

import pytest

from app.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trusted_proxies", "*"),
        ("trusted_proxies", "0.0.0.0/0"),
        ("trusted_proxies", "10.0.0.1, ::/0"),
        ("trusted_proxies", "proxy.example.org"),
        ("cors_origins", "*"),
        ("cors_origins", "https://*.example.org"),
        ("cors_origins", "viewer.example.org"),
        ("cors_origins", "https://viewer.example.org/ohif"),
        ("cors_origins", "null"),
    ],
)
def test_proxies_and_origins_are_listed_each_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()):
        load_settings({"http": {name: value}})


def test_a_token_is_sent_to_no_other_machine_in_plain() -> None:
    given = {"fhir_url": "http://fhir.example.org/r4", "fhir_token": "secret"}
    with pytest.raises(SettingsError, match="https"):
        load_settings({"audit": given})
    for url in ("https://fhir.example.org/r4", "http://127.0.0.1:9090/r4"):
        assert load_settings({"audit": {**given, "fhir_url": url}}).audit.fhir_url == url


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("database", "url", "postgresql://u:geheim/pw@h/x"),
        ("database", "url", "postgresql://u:geheim#pw@h/x"),
        ("database", "url", "postgresql://u:geheim?pw@h/x"),
        ("database", "url", "postgresql://u:12/geheim@h/x"),
        ("database", "url", "postgresql://u:p@h:geheim/x"),
        ("database", "url", "postgresql://u:p@[geheim/x"),
        ("audit", "fhir_url", "https://u:geheim@h/r4"),
        ("audit", "syslog", "tls://u:geheim@h:1"),
        ("audit", "fhir_url", "https://h:geheim/r4"),
        ("http", "public_url", "https://geheim@h"),
        ("objects", "endpoint", "https://u:geheim@h"),
    ],
)
def test_an_address_with_a_secret_in_its_place_is_refused_and_not_repeated(
    group: str, name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"{group}__{name}".upper()) as told:
        load_settings({group: {name: value}})
    assert "geheim" not in str(told.value)


def test_a_network_of_proxies_can_be_trusted() -> None:
    given = {"http": {"trusted_proxies": "10.1.2.0/24 ::1", "cors_origins": "app://viewer"}}
    assert load_settings(given).http.trusted_proxies == ("10.1.2.0/24", "::1")


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://u:p%2F%40w@db.example.org:5433/x",
        "postgres://u@one:5432,two:5432/x?target_session_attrs=primary",
        "postgresql:///x?host=/run/postgresql",
        "postgresql://u:p@[::1]:5432/x",
        "postgresql://localhost",
    ],
)
def test_an_index_is_found_by_every_form_of_address(value: str) -> None:
    url = load_settings({"database": {"url": value}}).database.url
    assert url is not None
    assert url.get_secret_value() == value
