"""Settings: where they come from, what is refused, and that each is documented."""

import dataclasses
import pickle
import re
import socket
import stat
from pathlib import Path

import pytest
from pydantic import ByteSize, TypeAdapter

from app.dicom.limits import Limits
from app.objects.bucket import Bucket, CopyPlace
from app.settings import (
    PREFIX,
    Http,
    Settings,
    SettingsError,
    is_loopback,
    known_names,
    load_settings,
)

EVERYWHERE = "0.0.0.0"
SAME_NAME = '[{"name": "a", "url": "s3://b"}, {"name": "a", "url": "s3://c"}]'
WITHIN = '[{"name": "a", "url": "file:///srv/a"}, {"name": "c", "url": "file:///srv/a/c/"}]'
SAME_PLACE = '[{"name": "a", "url": "s3://b"}, {"name": "c", "url": "s3://b"}]'
DOCUMENTED = re.findall(
    r"^\| `(FILEROOM_\w+)`[^|]*\| (?:`([^`]*)`|–) \|",
    (Path(__file__).parent.parent / "docs" / "settings.md").read_text(),
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert [name for name, _ in DOCUMENTED] == list(known_names())


@pytest.mark.parametrize(("name", "default"), DOCUMENTED)
def test_the_documented_default_is_the_real_one(name: str, default: str) -> None:
    value: object = Settings()
    for part in name.removeprefix(PREFIX).lower().split("__"):
        value = getattr(value, part, None)
    if isinstance(value, ByteSize):
        assert TypeAdapter(ByteSize).validate_python(default) == value
    else:
        value = " ".join(map(str, value)) if isinstance(value, tuple) else value
        shown = "" if value is None else str(value)
        assert shown.lower().removesuffix(".0") == default.lower()


def test_the_limits_are_those_of_the_domain() -> None:
    assert load_settings().limits == Limits()


def test_the_environment_goes_before_dotenv_and_flags_before_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "FILEROOM_HTTP__PORT=1001\nFILEROOM_HTTP__WORKERS=2\nFILEROOM_LOG__LEVEL=debug\nOTHER=1\n"
    )
    monkeypatch.setenv("FILEROOM_HTTP__PORT", "1002")
    monkeypatch.setenv("FILEROOM_HTTP__WORKERS", "3")
    settings = load_settings({"http": {"port": 1003}})
    assert (settings.http.port, settings.http.workers, settings.log.level) == (1003, 3, "debug")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("FILEROOM_HTTP__PROT", "FILEROOM_HTTP__PORT"),
        ("FILEROOM_HTTP_PORT", "FILEROOM_HTTP__PORT"),
        ("FILEROOM_DATADIR", "FILEROOM_DATA_DIR"),
        ("FILEROOM_LIMITS__ELEMENT", "FILEROOM_LIMITS__ELEMENTS"),
        ("FILEROOM_DATABASE__URL_FIL", "FILEROOM_DATABASE__URL_FILE"),
        ("fileroom_http__prot", "FILEROOM_HTTP__PORT"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "dotenv"])
def test_an_unknown_variable_is_refused_and_the_nearest_named(
    name: str, near: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "dotenv":
        Path(".env").write_text(f"{name}=1\n")
    else:
        monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name.upper()} is not .* Did you mean {near}"):
        load_settings()


