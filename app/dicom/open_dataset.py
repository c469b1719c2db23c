"""A Data Set that is being walked, and looking an attribute up in it with a second cursor."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.dicom.cursor import Cursor
from app.dicom.headers import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    Header,
    as_implicit,
)
from app.dicom.source import Source
from app.errors import InvalidDataset

MAX_DEPTH = 100
"""Whatever the limit says: each level takes some calls of Python's own bounded stack."""


@dataclass(slots=True)
class OpenDataset:
    """The outermost Data Set or that of an item; the one around it is `outer`.

    `start` is where its first element stands. No element begins at or after `stop`, where it ends
    by declaration; no value passes `limit`, where the bytes end that hold it (of the enclosing
    Sequence of defined length, or of the object).
    """

    start: int
    stop: int
    limit: int
    encoding: Encoding
    outer: "OpenDataset | None" = None
    depth: int = 0
    creators: dict[int, str] = field(default_factory=dict)
    """Names of private blocks, by group and block (0x00190010)."""
    numbers: dict[int, int | None] = field(default_factory=dict)
    """What was looked up."""
    changes: Mapping[int, bytes] = field(default_factory=dict)
    """Elements, wholly encoded, that are written in place of those here; empty to leave out."""


def find_element(source: Source, dataset: OpenDataset, wanted: int) -> tuple[Cursor, Header] | None:
    """Return an element's header, and a cursor at its value; None if it is not there.

    All elements are looked at, since some writers leave the order; of several the last counts.

    Source: PS3.5 §7.1
    """
    cursor = Cursor(source, dataset.start)
    found: tuple[int, Header] | None = None
    while cursor.position < dataset.stop:
        header = cursor.header(dataset.encoding, dataset.limit)
        if header is None or (header.tag == ITEM_END and dataset.outer is not None):
            break
        if header.tag == wanted:
            found = (cursor.position, header)
        skip_value(cursor, header, dataset.encoding, dataset.limit, dataset.depth)
    if found is None:
        return None
    cursor.position = found[0]
    return cursor, found[1]


def first_value(source: Source, dataset: OpenDataset, tag: int, most: int) -> bytes | None:
    """Return the value of an attribute of this Data Set alone, cut to `most` bytes, or None.

    Source: PS3.5 §7.1
    """
    found = find_element(source, dataset, tag)
    if found is None or found[1].length == UNDEFINED:
        return None
    cursor, header = found
    return cursor.window.read(cursor.position, min(header.length, most))


def first_number(source: Source, dataset: OpenDataset, tag: int) -> int | None:
    """Return the first number of an attribute of VR US of this Data Set alone, or None.

    Source: PS3.5 §6.2
    """
    if tag not in dataset.numbers:
        dataset.numbers[tag] = _number(dataset, first_value(source, dataset, tag, 2) or b"")
    return dataset.numbers[tag]


def note_number(cursor: Cursor, dataset: OpenDataset, tag: int, length: int) -> None:
    """Remember the first number of an attribute at whose value a cursor stands.

    Source: PS3.5 §6.2
    """
    value = cursor.window.read(cursor.position, min(length, 2))
    dataset.numbers[tag] = _number(dataset, value)


def _number(dataset: OpenDataset, value: bytes) -> int | None:
    order = 1 if dataset.encoding.little_endian else -1
    return int.from_bytes(value[::order], "little") if len(value) == 2 else None


def nearest_number(source: Source, dataset: OpenDataset | None, tag: int) -> int | None:
    """Return the first number of an attribute in this Data Set or the nearest one around it.

    Source: PS3.3 §C.7.6.3.1 (Pixel Representation decides on VRs in items, too)
    """
    while dataset is not None:
        number = first_number(source, dataset, tag)
        if number is not None:
            return number
        dataset = dataset.outer
    return None


def skip_undefined(cursor: Cursor, encoding: Encoding, limit: int, depth: int) -> None:
    """Move past the end of a value of undefined length, that of a Sequence or of fragments.

    A delimiter that is missing is forgiven where something else follows.

    Raises:
        InvalidDataset: Sequences are nested too deeply.

    Source: PS3.5 §7.5, §A.4
    """
    if depth > MAX_DEPTH:
        raise InvalidDataset("Sequences are nested too deeply")
    while (item := cursor.item(encoding, limit)) is not None:
        tag, length = item
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            cursor.position -= 8
            return
        if length == UNDEFINED:
            implicit = encoding.implicit or cursor.stands_implicit()
            _skip_item(cursor, as_implicit(encoding) if implicit else encoding, limit, depth)
        else:
            cursor.position += length


def skip_value(cursor: Cursor, header: Header, encoding: Encoding, limit: int, depth: int) -> None:
    """Move past the value of an element whose header was read.

    Raises:
        InvalidDataset: Sequences are nested too deeply.

    Source: PS3.5 §7.1, §7.5
    """
    if header.length == UNDEFINED:
        skip_undefined(cursor, encoding, limit, depth)
    else:
        cursor.position += header.length


def _skip_item(cursor: Cursor, encoding: Encoding, limit: int, depth: int) -> None:
    while (header := cursor.header(encoding, limit)) is not None:
        if header.tag == ITEM_END:
            return
        if header.tag in {ITEM, SEQUENCE_END}:
            cursor.position -= header.size
            return
        skip_value(cursor, header, encoding, limit, depth + 1)
