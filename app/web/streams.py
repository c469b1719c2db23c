"""Answers of bodies that stream: one alone, a multipart/related (PS3.18 §8.6.1.2), or gzip.

A fault in mid-stream aborts the connection: a clean closing boundary always means complete.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from fastapi.responses import StreamingResponse
from isal import isal_zlib

from app.archive.answers import Answer, Body
from app.archive.metadata import Metadata
from app.mime.multipart import closing, part_header
from app.web.responses import PRIVATE

_GZIP = 31


def new_boundary() -> str:
    """Return a boundary that no stored bytes can hold, since nobody knew it before."""
    return secrets.token_hex(16)


def answer_response(answer: Answer) -> StreamingResponse:
    """Return the response that sends an answer."""
    bodies = answer.bodies
    if answer.multipart or not isinstance(bodies, Sequence):
        return _multipart(answer)
    (body,) = bodies
    headers = {**PRIVATE, **body.headers, "Vary": "Accept"}
    if body.length is not None:
        headers["Content-Length"] = str(body.length)
    return StreamingResponse(body.chunks, headers=headers)


def multipart_type(media_type: str, boundary: str) -> str:
    """Return the Content-Type of a multipart whose parts are of `media_type`."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'


def _multipart(answer: Answer) -> StreamingResponse:
    boundary = new_boundary()
    headers = {
        **PRIVATE,
        "Content-Type": multipart_type(answer.media_type, boundary),
        "Vary": "Accept",
    }
    if isinstance(answer.bodies, Sequence):
        length = multipart_length(answer.bodies, boundary)
        headers |= {} if length is None else {"Content-Length": str(length)}
    status = HTTPStatus.OK if answer.complete else HTTPStatus.PARTIAL_CONTENT
    return StreamingResponse(multipart_parts(answer.bodies, boundary), status, headers)


def multipart_length(bodies: Sequence[Body], boundary: str) -> int | None:
    """Return the bytes of the whole multipart, None if a length is not known."""
    total = len(closing(boundary))
    for index, body in enumerate(bodies):
        if body.length is None:
            return None
        total += len(part_header(boundary, body.headers, first=index == 0)) + body.length
    return total


async def multipart_parts(
    bodies: Sequence[Body] | AsyncIterator[Body], boundary: str
) -> AsyncIterator[bytes]:
    """Yield a multipart with each body as a part, as its chunks come."""
    first = True
    async for body in _each(bodies):
        yield part_header(boundary, body.headers, first=first)
        first = False
        async for chunk in body.chunks:
            yield chunk
    yield closing(boundary)


async def _each(bodies: Sequence[Body] | AsyncIterator[Body]) -> AsyncIterator[Body]:
    if isinstance(bodies, Sequence):
        for body in bodies:
            yield body
    else:
        async for body in bodies:
            yield body


def metadata_response(
    metadata: Metadata, media_type: str, etag: str, *, zipped: bool
) -> StreamingResponse:
    """Return Metadata, in gzip as it is kept or, where the client takes no gzip, plain."""
    headers = {
        **PRIVATE,
        "ETag": etag,
        "Vary": "Accept, Accept-Encoding",
        "Content-Type": media_type,
    }
    if not zipped:
        return StreamingResponse(_inflated(metadata.gzipped), headers=headers)
    headers["Content-Encoding"] = "gzip"
    if metadata.length is not None:
        headers["Content-Length"] = str(metadata.length)
    return StreamingResponse(metadata.gzipped, headers=headers)


async def _inflated(gzipped: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    engine = isal_zlib.decompressobj(wbits=_GZIP)
    async for piece in gzipped:
        yield await asyncio.to_thread(engine.decompress, piece)
