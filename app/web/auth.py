"""Who asks: what a request shows of its caller, and the sources that know callers by it.

A request shows one thing: what stands in `Authorization`, else a ticket in the query, else the
cookie of a session. The sources of identity are asked in their order, and the first that knows it
says who asks; a key never counts in the query.

Without a source a request counts as the operator's only if it cannot have come from elsewhere
(DESIGN §8): the peer and `Host` are loopback, nothing says that a proxy passed it on, and
`Origin`, if any, is loopback or listed. A name that was rebound to 127.0.0.1, a page of a stranger
in the operator's browser, and a proxy in front all fail one of these.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from app.errors import Forbidden, TooMany, Unauthenticated
from app.rights import Principal
from app.web.acting import acting

_HOST = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|([^:\[\]/@]+)(?::\d+)?")
_PASSED_ON = (b"forwarded", b"via", b"x-real-ip")
_Value = TypeVar("_Value", bytes, str)
PRINCIPAL = "fileroom.principal"
"""Where it is noted in an ASGI scope who makes a request."""
BY_TRUSTED_PROXY = "fileroom.by-trusted-proxy"
"""Where it is noted that a proxy which is listed passed a request on, and says from where."""
ATTEMPTED = "fileroom.attempted"
"""Where it is noted that a password came and was not taken: whose (tenant, name), or None."""
OPERATOR = Principal("operator")
KEY_HOLDER = Principal("key", kind="key")
SESSION_COOKIE, SECURE_SESSION_COOKIE = "fileroom", "__Host-fileroom"
"""What the cookie of a session is called, on this machine and over HTTPS (`web.sessions`)."""
TICKET = "ticket"
"""The parameter of a query that holds a ticket."""
BEARER = 'Bearer realm="Fileroom"'
BASIC = 'Basic realm="Fileroom", charset="UTF-8"'


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Say whether a host (a peer, or a Host header with or without a port) is this machine."""
    match = _HOST.fullmatch(host.strip())
    name = (match[1] or match[2]) if match else host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of its caller.

    `scheme` is that of `Authorization` in small letters ("bearer", "basic"), "ticket" for a ticket
    in the query, or "cookie" for the cookie of a session.
    """

    scheme: str
    value: str = field(repr=False)


class Source(Protocol):
    """Where callers are known: the one key, API keys, users, a provider of OpenID Connect …"""

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return who shows this in a request (an ASGI scope); None if it is not of this source.

        Raises:
            Unauthenticated: it is of this source, and wrong, expired or revoked.
        """
        ...


class OneKey:
    """The one bearer key of `AUTH__KEY_FILE`, by its SHA-256; whoever has it may do everything."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return the holder of the key."""
        if given.scheme != "bearer":
            return None
        digest = hashlib.sha256(given.value.encode("latin-1")).digest()
        return KEY_HOLDER if hmac.compare_digest(digest, self._digest) else None


