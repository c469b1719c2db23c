"""Whose word counts for the address that clients use."""

from typing import Any

import pytest
from starlette.datastructures import State

from app.cli.asgi_server import configuration
from app.settings import Http, Settings
from app.web.auth import is_from_here
from app.web.forwarded import base_url_of, is_secure, named_origin

STATE = State({"base_url": "http://127.0.0.1:8080/pacs/dicom-web"})
PROXY = "192.0.2.1"
OUTER = "198.51.100.7"


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"forwarded": "for=203.0.113.9;host=a.example;proto=https"}, "https://a.example"),
        ({"forwarded": 'host="a.example:8443"; proto=HTTPS'}, "https://a.example:8443"),
        ({"forwarded": 'host="[2001:db8::1]:80";proto=http'}, "http://[2001:db8::1]:80"),
        ({"forwarded": "host=evil.example, for=203.0.113.9;host=a.example"}, "http://a.example"),
        (
            {"forwarded": f"host=evil.example, host=a.example, for={OUTER};host=inner"},
            "http://a.example",
        ),
        (
            {"x-forwarded-host": "evil.example, a.example", "x-forwarded-proto": "https"},
            "https://a.example",
        ),
        ({"x-forwarded-host": "a.example", "forwarded": "proto=https"}, "https://a.example"),
        ({"x-forwarded-proto": "https"}, None),
        ({"forwarded": "host=a.example;proto=javascript"}, None),
        ({"x-forwarded-host": "a.example/evil?"}, None),
        ({"x-forwarded-host": "user@a.example"}, None),
        ({"forwarded": "host=\xff"}, None),
        ({"host": "a.example"}, None),
        ({}, None),
    ],
)
def test_the_outermost_trusted_proxy_names_the_origin(
    headers: dict[str, str], origin: str | None
) -> None:  # G-28
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    assert named_origin(raw, {PROXY, OUTER}.__contains__) == origin


@pytest.mark.parametrize(
    ("client", "public_url", "base"),
    [
        (PROXY, None, "https://a.example/pacs/dicom-web"),
        ("203.0.113.9", None, "http://127.0.0.1:8080/pacs/dicom-web"),
        (PROXY, "https://set.example", "http://127.0.0.1:8080/pacs/dicom-web"),
    ],
)
async def test_only_trusted_proxies_are_believed(
    client: str, public_url: str | None, base: str
) -> None:  # G-28
    bases = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert receive is send
        bases.append((base_url_of(scope, STATE), scope["client"][0], is_secure(scope)))

    settings = Settings(http=Http(trusted_proxies=(PROXY,), public_url=public_url))
    config = configuration(settings, application)
    config.load()
    headers = [
        (b"x-forwarded-for", b"203.0.113.77"),
        (b"x-forwarded-host", b"a.example"),
        (b"x-forwarded-proto", b"https"),
    ]
    scope: Any = {"type": "http", "client": (client, 1), "headers": headers, "scheme": "http"}
    none: Any = None
    await config.loaded_app(scope, none, none)
    trusted = client == PROXY
    assert bases == [(base, "203.0.113.77" if trusted else client, trusted)]


@pytest.mark.parametrize(
    ("client", "said", "here"),
    [
        (PROXY, {b"x-forwarded-for": b"127.0.0.1"}, True),
        (PROXY, {b"x-forwarded-for": b"203.0.113.77"}, False),
        (PROXY, {b"forwarded": b"for=203.0.113.77"}, False),
        (PROXY, {}, False),
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {b"x-forwarded-for": b"127.0.0.1"}, False),
    ],
)
async def test_a_request_is_from_here_if_a_listed_proxy_says_so(
    client: str, said: dict[bytes, bytes], here: bool
) -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(is_from_here(scope))

    for public_url in (None, "https://a.example"):
        settings = Settings(http=Http(trusted_proxies=(PROXY,), public_url=public_url))
        config = configuration(settings, application)
        config.load()
        headers = [(b"host", b"127.0.0.1:8080"), *said.items()]
        scope: Any = {"type": "http", "client": (client, 1), "headers": headers, "scheme": "http"}
        none: Any = None
        await config.loaded_app(scope, none, none)
    assert seen == [here, here]


async def test_a_proxy_says_by_forwarded_alone_that_tls_was_used() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(is_secure(scope))

    config = configuration(Settings(http=Http(trusted_proxies=(PROXY,))), application)
    config.load()
    headers = [(b"forwarded", b"for=203.0.113.77;host=a.example;proto=https")]
    none: Any = None
    for client in (PROXY, "203.0.113.9"):
        scope: Any = {"type": "http", "client": (client, 1), "headers": headers, "scheme": "http"}
        await config.loaded_app(scope, none, none)
    assert seen == [True, False]
