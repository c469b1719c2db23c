"""Answers in the Native DICOM Model (PS3.18 §8.7.3.2): one document, or one in each part."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from isal import isal_zlib

from app.archive.answers import Body, once
from app.dicom.xml_model import write_xml
from app.web.accept import DICOM_XML, gzip_accepted
from app.web.responses import PRIVATE
from app.web.streams import multipart_parts, multipart_type, new_boundary

_GZIP, _LEVEL = 31, 1
_AT_ONCE = 100
_HEADERS = {"Content-Type": DICOM_XML}


def xml_response(
    request: Request,
    documents: AsyncIterator[bytes],
    headers: Mapping[str, str] | None = None,
    *,
    multipart: bool = True,
) -> Response:
    """Return a response that sends documents as they are made: each a part, or the only one.

    In gzip where the caller takes it (G-18): XML repeats itself even more than JSON does.
    """
    answer = {**PRIVATE, "Vary": "Accept, Accept-Encoding", **(headers or {}), **_HEADERS}
    pieces = documents
    if multipart:
        boundary = new_boundary()
        answer["Content-Type"] = multipart_type(DICOM_XML, boundary)
        pieces = multipart_parts(_bodies(documents), boundary)
    if gzip_accepted(request.headers.get("accept-encoding", "")):
        answer["Content-Encoding"] = "gzip"
        pieces = _gzipped(pieces)
    return StreamingResponse(pieces, headers=answer)


async def documents_of(datasets: Sequence[str | bytes]) -> AsyncIterator[bytes]:
    """Make documents of DICOM JSON objects as they are asked for, in threads."""
    waiting = iter(datasets)
    while some := await asyncio.to_thread(_written, islice(waiting, _AT_ONCE)):
        for document in some:
            yield document


def _written(datasets: Iterator[str | bytes]) -> list[bytes]:
    return [write_xml(orjson.loads(dataset)) for dataset in datasets]


async def _bodies(documents: AsyncIterator[bytes]) -> AsyncIterator[Body]:
    async for document in documents:
        yield Body(_HEADERS, len(document), once(document))


async def _gzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    engine = isal_zlib.compressobj(_LEVEL, wbits=_GZIP)
    async for piece in pieces:
        if made := engine.compress(piece):
            yield made
    yield engine.flush()
