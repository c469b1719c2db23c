"""Data Elements written byte by byte, right or wrong, where pydicom would not write them."""

import struct

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}


def explicit(tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    """Return an element of explicit VR Little Endian; `length` is what it claims."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    if vr in _LONG:
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length) + value


def big(tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    """Return an element of explicit VR Big Endian."""
    length = len(value) if length is None else length
    head = struct.pack(">HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG:
        return head + struct.pack(">HL", 0, length) + value
    return head + struct.pack(">H", length) + value


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    """Return an element of implicit VR Little Endian."""
    length = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


def item(*elements: bytes, length: int | None = None) -> bytes:
    """Return an item of defined length; also a fragment."""
    return implicit(ITEM, b"".join(elements), length)


def open_item(*elements: bytes) -> bytes:
    """Return an item of undefined length with its delimiter."""
    return implicit(ITEM, b"".join(elements), UNDEFINED) + ITEM_END


def fragments(*values: bytes, table: bytes = b"") -> bytes:
    """Return an encapsulated value: Basic Offset Table, fragments, delimiter."""
    return b"".join(item(value) for value in (table, *values)) + SEQUENCE_END


def part10(*elements: bytes, uid: str = EXPLICIT) -> bytes:
    """Return preamble, a File Meta Information of one element, and the elements."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return bytes(128) + b"DICM" + explicit(0x00020010, "UI", value) + b"".join(elements)


def image(rows: int, columns: int, bits: int = 8, frames: int = 1, **more: bytes) -> bytes:
    """Return Image Pixel elements of explicit VR; `more` by element number in hexadecimal."""
    values = {
        0x0002: explicit(0x00280002, "US", b"\x01\x00"),
        0x0008: explicit(0x00280008, "IS", f"{frames}".encode()),
        0x0010: explicit(0x00280010, "US", rows.to_bytes(2, "little")),
        0x0011: explicit(0x00280011, "US", columns.to_bytes(2, "little")),
        0x0100: explicit(0x00280100, "US", bits.to_bytes(2, "little")),
    }
    values.update({int(key.strip("x"), 16): value for key, value in more.items()})
    return b"".join(values[key] for key in sorted(values))
