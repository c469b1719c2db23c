"""What stands before a value: tag, VR and length of a Data Element (PS3.5 §7.1)."""

from struct import Struct
from typing import NamedTuple

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
DELIMITERS = 0xFFFE0000
"""Tags from here on have no VR in any encoding (PS3.5 §7.5)."""

SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
ALL_VRS = SHORT_VRS | LONG_VRS
VR_NAMES = {vr: vr.decode() for vr in SHORT_VRS}
_NAMES = {vr: vr.decode() for vr in ALL_VRS}


class Header(NamedTuple):
    """Tag, VR (None where the encoding has none), declared length, bytes of the header itself."""

    tag: int
    vr: str | None
    length: int
    size: int


class Encoding(NamedTuple):
    """How a Data Set is encoded; the structs read headers in its byte order."""

    implicit: bool
    little_endian: bool
    explicit_header: Struct
    implicit_header: Struct
    long_length: Struct


def _encoding(implicit: bool, little_endian: bool) -> Encoding:
    order = "<" if little_endian else ">"
    structs = Struct(order + "HH2sH"), Struct(order + "HHL"), Struct(order + "L")
    return Encoding(implicit, little_endian, *structs)


IMPLICIT_LITTLE = _encoding(True, True)
IMPLICIT_BIG = _encoding(True, False)
EXPLICIT_LITTLE = _encoding(False, True)
EXPLICIT_BIG = _encoding(False, False)


def as_implicit(encoding: Encoding) -> Encoding:
    """Return the implicit VR encoding in the same byte order.

    Source: PS3.5 §7.1.3
    """
    return IMPLICIT_LITTLE if encoding.little_endian else IMPLICIT_BIG


def is_cut(head: bytes, encoding: Encoding) -> bool:
    """Say whether these bytes, the first 12 of an element or all there are, lack its header.

    Source: PS3.5 §7.1
    """
    return len(head) < 8 or (len(head) < 12 and not encoding.implicit and head[4:6] in LONG_VRS)


def read_header(head: bytes, encoding: Encoding) -> Header:
    """Read a header from its first 12 bytes (at least 8).

    Where a VR should stand and no capital letters do, the element is taken as encoded in implicit
    VR, as some writers switch within a Data Set. A VR that nobody knows has a short length and is
    read as UN.

    Source: PS3.5 §7.1.2, §7.1.3
    """
    if encoding.implicit:
        group, element, length = encoding.implicit_header.unpack_from(head)
        return Header(group << 16 | element, None, length, 8)
    group, element, vr, length = encoding.explicit_header.unpack_from(head)
    tag = group << 16 | element
    if vr in SHORT_VRS:
        return Header(tag, _NAMES[vr], length, 8)
    if vr in LONG_VRS:
        return Header(tag, _NAMES[vr], encoding.long_length.unpack_from(head, 8)[0], 12)
    if not (vr.isalpha() and vr.isupper()):
        return Header(tag, None, encoding.implicit_header.unpack_from(head)[2], 8)
    return Header(tag, "UN", length, 8)


def read_item_header(head: bytes, encoding: Encoding) -> tuple[int, int]:
    """Read tag and length of an item or a delimiter; they have no VR in any encoding.

    Source: PS3.5 §7.5
    """
    group, element, length = encoding.implicit_header.unpack_from(head)
    return group << 16 | element, length
