"""Answers that all routes share: DICOM JSON with gzip and an ETag."""

from collections.abc import Mapping

import orjson
from fastapi import Request, Response
from isal import igzip

from app.web.accept import gzip_accepted

_SMALL = 1000
"""Below this many bytes gzip costs more than it saves."""
PRIVATE = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


def not_modified(etag: str) -> Response:
    """Return 304 for what the caller has already."""
    return Response(
        status_code=304, headers={**PRIVATE, "ETag": etag, "Vary": "Accept, Accept-Encoding"}
    )


def dicom_json(
    request: Request, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a DICOM JSON document, in gzip where the caller takes it (G-18).

    The media type stands alone: clients compare it whole, a charset would break them.
    """
    answer = {**PRIVATE, "Vary": "Accept, Accept-Encoding", **(headers or {})}
    if len(body) >= _SMALL and gzip_accepted(request.headers.get("accept-encoding", "")):
        body = igzip.compress(body, compresslevel=2)
        answer["Content-Encoding"] = "gzip"
    return Response(body, headers={**answer, "Content-Type": media_type})


def json_response(body: object) -> Response:
    """Return a JSON document that is no DICOM; what it says may be another at the next moment."""
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")
