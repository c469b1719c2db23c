"""Which web pages may use the archive from a browser (CORS): those of this machine, those listed.

A page gets no right that its user lacks: no cookie is ever sent or read, so a page needs the key
like anyone else, and without an identity source `app.web.auth` checks `Origin` itself. Preflights
carry no key, so they are answered before anybody asks for one.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import Response
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware

from app.web.problems import problem

_THIS_MACHINE = r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?"
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_ASKED = ("Accept", "Authorization", "Content-Type", "If-None-Match", "Last-Event-ID", "Range")
_SHOWN = (
    "Accept-Ranges",
    "Content-Encoding",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Location",
    "Retry-After",
    "Warning",
    "X-Decode-Level",
)
_PREFLIGHT_SECONDS = 24 * 3600


class CrossOrigin(CORSMiddleware):
    """Starlette's rules; a refused preflight is a problem document as all our errors are."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < HTTPStatus.BAD_REQUEST:
            return answer
        reason = bytes(answer.body).decode()
        return problem(HTTPStatus.BAD_REQUEST, reason, {"Vary": "Origin"})


def cross_origin_rules(origins: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of Starlette's `CORSMiddleware`; `origins` are those listed."""
    return {
        "allow_origins": tuple(origins),
        "allow_origin_regex": _THIS_MACHINE,
        "allow_methods": _METHODS,
        "allow_headers": _ASKED,
        "expose_headers": _SHOWN,
        "max_age": _PREFLIGHT_SECONDS,
    }