def test_a_variable_like_none_at_all_is_refused_without_a_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FILEROOM_Q", "1")
    with pytest.raises(SettingsError, match=r"FILEROOM_Q is not a setting of this version\.$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FILEROOM_HTTP__PORT", "eighty", "FILEROOM_HTTP__PORT: .*integer"),
        ("FILEROOM_HTTP__PORT", "70000", "FILEROOM_HTTP__PORT: .*65535"),
        ("FILEROOM_HTTP__WORKERS", "0", "FILEROOM_HTTP__WORKERS"),
        ("FILEROOM_HTTP__PUBLIC_URL", "pacs.example.org", "such as https://pacs"),
        ("FILEROOM_HTTP__DRAIN_SECONDS", "-1", "FILEROOM_HTTP__DRAIN_SECONDS"),
        ("FILEROOM_DATABASE__URL", "mysql://host/name", "should begin with postgresql://"),
        ("FILEROOM_OBJECTS__URL", "s3:///prefix", "objects lie in a directory or a bucket"),
        ("FILEROOM_OBJECTS__URL", "file://host/place", "objects lie in a directory or a bucket"),
        ("FILEROOM_OBJECTS__COPIES", "s3://bucket", "should be a JSON list such as"),
        ("FILEROOM_OBJECTS__COPIES", '{"name": "a"}', "should be a JSON list such as"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": "first", "url": "s3://b"}]', "a short word"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": "a b", "url": "s3://b"}]', "a short word"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": "a", "mode": "soon"}]', "sync or async"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": "a", "uri": "s3://b"}]', "not uri"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": 1}]', "not something that is no text"),
        ("FILEROOM_OBJECTS__COPIES", '[{"name": "a", "url": "s3:///b"}]', "objects lie in"),
        ("FILEROOM_OBJECTS__COPIES", SAME_NAME, "a name of its own"),
        ("FILEROOM_OBJECTS__COPIES", SAME_PLACE, "a place of its own"),
        ("FILEROOM_OBJECTS__COPIES", WITHIN, "none may lie in another"),
        ("FILEROOM_LIMITS__ELEMENTS", "0", "FILEROOM_LIMITS: elements should be above 0"),
        ("FILEROOM_LIMITS__ELEMENTS", "many", "FILEROOM_LIMITS__ELEMENTS: .*integer"),
        ("FILEROOM_AUTH__OIDC__ISSUER", "login.example.org", "should be an address such as https"),
        ("FILEROOM_AUTH__OIDC__ISSUER", "http://login.example.org", "should begin with https"),
        ("FILEROOM_AUTH__OIDC__ISSUER", "https://login.example.org/", "set AUDIENCE for tokens"),
        ("FILEROOM_AUTH__OIDC__AUDIENCE", "fileroom", "ISSUER names the provider"),
        ("FILEROOM_AUTH__OIDC__ALGORITHMS", "HS256", "HS256 is none of RS256"),
        ("FILEROOM_AUTH__OIDC__ALGORITHMS", "RS256 none", "none is none of RS256"),
        ("FILEROOM_AUTH__OIDC__ALGORITHMS", ",", "at least 1"),
        ("FILEROOM_AUTH__OIDC__ROLE_MAP", "administrator", "pairs such as name=value"),
        ("FILEROOM_AUTH__OIDC__ROLE_MAP", "pacs=boss", "'viewer', 'uploader'"),
        ("FILEROOM_AUTH__OIDC__TENANTS", "north=one", "integer"),
        ("FILEROOM_AUTH__OIDC__TENANT_CLAIM", "org", "with TENANT_CLAIM set TENANTS"),
        ("FILEROOM_AUTH__OIDC__CLOCK_SKEW", "601", "600"),
        ("FILEROOM_AUTH__SESSION_SECONDS", "0", "FILEROOM_AUTH__SESSION_SECONDS"),
        ("FILEROOM_LOG__LEVEL", "loud", "FILEROOM_LOG__LEVEL: .*'debug', 'info'"),
        ("FILEROOM_HTTP__HOST", EVERYWHERE, "Set FILEROOM_AUTH__KEYS=true and make a key"),
        ("FILEROOM_HTTP__HOST", "::", "Set FILEROOM_AUTH__KEYS=true and make a key"),
        ("FILEROOM_HTTP__HOST", "pacs.example.org", "Set FILEROOM_AUTH__KEYS=true and make a key"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_words(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_provider_is_set_by_variables_and_opens_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("geheim\n")
    for name, value in {
        "ISSUER": "https://login.example.org/realms/x/",
        "AUDIENCE": "fileroom, api://fileroom",
        "CLIENT_ID": "fileroom",
        "CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "ROLES_CLAIM": "realm_access.roles groups",
        "ROLE_MAP": "pacs=viewer pacs=uploader cn=admins=administrator",
        "TENANT_CLAIM": "org",
        "TENANTS": "north=1 south=2",
    }.items():
        monkeypatch.setenv(f"FILEROOM_AUTH__OIDC__{name}", value)
    monkeypatch.setenv("FILEROOM_HTTP__HOST", EVERYWHERE)
    oidc = load_settings().auth.oidc
    assert oidc.issuer == "https://login.example.org/realms/x/"  # compared as it stands
    assert oidc.audience == ("fileroom", "api://fileroom")
    assert oidc.client_secret is not None
    assert oidc.client_secret.get_secret_value() == "geheim"
    assert "geheim" not in repr(oidc)
    assert oidc.roles_claim == ("realm_access.roles", "groups")
    assert oidc.role_map == (
        ("pacs", "viewer"),
        ("pacs", "uploader"),
        ("cn=admins", "administrator"),
    )
    assert oidc.tenants == (("north", 1), ("south", 2))


def test_a_secret_never_stands_in_a_message_or_a_representation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FILEROOM_DATABASE__URL", "mysql://user:geheim@host/name")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "geheim" not in str(caught.value)
    monkeypatch.setenv("FILEROOM_DATABASE__URL", "postgresql://user:geheim@host/name")
    assert "geheim" not in repr(load_settings())


def test_a_secret_comes_from_the_file_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("url").write_text("postgresql://user:geheim@host/name\n")
    monkeypatch.setenv("FILEROOM_DATABASE__URL_FILE", "url")
    url = load_settings().database.url
    assert url
    assert url.get_secret_value() == "postgresql://user:geheim@host/name"
    monkeypatch.setenv("FILEROOM_DATABASE__URL", "postgresql://host/other")
    with pytest.raises(SettingsError, match="not both"):
        load_settings()


def test_copies_are_read_from_json_which_may_stand_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("copies.json").write_text(
        '[{"name": "near", "url": "file:///mnt/near"},'
        ' {"name": "far", "mode": "async", "url": "s3://bucket/prefix", "region": "eu-1",'
        ' "access_key": "us", "secret_key": "geheim"}]'
    )
    monkeypatch.setenv("FILEROOM_OBJECTS__COPIES_FILE", "copies.json")
    settings = load_settings()
    near, far = settings.objects.copies
    assert near == CopyPlace("near", sync=True, where=Path("/mnt/near"))
    bucket = Bucket("s3://bucket/prefix", None, "eu-1", "us", "geheim")
    assert far == CopyPlace("far", sync=False, where=bucket)
    assert settings.with_database("postgresql://host/name").place().copies == (near, far)
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"short", "at least 16 plain characters"),
        (b"two words of a long key", "at least 16 plain characters"),
        ("schlüssel-schlüssel".encode(), "at least 16 plain characters"),
        (b"\xff" * 20, "cannot be read: it is not text"),
        (b"", "at least 16 plain characters"),
    ],
)
def test_a_key_file_without_a_good_key_is_refused(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        Path("key").write_bytes(content)
    monkeypatch.setenv("FILEROOM_AUTH__KEY_FILE", "key")
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_key_opens_the_archive_to_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("key").write_text(f"{'k' * 16}\n")
    monkeypatch.setenv("FILEROOM_AUTH__KEY_FILE", "key")
    monkeypatch.setenv("FILEROOM_HTTP__HOST", EVERYWHERE)
    key = load_settings().auth.key()
    assert key
    assert key.get_secret_value() == "k" * 16


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("LocalHost", True),
        (EVERYWHERE, False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("flags", "base"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"http": {"host": "::1", "port": 9000}}, "http://[::1]:9000"),
        ({"http": {"root_path": "pacs/"}}, "http://127.0.0.1:8080/pacs"),
        ({"http": {"root_path": "/"}}, "http://127.0.0.1:8080"),
        ({"http": {"public_url": "https://a.example/"}}, "https://a.example"),
        (
            {"http": {"public_url": "https://a.example", "root_path": "/pacs"}},
            "https://a.example/pacs",
        ),
    ],
)
def test_the_base_of_urls_is_what_is_set(flags: dict[str, object], base: str) -> None:
    assert load_settings(flags).base_url == base


