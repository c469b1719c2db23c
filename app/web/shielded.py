"""What every answer tells a browser, whatever it is of: the outermost plumbing.

A browser that is shown what somebody stored runs nothing of it, takes it for nothing else than it
is said to be, tells no other site where it was, and lets no page of a stranger frame or embed it.
Pages and documents say more of themselves; what an answer says already is left as it is.

    X-Content-Type-Options        nosniff
    Referrer-Policy               no-referrer: addresses have UIDs in them
    Cross-Origin-Resource-Policy  same-site; cross-origin where a ticket stands in the address
    Content-Security-Policy       nothing is loaded, nothing runs; by media type, see `_policies`
    Cache-Control                 no-store for problems, which caches may keep otherwise
    Strict-Transport-Security     over TLS alone (RFC 6797)

CORS (`app.web.cors`) is apart: with it a page of a listed origin reads what its user may see.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from http import HTTPStatus

from app.web.faults import ASGIApp, Message, Receive, Scope, Send
from app.web.forwarded import is_secure
from app.web.said import WORDS

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_REFERRER = (b"referrer-policy", b"no-referrer")
_EMBEDDED = (b"cross-origin-resource-policy", b"same-site")
_SECURE = (b"strict-transport-security", b"max-age=31536000")
_UNKEPT = (b"cache-control", b"no-store")
_POLICY = b"content-security-policy"
_THIS_MACHINE = "http://localhost:* https://localhost:* http://127.0.0.1:* https://127.0.0.1:*"
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?", re.ASCII)
_NOTHING = "default-src 'none'; sandbox; frame-ancestors 'none'"
PROBLEM = (_NOSNIFF, _REFERRER, _EMBEDDED, _UNKEPT, (_POLICY, _NOTHING.encode()))
"""What a problem document says that is sent before any application has the request."""
_SHOWN = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


def _policies(framing: str) -> dict[bytes, bytes]:
    """Return policies by type and subtype, or by type; a PDF needs the browser's own viewer."""
    shown = f"{_SHOWN}; {framing}".encode()
    return {b"image": shown, b"video": shown, b"application/pdf": framing.encode()}


class Shielded:
    """Adds them. `origins` are the listed ones, whose pages may frame pictures and documents."""

    def __init__(self, app: ASGIApp, origins: Iterable[str], words: Collection[str]) -> None:
        self.app = app
        listed = " ".join(origin for origin in origins if _ORIGIN.fullmatch(origin))
        framing = f"frame-ancestors 'self' {_THIS_MACHINE} {listed}".rstrip()
        self._framing = framing.encode()
        self._policies = _policies(framing)
        self._words = words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        scope[WORDS] = self._words

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure = (_SECURE,) if is_secure(scope) else ()
                headers = [*self._headers(message), *secure]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, sending)

    def _headers(self, message: Message) -> Iterator[tuple[bytes, bytes]]:
        said = {name.lower(): value for name, value in message["headers"]}
        for name, value in message["headers"]:
            framed = name.lower() == _POLICY and b"frame-ancestors" not in value
            yield name, b"%b; %b" % (value, self._framing) if framed else value
        for pair in (_NOSNIFF, _REFERRER, _EMBEDDED):
            if pair[0] not in said:
                yield pair
        status = message["status"]
        if status >= HTTPStatus.BAD_REQUEST and _UNKEPT[0] not in said:
            yield _UNKEPT
        if _POLICY not in said and status != HTTPStatus.NOT_MODIFIED:
            yield _POLICY, self._policy(said.get(b"content-type", b""))

    def _policy(self, content_type: bytes) -> bytes:
        """Return what holds for a media type; of what is kept it goes on to hold after a 304."""
        media_type = content_type.partition(b";")[0].strip().lower()
        policies = self._policies
        found = policies.get(media_type) or policies.get(media_type.partition(b"/")[0])
        return found or _NOTHING.encode()
