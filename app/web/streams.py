"""Answers of bodies that stream: one alone, a multipart/related (PS3.18 §8.6.1.2), or gzip.

A fault in mid-stream aborts the connection: a clean closing boundary always means complete.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus

from fastapi import Response
from fastapi.responses import StreamingResponse
from isal import isal_zlib

from app.archive.answers import Answer, Body, as_iterator
from app.archive.metadata import Metadata
from app.mime.multipart import closing, part_header
from app.web.conditions import NONE, Conditions, Unsatisfiable
from app.web.problems import problem
from app.web.responses import PRIVATE, not_modified

_GZIP = 31


def new_boundary() -> str:
    """Return a boundary that no stored bytes can hold, since nobody knew it before."""
    return secrets.token_hex(16)


async def answer_response(answer: Answer, conditions: Conditions = NONE) -> Response:
    """Return the response that sends an answer: all of it, a range, or that it is known already.

    A multipart has a boundary of its own each time, so its ETag is a weak one.

    Raises:
        Changed: it is not the version that the caller expects.
    """
    alone = not answer.multipart and isinstance(answer.bodies, Sequence)
    etag = f'"{answer.version}"' if alone else f'W/"{answer.version}"'
    conditions.check(answer.version, strong=alone)
    if answer.version and conditions.knows(answer.version):
        return not_modified(etag)
    validator = {"ETag": etag} if answer.version else {}
    if not isinstance(answer.bodies, Sequence) or answer.multipart:
        return _multipart(answer, validator)
    (body,) = answer.bodies
    headers = {**PRIVATE, **body.headers, **validator, "Vary": "Accept"}
    if body.length is None:
        return StreamingResponse(body.chunks, headers=headers)
    if body.section is not None:
        headers["Accept-Ranges"] = "bytes"
    if body.whole is not None and not conditions.ranged:
        return Response(body.whole, headers=headers)
    if body.section is not None:
        return await _ranged(answer.version, body, body.length, headers, conditions)
    headers["Content-Length"] = str(body.length)
    return StreamingResponse(body.chunks, headers=headers)


async def _ranged(
    version: str, body: Body, length: int, headers: dict[str, str], conditions: Conditions
) -> Response:
    """Return the bytes that a Range names, or all (RFC 9110 §14.2)."""
    assert body.section is not None  # noqa: S101 - the caller looked
    try:
        section = conditions.section(version, length)
    except Unsatisfiable:
        beyond = {"Content-Range": f"bytes */{length}"}
        detail = f"Bytes from 0 to {length - 1} were expected in Range"
        return problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, detail, beyond)
    if section is None:
        headers["Content-Length"] = str(length)
        return StreamingResponse(body.chunks, headers=headers)
    first, count = section
    headers["Content-Range"] = f"bytes {first}-{first + count - 1}/{length}"
    headers["Content-Length"] = str(count)
    chunks = await body.section(first, count)
    return StreamingResponse(chunks, HTTPStatus.PARTIAL_CONTENT, headers)


def multipart_type(media_type: str, boundary: str) -> str:
    """Return the Content-Type of a multipart whose parts are of `media_type`."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'


def _multipart(answer: Answer, validator: Mapping[str, str]) -> StreamingResponse:
    boundary = new_boundary()
    headers = {
        **PRIVATE,
        **validator,
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
    async for body in as_iterator(bodies):
        yield part_header(boundary, body.headers, first=first)
        first = False
        async for chunk in body.chunks:
            yield chunk
    yield closing(boundary)


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
