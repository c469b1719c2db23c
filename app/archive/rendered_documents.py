"""What is rendered as it is: documents and videos within Instances; and reports as text.

A document may be hostile: what a browser would show as a page is sent so that nothing in it runs.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping

from app.archive.answers import Body, begun, body_of
from app.archive.context import Archive
from app.archive.described import Described
from app.archive.originals import BLOCK, Original, open_original
from app.dicom.document import Document
from app.dicom.pictures import RENDERING_VERSION
from app.dicom.structured_report import report_html, report_text, report_xml
from app.dicom.transfer_syntaxes import OCTET_STREAM, find
from app.errors import InvalidDataset
from app.index.frames import FramePlace
from app.rights import Principal

_DOCUMENT = "00420011"
_BY_SOP_CLASS = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.2": "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
_MEDIA_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}", re.ASCII
)
_ITEM_HEADER = 8
SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
REPORTS: Mapping[str, Callable[[Document], str]] = {
    "text/html": report_html,
    "text/plain": report_text,
    "text/xml": report_xml,
}
"""How a structured report is rendered, the default first; as PDF it is, too."""
PDF = "application/pdf"
_REPORT_PDF = "app.dicom.report_pdf:report_pdf"


def document_type(described: Described) -> str | None:
    """Return the media type of an encapsulated document, None if the Instance has none."""
    document = described.document
    if _DOCUMENT not in document.members:
        return None
    known = _BY_SOP_CLASS.get(document.text("00080016"))
    if known is not None:
        return known
    named = document.text("00420012").lower()
    return named if _MEDIA_TYPE.fullmatch(named) else OCTET_STREAM


def is_report(described: Described) -> bool:
    """Say whether the Instance has a tree of content."""
    return described.document.text("0040A040") == "CONTAINER"


async def document_body(archive: Archive, described: Described) -> Body:
    """Return an encapsulated document as it was put in, without the padding.

    Raises:
        Unavailable: the object store does not answer.
    """
    media_type = document_type(described) or OCTET_STREAM
    headers = {"Content-Type": media_type}
    if media_type != "application/pdf":
        headers |= SANDBOX
    if described.document.text("00080016") not in _BY_SOP_CLASS:
        headers["Content-Disposition"] = "attachment"
    place = described.bulk_values.get(_DOCUMENT)
    if place is None:
        data = described.document.octets(_DOCUMENT)
        data = data[: _true_length(described.document, len(data))]
        return body_of(headers, data)
    length = _true_length(described.document, place.length)
    original = await open_original(archive, described.place)
    return await _plain(headers, original, place.offset, length)


def _true_length(document: Document, stored: int) -> int:
    declared = document.integer("00420015", stored)
    return declared if stored - 1 <= declared <= stored else stored


def video_type(described: Described) -> str:
    """Return the media type of a video."""
    syntax = find(described.place.transfer_syntax_uid)
    return OCTET_STREAM if syntax is None else syntax.media_type


async def video_body(archive: Archive, principal: Principal, described: Described) -> Body:
    """Return the one stream that all frames of a video are.

    Raises:
        NotFound: there is none.
        Unavailable: the object store does not answer.
    """
    places = await archive.leases.locate(principal.scope, described.place.ref, [1])
    (place,) = places.frames
    original = await open_original(archive, described.place)
    headers = {"Content-Type": video_type(described)}
    if place.fragmented:
        return Body(headers, None, await begun(_fragments(original, place)))
    return await _plain(headers, original, place.offset, place.length)


async def _fragments(original: Original, place: FramePlace) -> AsyncIterator[bytes]:
    """Read what lies between item headers."""
    position, end = place.offset - _ITEM_HEADER, place.offset + place.length
    while position < end:
        header = await original.read(position, _ITEM_HEADER)
        position += _ITEM_HEADER
        length = min(int.from_bytes(header[4:], "little"), end - position)
        if header[:4] != b"\xfe\xff\x00\xe0":
            raise InvalidDataset("A frame's fragments are not items")
        async for block in _blocks(original, position, length):
            yield block
        position += length


async def _plain(headers: Mapping[str, str], original: Original, start: int, length: int) -> Body:
    """Return a run of bytes as a body of which browsers ask for ranges."""

    async def section(offset: int, count: int) -> AsyncIterator[bytes]:
        return await begun(_blocks(original, start + offset, count))

    return Body(headers, length, await section(0, length), section)


async def _blocks(original: Original, offset: int, length: int) -> AsyncIterator[bytes]:
    for start in range(0, max(length, 1), BLOCK):
        yield await original.read(offset + start, min(BLOCK, length - start))


async def report_body(described: Described, media_type: str) -> Body:
    """Return a structured report as one of `REPORTS`."""
    data = (await asyncio.to_thread(REPORTS[media_type], described.document)).encode()
    headers = {"Content-Type": f"{media_type}; charset=utf-8", **SANDBOX}
    return body_of(headers, data)


async def report_pdf_body(archive: Archive, described: Described) -> Body:
    """Return a structured report as PDF, from the cache if it is there.

    Raises:
        InvalidDataset: its making takes more time or memory than it may.
        Unavailable: no worker answers.
    """

    async def make() -> bytes:
        async with archive.budgets.pixels.turn():
            made = await archive.workers.run(_REPORT_PDF, described.document)
        if not isinstance(made, bytes):
            raise InvalidDataset("the report was made into something else than a document")
        return made

    name = f"report-{RENDERING_VERSION}-{described.place.sha256.hex()}"
    data = await archive.cache.get_or_make(name, make)
    return body_of({"Content-Type": PDF}, data)
