"""What a Store request holds, by its media type (PS3.18 §10.5.1.3, §10.5.1.4)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from fastapi import Request

from app.archive.store_metadata import METADATA_TYPES, ReceivedPart
from app.dicom.limits import Limits
from app.dicom.store_report import FailureReason
from app.errors import (
    InvalidDataset,
    InvalidMultipart,
    InvalidRequest,
    UnsupportedMediaType,
)
from app.mime.media_types import MediaType, parse_media_type
from app.mime.multipart import Part, PartLimits, read_parts

DICOM = "application/dicom"
_INSTANCES = frozenset({DICOM, "application/octet-stream"})
_PLAIN_ENCODINGS = {"", "7bit", "8bit", "binary"}
_EXPECTED = (
    f'{DICOM}, multipart/related; type="{DICOM}", or metadata as application/dicom+json or'
    " application/dicom+xml with its Bulk Data as multipart/related was expected"
)


@dataclass(frozen=True, slots=True)
class Instances:
    """Parts that are Instances as they are."""

    parts: AsyncIterator[AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class MetadataAndBulkData:
    """Parts of metadata, and of Bulk Data that it refers to."""

    parts: AsyncIterator[ReceivedPart]


@dataclass(frozen=True, slots=True)
class _Whole:
    """A body that is no multipart, as its only part."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks


async def read_body(
    request: Request, chunks: AsyncIterator[bytes], limits: Limits
) -> Instances | MetadataAndBulkData:
    """Return what the body holds; S-28 and S-29 included.

    A multipart that does not say what it is of is of what its first part is.

    Raises:
        UnsupportedMediaType: it is of none of the media types that are taken.
        InvalidMultipart: no boundary is named, or the body does not begin as a multipart.
        InvalidRequest: the body is empty.
    """
    content_type = request.headers.get("content-type", "")
    media = parse_media_type(content_type)
    if media is None:
        raise _not_taken(content_type)
    if media.type in _INSTANCES:
        return Instances(_one_part(chunks))
    if media.type in METADATA_TYPES:
        return MetadataAndBulkData(_whole(content_type, chunks))
    kind = (media.get("type") or "").lower()
    if media.type != "multipart/related" or kind not in {"", *_INSTANCES, *METADATA_TYPES}:
        raise _not_taken(content_type)
    parts = _parts_of(media, chunks, limits)
    if not kind:
        kind, parts = await _kind_of_first(parts)
    return MetadataAndBulkData(parts) if kind in METADATA_TYPES else Instances(_checked(parts))


def _not_taken(content_type: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"{_EXPECTED}, not {content_type[:200]!r}")


def _parts_of(
    media: MediaType, chunks: AsyncIterator[bytes], limits: Limits
) -> AsyncIterator[Part]:
    boundary = media.get("boundary")
    if boundary is None:
        raise InvalidMultipart("The Content-Type names no boundary")
    return read_parts(chunks, boundary, PartLimits(limits.parts, limits.part_header_bytes))


async def _kind_of_first(parts: AsyncIterator[Part]) -> tuple[str, AsyncIterator[Part]]:
    first = await anext(parts, None)
    if first is None:
        return DICOM, parts
    media = parse_media_type(first.headers.get("content-type", DICOM))
    return DICOM if media is None else media.type, _rejoined(first, parts)


async def _rejoined(first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[Part]:
    yield first
    async for part in rest:
        yield part


async def _whole(content_type: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[ReceivedPart]:
    yield _Whole({"content-type": content_type}, await _begun(chunks))


async def _one_part(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    yield await _begun(chunks)


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    first = await anext(chunks, None)
    if first is None:
        raise InvalidRequest("The body is empty")

    async def resumed() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return resumed()


async def _checked(parts: AsyncIterator[Part]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the parts; one that is no Instance as it is fails when it is read."""
    async for part in parts:
        why = _why_refused(part)
        yield part if why is None else _refused(why)


def _why_refused(part: Part) -> str | None:
    content_type = part.headers.get("content-type", DICOM)
    media = parse_media_type(content_type)
    if media is None or media.type not in _INSTANCES:
        return f"parts of {DICOM} are taken, not {content_type[:200]!r}"
    encoding = part.headers.get("content-transfer-encoding", "")
    if encoding.lower() not in _PLAIN_ENCODINGS or "content-encoding" in part.headers:
        return "parts without an encoding are taken"
    return None


async def _refused(why: str) -> AsyncIterator[bytes]:
    raise InvalidDataset(why, FailureReason.CANNOT_UNDERSTAND)
    yield b""  # so that it is an iterator
