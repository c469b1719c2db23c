"""What a trusted proxy says of the address that a client used (RFC 7239, X-Forwarded-…).

URLs in answers are made from it where no public URL is set. Nobody else is believed: who may
choose the host of a URL sends others where it wants.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import State

from app.web.auth import BY_TRUSTED_PROXY
from app.web.faults import ASGIApp, Receive, Scope, Send

_ORIGIN = "fileroom.origin"
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PAIR = re.compile(r'\s*([A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))\s*(?:;|$)')
_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_NODE = re.compile(r"\[([^\]]+)\](?::\d+)?|([^:]+)(?::\d+)?")

Trusted = Callable[[str], bool]


class Forwarded:
    """Notes what a trusted proxy passed on, and the origin that it names where that `counts`.

    That is before anything else of what it says is taken over.
    """

    def __init__(self, app: ASGIApp, trusted: Trusted, *, counts: bool = True) -> None:
        self.app = app
        self._trusted = trusted
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        client = scope.get("client")
        if scope["type"] == "http" and client is not None and self._trusted(client[0]):
            if any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
                scope[BY_TRUSTED_PROXY] = True
            origin = named_origin(scope["headers"], self._trusted) if self._counts else None
            if origin is not None:
                scope[_ORIGIN] = origin
        await self.app(scope, receive, send)


def base_url_of(scope: Mapping[str, Any], state: State) -> str:
    """Return the DICOMweb base of a request, absolute and without a slash at its end."""
    base: str = state.base_url
    origin = scope.get(_ORIGIN)
    return base if origin is None else origin + urlsplit(base).path


def is_secure(scope: Mapping[str, Any]) -> bool:
    """Say whether a request came by TLS, to us or to a trusted proxy."""
    origin: str = scope.get(_ORIGIN, "")
    return scope.get("scheme") == "https" or origin.startswith("https:")


def named_origin(headers: Iterable[tuple[bytes, bytes]], trusted: Trusted) -> str | None:
    """Return scheme and host as `Forwarded` or `X-Forwarded-Host` and `-Proto` name them.

    Of several values the one of the outermost trusted proxy counts: those before it are claims.
    None if no host is named, or something that is no plain host and port.

    Source: RFC 7239 §4, §5
    """
    fields: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name == b"forwarded" or name.startswith(b"x-forwarded-"):
            fields.setdefault(name, []).append(value.decode("latin-1"))
    said = _of_forwarded(", ".join(fields.get(b"forwarded", ())), trusted)
    host = said.get("host") or _last(fields.get(b"x-forwarded-host"))
    scheme = (said.get("proto") or _last(fields.get(b"x-forwarded-proto")) or "http").lower()
    if scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        return None
    return f"{scheme}://{host}"


def _last(values: list[str] | None) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def _of_forwarded(value: str, trusted: Trusted) -> Mapping[str, str]:
    said: Mapping[str, str] = {}
    for element in reversed(_ELEMENT.findall(value)):
        said = {
            match[1].lower(): match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            for match in _PAIR.finditer(element)
        }
        node = _NODE.fullmatch(said.get("for", ""))
        if node is None or not trusted(node[1] or node[2]):
            break
    return said
