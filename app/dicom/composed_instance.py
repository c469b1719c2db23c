"""An Instance made of its metadata and of Bulk Data that came beside it (PS3.18 §10.5.1.4).

The same metadata and bytes make the same Instance, byte for byte. Bulk Data is copied a block at a
time and never held. Where compressed frames come, one in each part, they become encapsulated Pixel
Data as they are; everything else becomes Explicit VR Little Endian.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.dicom.compressed_parts import (
    HEAD_BYTES,
    codestream_extent,
    describe_frame,
    described,
    is_image,
    syntax_named,
)
from app.dicom.encapsulation import (
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    LONGEST_FRAGMENT,
    extended_tables,
    fragment_start,
    needs_extended_table,
    pixel_data_end,
    pixel_data_start,
)
from app.dicom.file_meta import add_file_meta
from app.dicom.json_dataset import Piece, Reference, encode_dataset
from app.dicom.json_values import pad_of
from app.dicom.limits import Limits
from app.dicom.pixel_length import PIXEL_TAGS, check_pixel_length
from app.dicom.rewrite import PIXEL_DATA, element_header
from app.dicom.source import Source
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, TransferSyntax
from app.dicom.uids import check_uid
from app.errors import InvalidDataset, InvalidUID

_BLOCK = 2**20
_LONG_HEADER = 12
"""Bytes before the value of an element of OB, OW, OF or OD."""
_PIXELS = f"{PIXEL_DATA:08X}"
_SOP_CLASS, _SOP_INSTANCE = "00080016", "00080018"
_NUMBER_OF_FRAMES, _BITS_ALLOCATED = "00280008", "00280100"
_OVER_A_LIMIT = 0xC002


@dataclass(frozen=True, slots=True)
class BulkPart:
    """`size` bytes from `offset` of a source, and what the Content-Type says they are."""

    source: Source
    offset: int
    size: int
    media_type: str = "application/octet-stream"
    transfer_syntax: str | None = None

    def head(self) -> bytes:
        """Return the beginning."""
        return self.source.read(self.offset, min(self.size, HEAD_BYTES))

    def blocks(self) -> Iterator[bytes]:
        """Yield all bytes."""
        end = self.offset + self.size
        for at in range(self.offset, end, _BLOCK):
            yield self.source.read(at, min(_BLOCK, end - at))


FindParts = Callable[[str], Sequence[BulkPart]]
"""Returns the parts that a BulkDataURI names, in order; none if there is none."""


def sop_uids(dataset: Any) -> tuple[str, str]:
    """Return SOP Class and SOP Instance UID of a DICOM JSON object, '' for what is no UID.

    Source: PS3.18 §10.5.3
    """
    return _uid(dataset, _SOP_CLASS), _uid(dataset, _SOP_INSTANCE)


def compose_instance(dataset: Any, find: FindParts, limits: Limits) -> Iterator[bytes]:
    """Yield the Instance as a Part 10 stream.

    Raises:
        InvalidDataset: the metadata is malformed, or a part that it refers to is not there or not
            what it has to be.

    Source: PS3.18 §10.5.1.4, §10.5.2; PS3.10 §7
    """
    dataset = _with_plain_keys(dataset)
    frames = _compressed_frames(dataset, find)
    syntax = EXPLICIT_LITTLE_ENDIAN
    if frames is not None:
        syntax, dataset = frames.syntax.uid, frames.describe(dataset)
    elements: dict[int, Sequence[Piece]] = dict(encode_dataset(dataset, limits).elements)
    if frames is not None:
        frames.replace_tables(elements)
    else:
        _check_pixels(dataset, elements, find)
    yield add_file_meta(*sop_uids(dataset), syntax)
    for tag in sorted(elements):
        for piece in elements[tag]:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from _bulk_element(dataset, piece, find)
        if tag == PIXEL_DATA and frames is not None:
            yield from frames.fragments()


def _check_pixels(
    dataset: Mapping[str, Any], elements: Mapping[int, Sequence[Piece]], find: FindParts
) -> None:
    for tag in PIXEL_TAGS & elements.keys():
        piece, *others = elements[tag]
        if others:
            raise InvalidDataset(f"{tag:08X} has the VR SQ")
        if isinstance(piece, bytes):
            check_pixel_length(dataset, tag, len(piece) - _LONG_HEADER, 1)
        else:
            parts = _found(find, piece.uri, f"{tag:08X}")
            check_pixel_length(dataset, tag, sum(part.size for part in parts), len(parts))


def _with_plain_keys(dataset: Any) -> Mapping[str, Any]:
    if not isinstance(dataset, dict):
        raise InvalidDataset("a Data Set is no JSON object")
    plain = {key.upper(): value for key, value in dataset.items()}
    if len(plain) < len(dataset):
        raise InvalidDataset("an attribute stands twice")
    return plain


def _uid(dataset: Any, key: str) -> str:
    value = _first(dataset, key) if isinstance(dataset, dict) else None
    try:
        return check_uid(value) if isinstance(value, str) else ""
    except InvalidUID:
        return ""


def _first(dataset: Mapping[str, Any], key: str) -> Any:
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


@dataclass(frozen=True, slots=True)
class _Frames:
    """Compressed frames, each wholly in one part; the only one of video is the whole stream."""

    syntax: TransferSyntax
    parts: Sequence[BulkPart]
    attributes: Mapping[str, Any]

    def describe(self, dataset: Mapping[str, Any]) -> dict[str, Any]:
        """Return the Data Set with what only the frames tell."""
        complete = described(dataset, self.attributes)
        count = len(self.parts)
        wanted = _first(dataset, _NUMBER_OF_FRAMES)
        if self.syntax.video:
            return complete
        if wanted is None and count > 1:
            complete[_NUMBER_OF_FRAMES] = {"vr": "IS", "Value": [count]}
        elif str(1 if wanted is None else wanted) != str(count):
            said = 1 if wanted is None else wanted
            raise InvalidDataset(
                f"there are {count} parts with a frame each, where Number of Frames says {said}"
            )
        return complete

    @property
    def _lengths(self) -> list[int]:
        return [part.size for part in self.parts]

    def _is_extended(self, elements: Mapping[int, object]) -> bool:
        return EXTENDED_OFFSET_TABLE in elements or needs_extended_table(self._lengths)

    def replace_tables(self, elements: dict[int, Sequence[Piece]]) -> None:
        """Put the Extended Offset Table of what is written in the place of what was read."""
        extended = self._is_extended(elements)
        for tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS):
            elements.pop(tag, None)
        if extended:
            elements.update((tag, [table]) for tag, table in extended_tables(self._lengths))
        elements[PIXEL_DATA] = [pixel_data_start(self._lengths, tabled=not extended)]

    def fragments(self) -> Iterator[bytes]:
        """Yield what of Pixel Data follows the offset table."""
        for part in self.parts:
            yield fragment_start(part.size)
            yield from part.blocks()
            yield b"\0" * (part.size % 2)
        yield pixel_data_end()


def _compressed_frames(dataset: Mapping[str, Any], find: FindParts) -> _Frames | None:
    """Return the frames that Pixel Data refers to; None if it is native, inline or not there."""
    pixels = dataset.get(_PIXELS)
    uri = pixels.get("BulkDataURI") if isinstance(pixels, dict) else None
    if not isinstance(uri, str):
        return None
    parts = _found(find, uri, _PIXELS)
    kinds = {(part.media_type, part.transfer_syntax) for part in parts}
    if len(kinds) > 1:
        raise InvalidDataset("the frames are of different media types")
    ((media_type, transfer_syntax),) = kinds
    named = syntax_named(media_type, transfer_syntax)
    if named is not None and not named.encapsulated:
        return None
    frames = [_codestream(part) for part in parts]
    if any(not 0 < part.size <= LONGEST_FRAGMENT for part in frames):
        raise InvalidDataset("a frame is empty or over 4 GiB", _OVER_A_LIMIT)
    syntax, attributes = describe_frame(media_type, named, frames[0].head())
    if syntax.video and len(parts) > 1:
        raise InvalidDataset("one part with the whole video was expected")
    return _Frames(syntax, frames, attributes)


def _codestream(part: BulkPart) -> BulkPart:
    skip, size = codestream_extent(part.source.read(part.offset, min(part.size, 2**16)), part.size)
    return BulkPart(part.source, part.offset + skip, size, part.media_type, part.transfer_syntax)


def _found(find: FindParts, uri: str, name: str) -> Sequence[BulkPart]:
    parts = find(uri)
    if not parts:
        raise InvalidDataset(f"no part has the Content-Location of {name}")
    return parts


def _bulk_element(
    dataset: Mapping[str, Any], reference: Reference, find: FindParts
) -> Iterator[bytes]:
    """Yield an element whose value is in a part; that of native frames may be in several."""
    parts, vr = _found(find, reference.uri, f"{reference.tag:08X}"), reference.vr
    if reference.tag == PIXEL_DATA:
        if reference.nested and is_image(parts[0].media_type):
            raise InvalidDataset("Pixel Data in a Sequence is taken native only")
        deep = not reference.nested and _first(dataset, _BITS_ALLOCATED) not in (None, 1, 8)
        vr = "OW" if deep or vr not in {"OB", "OW"} else vr
    elif len(parts) > 1:
        raise InvalidDataset(f"several parts have the Content-Location of {reference.tag:08X}")
    size = sum(part.size for part in parts)
    pad = pad_of(vr) * (size % 2)
    if size + len(pad) >= LONGEST_FRAGMENT:
        raise InvalidDataset("a value is over 4 GiB", _OVER_A_LIMIT)
    yield element_header(reference.tag, vr, size + len(pad))
    for part in parts:
        yield from part.blocks()
    yield pad
