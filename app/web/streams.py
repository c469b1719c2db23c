"""Answers of bodies that stream: one alone, or a multipart/related (PS3.18 §8.6.1.2)."""

import secrets
from collections.abc import AsyncIterator
from http import HTTPStatus

from fastapi.responses import StreamingResponse

from app.archive.answers import Answer, Body, Sizes
from app.mime.multipart import closing, part_header
from app.web.responses import PRIVATE


def new_boundary() -> str:
    """Return a boundary that no stored bytes can hold, since nobody knew it before."""
    return secrets.token_hex(16)


async def answer_response(answer: Answer) -> StreamingResponse:
    """Return the response that sends an answer; a fault in mid-stream aborts the connection."""
    if answer.multipart:
        return _multipart(answer)
    body = await anext(answer.bodies)
    headers = {**PRIVATE, **body.headers}
    if answer.sizes is not None:
        headers["Content-Length"] = str(answer.sizes[0].length)
    return StreamingResponse(body.chunks, headers=headers)


def _multipart(answer: Answer) -> StreamingResponse:
    boundary = new_boundary()
    media_type = f'multipart/related; type="{answer.media_type}"; boundary={boundary}'
    headers = {**PRIVATE, "Content-Type": media_type, "Vary": "Accept"}
    if answer.sizes is not None:
        headers["Content-Length"] = str(_length(answer.sizes, boundary))
    status = HTTPStatus.OK if answer.complete else HTTPStatus.PARTIAL_CONTENT
    return StreamingResponse(_parts(answer.bodies, boundary), status, headers)


def _length(sizes: "list[Sizes] | tuple[Sizes, ...]", boundary: str) -> int:
    parts = sum(
        size.count * len(part_header(boundary, size.headers)) + size.length for size in sizes
    )
    # the first part has no CRLF before its delimiter
    return parts - 2 + len(closing(boundary))


async def _parts(bodies: AsyncIterator[Body], boundary: str) -> AsyncIterator[bytes]:
    first = True
    async for body in bodies:
        yield part_header(boundary, body.headers, first=first)
        first = False
        async for chunk in body.chunks:
            yield chunk
    yield closing(boundary)
