"""Browser sessions as a source of identity, and what keeps other pages from using them (CSRF).

The cookie holds a random secret and nothing else. Over HTTPS its name begins with `__Host-`, so
that no other host and no unprotected page can set it; the plain name counts on this machine alone.
A request that changes something has to come from a page of ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import State
from starlette.responses import Response

from app.archive.remembered import Remembered
from app.archive.sessions import find_session
from app.errors import Forbidden, Unauthenticated
from app.rights import Principal
from app.web.auth import SECURE_SESSION_COOKIE, SESSION_COOKIE, Credentials, is_from_here
from app.web.forwarded import base_url_of, is_secure

LONGEST = 4096
_OVER = "The session is over; log in again"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TELLING = frozenset({b"sec-fetch-site", b"origin", b"host"})


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie of ours, as it is called for one request."""

    name: str
    is_secure: bool

    def read(self, scope: Mapping[str, Any]) -> str | None:
        """Return what the browser sent of it, None if it did not, or sent two."""
        found = [value for name, value in _cookies(scope["headers"]) if name == self.name]
        return found[0] if len(found) == 1 and len(found[0]) <= LONGEST else None

    def write(self, response: Response, value: str, seconds: int | None = None) -> None:
        """Have the browser keep a value for so long, or as long as it runs."""
        response.set_cookie(
            self.name, value, seconds, secure=self.is_secure, httponly=True, samesite="lax"
        )

    def clear(self, response: Response) -> None:
        """Have the browser forget it."""
        response.delete_cookie(self.name, secure=self.is_secure, httponly=True, samesite="lax")


def cookie_for(scope: Mapping[str, Any], state: State, suffix: str = "") -> Cookie:
    """Return the cookie of a session, or another one of ours with a suffix, for a request.

    Raises:
        Forbidden: it would go over the network unprotected.
    """
    if _is_https(scope, state):
        return Cookie(SECURE_SESSION_COOKIE + suffix, True)
    if not is_from_here(scope):
        raise Forbidden(
            "Nobody logs in over plain HTTP but on this machine; use the https address, and set "
            "FILEROOM_HTTP__PUBLIC_URL to it"
        )
    return Cookie(SESSION_COOKIE + suffix, False)


def check_same_origin(scope: Mapping[str, Any], state: State) -> None:
    """See that a request comes from a page of ours, as its browser says.

    Browsers say so in `Sec-Fetch-Site` where they trust the connection, and in `Origin` always.

    Raises:
        Forbidden: it comes from elsewhere, or does not say.
    """
    said = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TELLING}
    site = said.get(b"sec-fetch-site")
    if site is None:
        scheme, _, host = said.get(b"origin", "").partition("://")
        base = urlsplit(base_url_of(scope, state))
        wanted = "https" if _is_https(scope, state) else "http"
        of_ours = scheme == wanted and host in (base.netloc, said.get(b"host"))
        site = "same-origin" if of_ours else "unknown"
    if site != "same-origin":
        raise Forbidden("With a session only pages of this archive may change something")


class Sessions:
    """Callers with the cookie of a session; it is over when it was idle for so long.

    What is known of a session is known for a second: who ends one answers after that.
    """

    def __init__(self, state: State, idle_seconds: float) -> None:
        self._state = state
        self._idle_seconds = idle_seconds
        self._known: Remembered[Principal] = Remembered()

    async def principal(self, given: Credentials, scope: dict[str, Any]) -> Principal | None:
        """Return whose session it is.

        Raises:
            Unauthenticated: it is over, or none.
            Forbidden: the request would change something, and is not of a page of ours.
            Unavailable: the index does not answer.
        """
        if given.scheme != "cookie":
            return None
        value = cookie_for(scope, self._state).read(scope)
        if value is None:
            raise Unauthenticated(_OVER)
        if scope["method"] not in SAFE:
            check_same_origin(scope, self._state)
        return await self._known.get(value, partial(self._look, value))

    async def _look(self, value: str) -> Principal:
        principal = await find_session(self._state.archive, value, self._idle_seconds)
        if principal is None:
            raise Unauthenticated(_OVER)
        return principal


def path_of_ours(text: str) -> str:
    """Return a path to go on to after a login; whatever is no plain path of ours is `/`."""
    own = text[:1] == "/" and text[1:2] != "/" and len(text.encode("utf-8", "replace")) <= 1500
    return text if own and text.isprintable() and "\\" not in text else "/"


def login_address(scope: Mapping[str, Any]) -> str:
    """Return where somebody logs in who wanted the page that a request is for."""
    query = scope["query_string"].decode("latin-1")
    then = scope["path"] + (f"?{query}" if query else "")
    return f"{scope.get('root_path', '')}/login?next={quote(then, safe='/')}"


def _is_https(scope: Mapping[str, Any], state: State) -> bool:
    return is_secure(scope) or base_url_of(scope, state).startswith("https:")


def _cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    sent = b";".join(value for name, value in headers if name == b"cookie").decode("latin-1")
    pairs = (pair.partition("=") for pair in sent.split(";"))
    return [(name.strip(), value.strip()) for name, _, value in pairs]