def test_lists_are_split_at_commas_and_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROOM_HTTP__CORS_ORIGINS", "https://a.example, https://b.example ")
    monkeypatch.setenv("FILEROOM_HTTP__TRUSTED_PROXIES", "")
    http = load_settings().http
    assert http.cors_origins == ("https://a.example", "https://b.example")
    assert http.trusted_proxies == ()


def test_objects_lie_in_the_data_directory_unless_set_elsewhere(tmp_path: Path) -> None:
    assert load_settings({"data_dir": Path("x")}).objects_directory == tmp_path / "x" / "objects"
    elsewhere = load_settings({"objects": {"url": "file:///srv/my%20objects"}})
    assert elsewhere.objects_directory == Path("/srv/my objects")


def test_the_archive_gets_its_place(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "limits": {"elements": 5}})
    with pytest.raises(SettingsError, match="not known yet"):
        settings.place()
    place = settings.with_database("postgresql://host/name").place()
    assert place.database_url == "postgresql://host/name"
    assert place.objects == tmp_path / "objects"
    assert place.cache == tmp_path / "cache"
    assert place.limits == dataclasses.replace(Limits(), elements=5)


def test_settings_are_frozen_and_reach_a_worker_whole() -> None:
    settings = load_settings().with_database("postgresql://user:geheim@host/name")
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own


def test_reading_settings_makes_nothing(tmp_path: Path) -> None:
    load_settings({"data_dir": tmp_path / "data"})
    assert list(tmp_path.iterdir()) == []
    assert stat.S_ISDIR(tmp_path.stat().st_mode)


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_urls_name_the_machine_where_all_addresses_are_listened_on(wildcard: str) -> None:
    settings = Settings().model_copy(update={"http": Http(host=wildcard)})
    assert settings.base_url == f"http://{socket.gethostname()}:8080"  # G-28


def test_objects_in_a_bucket_are_reached_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden\n")
    monkeypatch.setenv("FILEROOM_OBJECTS__URL", "s3://bucket/prefix")
    monkeypatch.setenv("FILEROOM_OBJECTS__ENDPOINT", "https://minio.example")
    monkeypatch.setenv("FILEROOM_OBJECTS__ACCESS_KEY", "key")
    monkeypatch.setenv("FILEROOM_OBJECTS__SECRET_KEY_FILE", str(secret))
    settings = load_settings({"data_dir": tmp_path})
    assert settings.bucket == Bucket(
        "s3://bucket/prefix", "https://minio.example", None, "key", "hidden"
    )
    assert settings.objects_directory == tmp_path / "objects"
    monkeypatch.setenv("FILEROOM_OBJECTS__URL", "file:///srv/objects")
    assert load_settings().bucket is None
