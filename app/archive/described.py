"""An Instance with what it says about itself, as rendering needs it, and its bulk values."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from app.archive.context import Archive
from app.archive.originals import open_original
from app.dicom.appearance import MOST_BULK_BYTES, Appearance, appearance_of, bulk_paths, check_size
from app.dicom.document import Document
from app.dicom.native_frames import WORDS, swap_whole_words
from app.dicom.presentation_state import present
from app.dicom.scanned import BulkPlace
from app.dicom.transfer_syntaxes import find
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, InvalidDataset
from app.index.described import load_described
from app.index.frames import NativeFrames
from app.index.places import InstancePlace
from app.rights import Principal, Verb

_Value = TypeVar("_Value")
_SMALL = 2**16
"""Bytes of JSON that are worked on at once, since a thread would cost more."""


@dataclass(frozen=True, slots=True)
class Described:
    """Where an Instance lies, its Data Set, and where the bulk values of it lie, by path."""

    place: InstancePlace
    document: Document
    bulk_values: Mapping[str, BulkPlace]
    native: NativeFrames | None = None
    """Where its frames lie, if they are native."""
    is_large: bool = False
    """Whether to work on the Data Set takes long enough for a thread of its own."""

    @property
    def is_video(self) -> bool:
        """Say whether its frames are one stream."""
        syntax = find(self.place.transfer_syntax_uid)
        return syntax is not None and syntax.video


async def describe(
    archive: Archive, principal: Principal, ref: InstanceRef, place: InstancePlace | None = None
) -> Described:
    """Look an Instance up; `place` is where it lies, if that was looked up already.

    Raises:
        NotFound: there is no such Instance, or `principal` may not see its Study.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    last = archive.pictures.described(place) if place is not None else None
    if last is not None:
        return last
    stored = await load_described(archive.index, principal.scope, ref)
    is_large = len(stored.metadata) > _SMALL
    members = await _worked_out(is_large, orjson.loads, stored.metadata)
    document = Document(members)
    described = Described(stored.place, document, stored.bulk_values, stored.native, is_large)
    if not is_large:
        archive.pictures.learn_described(described)
    return described


async def _worked_out(
    is_large: bool,
    function: Callable[..., _Value],
    *arguments: Any,
) -> _Value:
    return await asyncio.to_thread(function, *arguments) if is_large else function(*arguments)


@dataclass(frozen=True, slots=True)
class Subject:
    """A frame (1-based) that is shown, by which presentation state and with which segmentation."""

    described: Described
    number: int
    state: Described | None = None
    segmentation: Described | None = None
    blended: "Subject | None" = None
    """What the presentation state shows over it."""
    deidentified: bool = False
    """`described` is without what may name the patient."""

    @property
    def digests(self) -> str:
        """Name the bytes that it is made of."""
        stored = (self.described, self.state, self.segmentation)
        digests = " ".join(one.place.sha256.hex() if one else "" for one in stored).rstrip()
        if self.blended is not None:
            digests += f" {self.blended.digests} {self.blended.number}"
        return f"{digests} anonymized" if self.deidentified else digests


async def read_bulk_value(archive: Archive, described: Described, path: str) -> bytes:
    """Return one bulk value of bounded size, little endian.

    Raises:
        InvalidDataset: it is longer than what a picture needs.
        Unavailable: the object store does not answer.
    """
    place = described.bulk_values[path]
    if place.length > MOST_BULK_BYTES:
        raise InvalidDataset("a table or an overlay of the Instance is too large to be rendered")
    original = await open_original(archive, described.place)
    data = await original.read(place.offset, place.length)
    syntax = find(described.place.transfer_syntax_uid)
    word = WORDS.get(place.vr, 1) if syntax is not None and syntax.big_endian else 1
    return swap_whole_words(data, word)


async def load_appearance(archive: Archive, subject: Subject) -> Appearance:
    """Return how a frame is displayed, the tables that this takes read.

    Raises:
        InvalidDataset: the pixels are not described, or as none that can be rendered.
        Unavailable: the object store does not answer.
    """
    described, number = subject.described, subject.number
    document = await with_tables(archive, described, number)
    syntax = described.place.transfer_syntax_uid
    large = described.is_large or bool(document.bulk)
    appearance = await _worked_out(large, appearance_of, document, syntax, number)
    check_size(appearance, archive.limits.decoded_bytes)
    if subject.state is None:
        return appearance
    state = await with_tables(archive, subject.state, number)
    uid = described.place.ref.instance
    return await asyncio.to_thread(present, appearance, state, uid, number)


async def with_tables(archive: Archive, described: Described, number: int) -> Document:
    """Return a Data Set with the bulk values that the display of a frame takes.

    Raises:
        InvalidDataset: they are too large.
        Unavailable: the object store does not answer.
    """
    paths = bulk_paths(list(described.bulk_values), number)
    if sum(described.bulk_values[path].length for path in paths) > MOST_BULK_BYTES:
        raise InvalidDataset("the tables and overlays of the Instance are too large to be rendered")
    bulk = {path: await read_bulk_value(archive, described, path) for path in paths}
    return Document(described.document.members, bulk)
