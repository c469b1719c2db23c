"""Storing Instances that come as metadata and Bulk Data (PS3.18 §10.5.1.4).

How it works. Parts with metadata are kept in memory, which they may take only so much of; all Bulk
Data of a request goes, one part after the other, into one staged spool, whose pieces are known by
Content-Location. When the body has ended, Instances are composed one at a time, in threads, and go
the way of every stored Instance. What must hold:

* A BulkDataURI names a part of this request or nothing: it is never fetched from anywhere.
* JSON or XML that is malformed fails the request; a bad Data Set, or a part that is not there,
  fails its Instance.
* What is composed has a bound, too: many elements could refer to one large part.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import unquote

from app.archive.context import Archive
from app.archive.decoded import from_thread
from app.archive.store import store_instances
from app.dicom.composed_instance import BulkPart, compose_instance, sop_uids
from app.dicom.json_documents import read_json
from app.dicom.limits import Limits
from app.dicom.store_report import FailureReason, Stored, StoreReport, WarningReason
from app.dicom.uids import NonPatientRef, StudyRef
from app.dicom.xml_reader import read_xml
from app.errors import (
    Forbidden,
    InvalidDataset,
    InvalidRequest,
    TooLarge,
    UnsupportedMediaType,
)
from app.mime.media_types import MediaType, parse_media_type
from app.objects.staged import Staged
from app.rights import Principal, Verb

JSON_TYPES = frozenset({"application/dicom+json"})
XML_TYPES = frozenset({"application/dicom+xml"})
METADATA_TYPES = JSON_TYPES | XML_TYPES

_BLOCK = 2**18
_TOKENS = 4_000_000
"""Marks of JSON or XML in one request: each may become an object of some 60 bytes."""
_REUSE, _SMALL_REUSE = 4, 256 * 2**20
_OCTETS = MediaType("application/octet-stream")
_PLAIN_ENCODINGS = {"", "7bit", "8bit", "binary"}
_AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_OF_FRAME = re.compile(r"(.+)/frames/([0-9]{1,9})")


class ReceivedPart(Protocol):
    """A part of a request, read once."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its header fields, by lower-case name."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over its content."""
        ...


async def store_metadata(
    archive: Archive,
    principal: Principal,
    parts: AsyncIterator[ReceivedPart],
    into: StudyRef | NonPatientRef | None = None,
    calling_ae: str = "",
) -> StoreReport:
    """Store the Instances that parts of metadata describe, with the Bulk Data of the other parts.

    They go where `store_instances` puts them. Bulk Data that nothing refers to is left out; each
    stored Instance then has a warning.

    Raises:
        Forbidden: `principal` may not store.
        InvalidRequest: metadata is malformed, or there is none.
        UnsupportedMediaType: a part has an encoding of its own.
        TooLarge: the metadata, or all Bulk Data, is over a limit.
        StorageFull, Unavailable: nothing could be stored for want of room or of an engine.
    """
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Storing is not allowed to you")
    received = _Received(archive.limits)
    spool = await archive.staging.stage(received.read(parts))
    try:
        datasets = await asyncio.to_thread(received.datasets)
        bulk = _BulkData(received.bulk, spool)
        composed = _composed(datasets, bulk, archive.limits)
        report = await store_instances(archive, principal, composed, into, calling_ae)
    finally:
        spool.discard()
    return _with_warnings(report) if bulk.has_unused() else report


def _with_warnings(report: StoreReport) -> StoreReport:
    reason = WarningReason.ELEMENTS_DISCARDED
    return StoreReport(
        [
            replace(one, warning_reason=reason) if isinstance(one, Stored) else one
            for one in report.results
        ]
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Where in the spool the content of a part is."""

    location: str
    media: MediaType
    offset: int
    size: int


