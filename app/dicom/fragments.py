"""Values of undefined length that are no Sequences: encapsulated ones above all (PS3.5 §A.4)."""

from array import array
from dataclasses import dataclass, field

from app.dicom.headers import ITEM, SEQUENCE_END, UNDEFINED, Encoding, read_item_header
from app.dicom.limits import Limits
from app.dicom.source import Window
from app.errors import InvalidDataset

LITTLE_AHEAD = 4096
"""Read ahead between fragments: enough for many small ones, cheap between large ones."""
_SEARCH = 2**16


@dataclass(slots=True)
class Encapsulated:
    """Where the items of a value lie; `end` is after the delimiter, `length` up to it.

    `offsets` and `lengths` are of the items' bytes, the Basic Offset Table's first. Both are None
    for a value that is not made of items.
    """

    offset: int
    length: int
    end: int
    offsets: "array[int] | None" = field(default_factory=lambda: array("Q"))
    lengths: "array[int] | None" = field(default_factory=lambda: array("Q"))
    delimited: bool = True


def walk_fragments(
    window: Window, offset: int, limit: int, encoding: Encoding, limits: Limits
) -> Encapsulated:
    """Find the items of a value of undefined length from their headers alone.

    A delimiter that is missing after the last whole item at the end is forgiven. What is no item
    makes the value one of plain bytes up to the delimiter, wherever that is found.

    Raises:
        InvalidDataset: the value ends within an item, or has too many, or has no end.

    Source: PS3.5 §A.4
    """
    offsets, lengths = array("Q"), array("Q")
    position = offset
    while True:
        if position == limit and offsets:
            return Encapsulated(offset, limit - offset, limit, offsets, lengths, False)
        head = window.peek(position, 8, LITTLE_AHEAD)
        if len(head) < 8 or position + 8 > limit:
            break
        tag, length = read_item_header(head, encoding)
        if tag == SEQUENCE_END:
            return Encapsulated(offset, position - offset, position + 8, offsets, lengths)
        if tag != ITEM or length == UNDEFINED:
            break
        position += 8
        if position + length > limit:
            raise InvalidDataset("the object ends within a fragment of Pixel Data", 0xC001)
        if len(offsets) > limits.fragments:
            raise InvalidDataset(f"a value has more than {limits.fragments} fragments", 0xC002)
        offsets.append(position)
        lengths.append(length)
        position += length
    return _until_delimiter(window, offset, limit, encoding)


def _until_delimiter(window: Window, offset: int, limit: int, encoding: Encoding) -> Encapsulated:
    mark = encoding.implicit_header.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)[:4]
    position = offset
    while position < limit:
        found = window.read(position, min(_SEARCH, limit - position)).find(mark)
        if found >= 0:
            end = position + found
            return Encapsulated(offset, end - offset, min(end + 8, limit), None, None)
        position += _SEARCH - 3
    raise InvalidDataset("a value of undefined length has no delimiter", 0xC001)
