"""Sources of identity that ask the index: API keys, and local users by HTTP Basic (RFC 7617)."""

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, State

from app.archive.context import Archive
from app.archive.known_keys import PREFIX
from app.errors import Forbidden, Unauthenticated
from app.rights import Principal
from app.web.auth import Credentials, is_from_here
from app.web.forwarded import base_url_of, is_secure

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class KeySource:
    """API keys, as bearer tokens. The archive is taken from `state` when it is open."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return who has a key; None for what is none.

        Raises:
            Unauthenticated: nobody has it, or it is revoked or expired.
            Unavailable: the index does not answer.
        """
        if given.scheme != "bearer" or not given.value.startswith(PREFIX):
            return None
        archive: Archive = self._state.archive
        return await archive.keys.principal(given.value)


class BasicSource:
    """Local users. A password that came over plain HTTP from elsewhere is not even looked at.

    Browsers send what they remember with the requests of strangers' pages, too: from those only
    reads are taken, whose answers the pages cannot see.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return the user of a name and a password; None for what is none.

        Raises:
            Forbidden: they came over plain HTTP, not from this machine; or a stranger's page asks
                for a change.
            Unauthenticated: no user has them, or they cannot be read.
            TooMany: too many wrong ones came.
            Unavailable: the index does not answer.
        """
        if given.scheme != "basic":
            return None
        if not is_secure(scope) and not is_from_here(scope):
            raise Forbidden(
                "A password is taken over HTTPS only: use https://, or a proxy that has a "
                "certificate and is listed in FILEROOM_HTTP__TRUSTED_PROXIES"
            )
        if scope["method"] not in _READS and not self._is_of_own_page(scope):
            raise Forbidden("This web origin is not listed in FILEROOM_HTTP__CORS_ORIGINS")
        name, password = _read_basic(given.value)
        client = scope.get("client")
        archive: Archive = self._state.archive
        return await archive.users.principal(name, password, client[0] if client else "")

    def _is_of_own_page(self, scope: dict[str, Any]) -> bool:
        """Say whether no other page than ours, or one that is listed, sends this."""
        state, headers = self._state, Headers(scope=scope)
        origin = headers.get("origin")
        if origin is None or origin in state.identity.origins:
            return True
        own = {headers.get("host", "").lower(), urlsplit(base_url_of(scope, state)).netloc}
        return origin.partition("://")[2] in own


def _read_basic(value: str) -> tuple[str, str]:
    """Return name and password; older clients send Latin-1.

    Raises:
        Unauthenticated: it is not base64 of two words with a colon between.
    """
    try:
        data = base64.b64decode(value.encode("latin-1"), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated("Name and password were expected in base64 (RFC 7617)") from None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    name, colon, password = text.partition(":")
    if not colon or "\0" in text:
        raise Unauthenticated("Name and password were expected, with a colon between")
    return name, password