@dataclass(frozen=True, slots=True)
class Identity:
    """How callers are known. `origins` are web origins that may act for the operator, such as a
    viewer's; `challenges` is what a refusal offers (RFC 9110 §11.6.1)."""

    sources: Sequence[Source] = ()
    origins: frozenset[str] = frozenset()
    challenges: tuple[str, ...] = (BEARER,)

    async def principal(self, scope: dict[str, Any]) -> Principal:
        """Return who makes this request (an ASGI scope), and note it there for the audit trail.

        Raises:
            Unauthenticated: there is an identity source, and none knows what came.
            Forbidden: there is none, and the request may come from elsewhere.
            TooMany: too many wrong passwords came.
            Unavailable: a source does not answer.
            InvalidRequest: a service names an AE that is none.
        """
        if not self.sources:
            scope[PRINCIPAL] = operator = acting(self._operator(scope), scope)
            return operator
        try:
            principal = acting(await self._known(given_by(scope), scope), scope)
        except (Unauthenticated, TooMany) as error:
            note_attempt(scope, error)
            if isinstance(error, Unauthenticated):
                error.challenges = self.challenges
            raise
        scope[PRINCIPAL] = principal
        return principal

    async def _known(self, given: Credentials | None, scope: dict[str, Any]) -> Principal:
        if given is None:
            schemes = " or ".join(challenge.partition(" ")[0] for challenge in self.challenges)
            raise Unauthenticated(f"Show who asks: Authorization: {schemes} …")
        for source in self.sources:
            principal = await source.principal(given, scope)
            if principal is not None:
                return principal
        raise Unauthenticated("Who asks is not known here by what was sent")

    def _operator(self, scope: dict[str, Any]) -> Principal:
        client = scope.get("client")
        if client is None or not is_loopback(client[0]):
            raise Forbidden("Without an identity source only this machine is served")
        self._check_local(scope["headers"])
        return OPERATOR

    def _check_local(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        hosts = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
                if not is_loopback(value.decode("latin-1")):
                    raise Forbidden(
                        "This archive has no identity source, so it answers only to names of this "
                        "machine such as 127.0.0.1; set FILEROOM_AUTH__KEY_FILE to open it"
                    )
            elif is_passed_on(name):
                raise Forbidden(
                    "This archive has no identity source, so it serves no request that a proxy "
                    "passed on; set FILEROOM_AUTH__KEY_FILE to open it"
                )
            elif name == b"origin" and not self._origin_allowed(value.decode("latin-1")):
                raise Forbidden("This web origin is not listed in FILEROOM_HTTP__CORS_ORIGINS")
        if hosts != 1:
            raise Forbidden("A request needs one Host header")

    def _origin_allowed(self, origin: str) -> bool:
        if origin in self.origins:
            return True
        try:
            return is_loopback(urlsplit(origin).netloc)
        except ValueError:
            return False


def note_attempt(scope: MutableMapping[str, Any], error: Unauthenticated | TooMany) -> None:
    """Note whose password was wrong; a name that nobody has is not kept: it may be a secret."""
    scope[ATTEMPTED] = error.user if isinstance(error, Unauthenticated) else None


def is_from_here(scope: Mapping[str, Any]) -> bool:
    """Say whether a request comes from this machine, by a name of it.

    One that a proxy passed on does so if the proxy is listed, and says so.
    """
    client, headers = scope.get("client"), scope["headers"]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    passed_on = BY_TRUSTED_PROXY not in scope and any(is_passed_on(name) for name, _ in headers)
    here = client is not None and is_loopback(client[0]) and len(hosts) == 1
    return here and is_loopback(hosts[0]) and not passed_on


def is_passed_on(name: bytes) -> bool:
    """Say whether a header field of this name tells that a proxy passed the request on."""
    return name in _PASSED_ON or name.startswith(b"x-forwarded-")


def given_by(scope: dict[str, Any]) -> Credentials | None:
    """Return what a request shows of its caller: `Authorization`, else a ticket, else the cookie.

    Raises:
        Unauthenticated: it shows two of one sort.
    """
    headers = scope["headers"]
    found = [value for name, value in headers if name == b"authorization"]
    if found:
        scheme, _, value = _only(found).strip().partition(b" ")
        return Credentials(scheme.lower().decode("latin-1"), value.strip().decode("latin-1"))
    query = scope.get("query_string", b"")
    if b"ticket" in query and (tickets := _tickets(query)):
        return Credentials("ticket", _only(tickets))
    cookies = [value for name, value in headers if name == b"cookie"]
    if cookies and (sessions := _sessions(cookies)):
        return Credentials("cookie", _only(sessions))
    return None


def _only(values: Sequence[_Value]) -> _Value:
    if len(values) > 1:
        raise Unauthenticated("Show once who asks: one Authorization, one ticket or one session")
    return values[0]


def _tickets(query: bytes) -> list[str]:
    return [value for name, value in parse_qsl(query.decode("latin-1")) if name == TICKET]


def _sessions(cookies: Iterable[bytes]) -> list[str]:
    sent = [pair.partition("=") for pair in b";".join(cookies).decode("latin-1").split(";")]
    for wanted in (SECURE_SESSION_COOKIE, SESSION_COOKIE):
        if found := [value.strip() for name, _, value in sent if name.strip() == wanted]:
            return found
    return []
