"""Encapsulated Pixel Data written anew: one fragment a frame, with an offset table (PS3.5 §A.4)."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from struct import pack

from app.dicom.headers import ITEM, SEQUENCE_END, UNDEFINED
from app.dicom.rewrite import PIXEL_DATA, element, element_header

EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
LONGEST_FRAGMENT = UNDEFINED - 1


def pixel_data_start(lengths: Sequence[int], *, tabled: bool = True) -> bytes:
    """Return what stands before the first frame; `lengths` are those of the frames in bytes.

    The Basic Offset Table in it is empty where offsets go beyond 32 bits, or without `tabled`.

    Source: PS3.5 §A.4
    """
    offsets = _offsets(lengths) if tabled and not needs_extended_table(lengths) else []
    table = pack(f"<{len(offsets)}L", *offsets)
    return element_header(PIXEL_DATA, "OB", UNDEFINED) + fragment_start(len(table)) + table


def fragment_start(length: int) -> bytes:
    """Return the header of a fragment of so many bytes, which a pad byte makes even.

    Source: PS3.5 §A.4
    """
    return pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, _even(length))


def pixel_data_end() -> bytes:
    """Return what stands after the last frame.

    Source: PS3.5 §A.4
    """
    return pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


def needs_extended_table(lengths: Sequence[int]) -> bool:
    """Say whether an offset does not fit into the Basic Offset Table.

    Source: PS3.5 §A.4
    """
    return sum(map(_item, lengths[:-1])) > UNDEFINED


def extended_tables(lengths: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Yield tag and element of the Extended Offset Table and its Lengths.

    Source: PS3.3 §C.7.6.3.1.8
    """
    count = f"<{len(lengths)}Q"
    for tag, numbers in (
        (EXTENDED_OFFSET_TABLE, _offsets(lengths)),
        (EXTENDED_OFFSET_TABLE_LENGTHS, map(_even, lengths)),
    ):
        yield tag, element(tag, "OV", pack(count, *numbers))


def _even(length: int) -> int:
    return length + length % 2


def _item(length: int) -> int:
    return 8 + _even(length)


def _offsets(lengths: Sequence[int]) -> list[int]:
    return list(accumulate(map(_item, lengths[:-1]), initial=0)) if lengths else []
