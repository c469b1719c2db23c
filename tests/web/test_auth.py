"""Who is served where no identity source is set, and with a key (DESIGN §8)."""

import hashlib

import pytest

from app.errors import Forbidden, Unauthenticated
from app.web.auth import KEY_HOLDER, OPERATOR, Identity, is_loopback

Headers = list[tuple[bytes, bytes]]
LOCAL: Headers = [(b"host", b"127.0.0.1:8080")]


def scope(headers: Headers, client: tuple[str, int] | None = ("127.0.0.1", 5)) -> dict[str, object]:
    return {"type": "http", "headers": headers, "client": client}


@pytest.mark.parametrize(
    "headers",
    [
        LOCAL,
        [(b"host", b"127.0.0.1")],  # CLIENTS 6: dicomweb-client leaves the port out
        [(b"host", b"localhost:8080")],
        [(b"host", b"LOCALHOST.")],
        [(b"host", b"[::1]:8080")],
        [*LOCAL, (b"origin", b"http://localhost:3000")],
        [*LOCAL, (b"origin", b"https://viewer.example")],
    ],
)
async def test_a_request_from_this_machine_is_the_operators(headers: Headers) -> None:
    identity = Identity(origins=frozenset({"https://viewer.example"}))
    assert await identity.principal(scope(headers)) is OPERATOR


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [*LOCAL, *LOCAL],
        [(b"host", b"archive.example")],  # a rebound name
        [(b"host", b"127.0.0.1.example:8080")],
        [(b"host", b"localhost@evil.example")],
        [(b"host", b"")],
        [*LOCAL, (b"forwarded", b"for=10.0.0.1")],
        [*LOCAL, (b"x-forwarded-for", b"10.0.0.1")],
        [*LOCAL, (b"x-forwarded-host", b"localhost")],
        [*LOCAL, (b"via", b"1.1 proxy")],
        [*LOCAL, (b"origin", b"https://evil.example")],
        [*LOCAL, (b"origin", b"null")],
        [*LOCAL, (b"origin", b"http://[")],
    ],
)
async def test_a_request_that_may_come_from_elsewhere_is_refused(headers: Headers) -> None:
    with pytest.raises(Forbidden):
        await Identity().principal(scope(headers))


@pytest.mark.parametrize("client", [None, ("10.0.0.1", 5), ("2001:db8::1", 5)])
async def test_a_peer_from_elsewhere_is_refused(client: tuple[str, int] | None) -> None:
    with pytest.raises(Forbidden):
        await Identity().principal(scope(LOCAL, client))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False)],
)
def test_loopback_is_told_by_address(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


KEYED = Identity(key_digest=hashlib.sha256(b"secret").digest())


@pytest.mark.parametrize("value", [b"Bearer secret", b"bearer  secret "])
async def test_the_key_opens_from_anywhere(value: bytes) -> None:
    headers = [(b"host", b"archive.example"), (b"authorization", value)]
    assert await KEYED.principal(scope(headers, ("10.0.0.1", 5))) is KEY_HOLDER


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer wrong", b"Basic secret", b"secret"])
async def test_with_a_key_set_this_machine_is_not_trusted_either(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await KEYED.principal(scope([*LOCAL, (b"authorization", value)]))
