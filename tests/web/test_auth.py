"""Who is served where no identity source is set, and with a key (DESIGN §8)."""

import hashlib
from typing import Any

import pytest

from app.errors import Forbidden, Unauthenticated
from app.rights import Principal, Scope
from app.web.auth import (
    BASIC,
    BEARER,
    KEY_HOLDER,
    OPERATOR,
    SESSION_COOKIE,
    Credentials,
    Identity,
    OneKey,
    given_by,
    is_loopback,
)

Headers = list[tuple[bytes, bytes]]
LOCAL: Headers = [(b"host", b"127.0.0.1:8080")]


def scope(
    headers: Headers, client: tuple[str, int] | None = ("127.0.0.1", 5), query: bytes = b""
) -> dict[str, Any]:
    return {"type": "http", "headers": headers, "client": client, "query_string": query}


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
        [*LOCAL, (b"origin", b"http://evil.example@127.0.0.1")],
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


KEYED = Identity([OneKey(hashlib.sha256(b"secret").digest())])


@pytest.mark.parametrize("value", [b"Bearer secret", b"bearer  secret "])
async def test_the_key_opens_from_anywhere(value: bytes) -> None:
    headers = [(b"host", b"archive.example"), (b"authorization", value)]
    assert await KEYED.principal(scope(headers, ("10.0.0.1", 5))) is KEY_HOLDER


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer wrong", b"Basic secret", b"secret"])
async def test_with_a_key_set_this_machine_is_not_trusted_either(value: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await KEYED.principal(scope([*LOCAL, (b"authorization", value)]))


AUTHORIZATION = (b"authorization", b"Bearer  first ")
COOKIE = (b"cookie", f"theme=dark; {SESSION_COOKIE}=c".encode())


@pytest.mark.parametrize(
    ("headers", "query", "given"),
    [
        ([], b"", None),
        ([], b"StudyDate=20240101", None),
        ([(b"cookie", b"theme=dark")], b"", None),
        ([AUTHORIZATION], b"", Credentials("bearer", "first")),
        ([(b"authorization", b"BASIC YTpi")], b"", Credentials("basic", "YTpi")),
        ([], b"a=b&ticket=frt_1", Credentials("ticket", "frt_1")),
        ([COOKIE], b"", Credentials("cookie", "c")),
        ([AUTHORIZATION, COOKIE], b"ticket=frt_1", Credentials("bearer", "first")),
        ([COOKIE], b"ticket=frt_1", Credentials("ticket", "frt_1")),
    ],
)
def test_a_request_shows_one_thing_of_its_caller(
    headers: Headers, query: bytes, given: Credentials | None
) -> None:
    assert given_by(scope(headers, query=query)) == given


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([AUTHORIZATION, AUTHORIZATION], b""),
        ([AUTHORIZATION, (b"authorization", b"Basic YTpi")], b""),
        ([], b"ticket=frt_1&ticket=frt_2"),
        ([], b"ticket=frt_1&%74icket=frt_2"),
        ([COOKIE, COOKIE], b""),
        ([(b"cookie", b"; ".join([COOKIE[1], COOKIE[1]]))], b""),
    ],
)
async def test_two_of_one_sort_are_refused(headers: Headers, query: bytes) -> None:
    with pytest.raises(Unauthenticated, match="once"):
        await KEYED.principal(scope([*LOCAL, *headers], query=query))


@pytest.mark.parametrize("query", [b"ticket=secret", b"key=secret", b"access_token=secret"])
async def test_a_key_in_the_query_is_never_taken(query: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await KEYED.principal(scope(LOCAL, query=query))


class Says:
    """A source that knows one word, takes another one for a forged one, and leaves the rest."""

    def __init__(self, known: str, forged: str = "") -> None:
        self._known, self._forged = known, forged

    async def principal(self, given: Credentials, _scope: dict[str, Any]) -> Principal | None:
        if given.value == self._forged:
            raise Unauthenticated("forged")
        return Principal(self._known, Scope(), frozenset()) if given.value == self._known else None


@pytest.mark.parametrize(
    ("word", "who"), [(b"one", "one"), (b"two", "two"), (b"bad", None), (b"else", None)]
)
async def test_sources_are_asked_in_their_order(word: bytes, who: str | None) -> None:
    identity = Identity([Says("one", "bad"), Says("two"), Says("bad")], challenges=(BEARER, BASIC))
    asked = scope([(b"authorization", b"Bearer " + word)])
    if who is None:
        with pytest.raises(Unauthenticated) as refused:
            await identity.principal(asked)
        assert refused.value.challenges == (BEARER, BASIC)
    else:
        assert (await identity.principal(asked)).name == who
