"""Look one attribute up in a Data Set that is being walked, by a second reader from its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.dicom.element_reader import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    ElementReader,
    Header,
    Readable,
    looks_implicit,
)
from app.errors import InvalidDataset

MOST_DEPTH = 64
"""A search goes no deeper, whatever the limit of the walk is: it recurses."""


@dataclass(slots=True)
class Level:
    """One Data Set: the outermost or an item's.

    `start` is where its first element stands; no element begins at or after `stop`, no value
    passes `end` (that of the enclosing Sequence of known length, or of the source).
    """

    start: int
    stop: int
    end: int
    implicit: bool
    big_endian: bool
    outer: "Level | None" = None
    depth: int = 0
    creators: dict[int, str] = field(default_factory=dict)
    """Names of private blocks, by group and block (0x00190010)."""
    numbers: dict[int, int | None] = field(default_factory=dict)
    """What was looked up."""
    changes: Mapping[int, bytes] = field(default_factory=dict)
    """Elements, wholly encoded, that are written in place of this level's; empty to leave out."""


def first_number(source: Readable, level: Level, tag: int) -> int | None:
    """Return the first number of an attribute of VR US in this Data Set alone, or None.

    Source: PS3.5 §7.1
    """
    if tag not in level.numbers:
        found = find(source, level, tag)
        known = found is not None and 2 <= found[1].length < UNDEFINED
        level.numbers[tag] = found[0].unsigned(found[0].take(2)) if found and known else None
    return level.numbers[tag]


def nearest_number(source: Readable, level: Level | None, tag: int) -> int | None:
    """Return the first number of an attribute in this Data Set or the nearest one around it.

    Source: PS3.3 §C.7.6.3.1 (Pixel Representation decides on VRs in items, too)
    """
    while level is not None:
        number = first_number(source, level, tag)
        if number is not None:
            return number
        level = level.outer
    return None


def find(source: Readable, level: Level, wanted: int) -> tuple[ElementReader, Header] | None:
    """Return an element's header, and a reader that stands at its value; None if it is not there.

    Elements are taken to stand in ascending order, as they must.

    Source: PS3.5 §7.1
    """
    reader = ElementReader(source, level.start, big_endian=level.big_endian)
    while reader.position < level.stop and reader.remaining(level.end) >= 8:
        header = reader.header(implicit=level.implicit)
        if header.tag >= wanted:
            return (reader, header) if header.tag == wanted else None
        if header.length == UNDEFINED:
            skip_undefined(reader, implicit=level.implicit, depth=level.depth)
        else:
            reader.position += header.length
    return None


def skip_undefined(reader: ElementReader, *, implicit: bool, depth: int) -> None:
    """Move past the Sequence Delimitation Item of the value that begins here.

    Raises:
        InvalidDataset: it has none, or Sequences are nested too deeply.

    Source: PS3.5 §7.5, §A.4
    """
    if depth > MOST_DEPTH:
        raise InvalidDataset("Sequences are nested too deeply")
    while (item := reader.item()).tag != SEQUENCE_END:
        if item.length == UNDEFINED:
            _skip_item(reader, implicit=implicit or looks_implicit(reader), depth=depth)
        else:
            reader.position += item.length


def _skip_item(reader: ElementReader, *, implicit: bool, depth: int) -> None:
    while (header := reader.header(implicit=implicit)).tag != ITEM_END:
        if header.length == UNDEFINED:
            skip_undefined(reader, implicit=implicit, depth=depth + 1)
        else:
            reader.position += header.length