class _Received:
    """What came in a request."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._documents: list[tuple[str, bytes]] = []
        self._metadata_size = 0
        self.bulk: list[_Stretch] = []

    async def read(self, parts: AsyncIterator[ReceivedPart]) -> AsyncIterator[bytes]:
        """Keep the metadata, and yield the bytes of all Bulk Data."""
        size = 0
        async for part in parts:
            media = _media_type(part)
            if media.type in METADATA_TYPES:
                self._documents.append((media.type, await self._document(part)))
                continue
            start = size
            async for chunk in part:
                size += len(chunk)
                yield chunk
            self.bulk.append(_Stretch(_location(part), media, start, size - start))

    async def _document(self, part: ReceivedPart) -> bytes:
        pieces = []
        async for chunk in part:
            self._metadata_size += len(chunk)
            if self._metadata_size > self._limits.header_bytes:
                most = self._limits.header_bytes
                raise TooLarge(f"the metadata is longer than {most} bytes: send less at a time")
            pieces.append(chunk)
        return b"".join(pieces)

    def datasets(self) -> list[Any]:
        """Return what the metadata says of each Instance, in order. For a thread.

        Raises:
            InvalidRequest: it is malformed.
            TooLarge: there is too much of it.
        """
        found: list[Any] = []
        documents, self._documents = self._documents, []
        marks = (b"{", b"[", b",", b":", b"<")
        if sum(document.count(mark) for _, document in documents for mark in marks) > _TOKENS:
            raise TooLarge("the metadata has too many values: send less at a time")
        for media_type, document in documents:
            if media_type in XML_TYPES:
                found.append(read_xml(document, self._limits))
            else:
                found += _parse_json(document)
        if len(found) > self._limits.parts:
            raise TooLarge(f"more than {self._limits.parts} Instances in one request")
        return found


def _media_type(part: ReceivedPart) -> MediaType:
    encoding = part.headers.get("content-transfer-encoding", "")
    if encoding.lower() not in _PLAIN_ENCODINGS or "content-encoding" in part.headers:
        raise UnsupportedMediaType("parts without an encoding are taken")
    content_type = part.headers.get("content-type")
    media = _OCTETS if content_type is None else parse_media_type(content_type)
    if media is None:
        raise InvalidRequest("the Content-Type of a part cannot be read")
    return media


def _location(part: ReceivedPart) -> str:
    location = part.headers.get("content-location", "").strip()
    named = part.headers.get("content-id", "").strip().strip("<>")
    return location or (f"cid:{named}" if named else "")


def _parse_json(document: bytes) -> list[Any]:
    parsed = read_json(document)
    if not isinstance(parsed, list | dict):
        raise InvalidRequest("metadata in a JSON array, one object an Instance, was expected")
    return parsed if isinstance(parsed, list) else [parsed]


class _BulkData:
    """The Bulk Data of a request by where it is said to be.

    A location counts as it stands; what is found nowhere is looked for without scheme and host and
    decoded, since programs write one absolute and the other relative.
    """

    def __init__(self, stretches: Sequence[_Stretch], spool: Staged) -> None:
        self._exact: dict[str, list[int]] = {}
        self._lenient: dict[str, list[int]] = {}
        self._frames: dict[str, list[tuple[int, int]]] = {}
        source = spool.source()
        self._parts = [
            BulkPart(source, one.offset, one.size, one.media.type, one.media.get("transfer-syntax"))
            for one in stretches
        ]
        self._unused = set(range(len(self._parts)))
        self._budget = _REUSE * spool.size + _SMALL_REUSE
        for index, one in enumerate(stretches):
            self._exact.setdefault(one.location, []).append(index)
            path = _path(one.location)
            self._lenient.setdefault(path, []).append(index)
            if of_frame := _OF_FRAME.fullmatch(path):
                self._frames.setdefault(of_frame[1], []).append((int(of_frame[2]), index))

    def find(self, uri: str) -> list[BulkPart]:
        """Return the parts at a BulkDataURI, in order.

        Raises:
            InvalidDataset: so much has been referred to that it must be the same again and again.
        """
        path = _path(uri)
        found = self._exact.get(uri.strip()) or self._lenient.get(path)
        if not found:
            found = [index for _, index in sorted(self._frames.get(path, ()))]
        self._unused.difference_update(found)
        parts = [self._parts[index] for index in found]
        self._budget -= sum(part.size for part in parts)
        if self._budget < 0:
            message = "Bulk Data is referred to too often"
            raise InvalidDataset(message, FailureReason.OVER_A_LIMIT)
        return parts

    def has_unused(self) -> bool:
        """Say whether there is Bulk Data that nothing has referred to."""
        return bool(self._unused)


def _path(location: str) -> str:
    return unquote(_AUTHORITY.sub("", location.strip())).removeprefix("./").strip("/")


async def _composed(
    datasets: list[Any], bulk: _BulkData, limits: Limits
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield Instances; each gives back the memory of its metadata when the next one begins."""
    datasets.reverse()
    while datasets:
        yield from_thread(_blocks(datasets.pop(), bulk, limits))


def _blocks(dataset: Any, bulk: _BulkData, limits: Limits) -> Iterator[bytes]:
    """Compose an Instance, small pieces joined; an error says which it is."""
    held: list[bytes] = []
    size = 0
    try:
        for piece in compose_instance(dataset, bulk.find, limits):
            held.append(piece)
            size += len(piece)
            if size >= _BLOCK:
                yield b"".join(held)
                held, size = [], 0
    except InvalidDataset as error:
        error.uids = sop_uids(dataset)
        raise
    yield b"".join(held)
