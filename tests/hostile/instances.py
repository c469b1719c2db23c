"""Instances written byte by byte, with the place of each boundary."""

import struct
import zlib
from dataclasses import dataclass, field

from tests.factories import new_uid
from tests.hostile.names import Hostile
from tests.raw_elements import (
    DEFLATED,
    EXPLICIT,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    image,
    item,
)

SC = "1.2.840.10008.5.1.4.1.1.7"
META_DISAGREES = "1.2.3.4"
FRAMES = (b"\xff\xd8AB\xff\xd9", b"\xff\xd8CDEF\xff\xd9", b"\xff\xd8GH\xff\xd9")
"""Of encapsulated Pixel Data; nothing decodes them."""


def uid(tag: int, value: str) -> bytes:
    """Return an element of VR UI."""
    return explicit(tag, "UI", value.encode() + b"\0" * (len(value) % 2))


@dataclass
class Raw:
    """An Instance to be: what differs from an ordinary one is given."""

    syntax: str = EXPLICIT
    instance: str = field(default_factory=new_uid)
    study: str = field(default_factory=new_uid)
    series: str = field(default_factory=new_uid)
    meta_instance: str | None = None
    patient: bytes = b"FR-0001 "
    frames: bytes = b"1 "
    rows: int = 4
    columns: int = 4
    bits: int = 8
    more: bytes = b""
    """Elements of groups between 0020 and 0028."""
    tables: bytes = b""
    """Elements before Pixel Data, of group 7FE0."""
    pixels: bytes | None = None
    """The whole element; 16 bytes of native Pixel Data if it is not given."""

    @property
    def path(self) -> str:
        """Where it is, below the DICOMweb base."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"

    def meta(self) -> bytes:
        """Return preamble and File Meta Information."""
        named = uid(0x00020002, SC) + uid(0x00020003, self.meta_instance or self.instance)
        elements = explicit(0x00020001, "OB", b"\0\1") + named + uid(0x00020010, self.syntax)
        length = explicit(0x00020000, "UL", struct.pack("<L", len(elements)))
        return bytes(128) + b"DICM" + length + elements

    def elements(self) -> list[bytes]:
        """Return the elements of the Data Set."""
        references = item(uid(0x00081150, SC), uid(0x00081155, "1.2.3"))
        shape = image(
            self.rows, self.columns, self.bits, x8=explicit(0x00280008, "IS", self.frames)
        )
        pixels = explicit(0x7FE00010, "OW", bytes(16)) if self.pixels is None else self.pixels
        return [
            uid(0x00080016, SC),
            uid(0x00080018, self.instance),
            explicit(0x00080060, "CS", b"OT"),
            explicit(0x00081140, "SQ", references + references),
            explicit(0x00100010, "PN", b"Doe^John"),
            explicit(0x00100020, "LO", self.patient),
            uid(0x0020000D, self.study),
            uid(0x0020000E, self.series),
            self.more,
            shape,
            self.tables,
            pixels,
        ]

    def data(self) -> bytes:
        """Return the Part 10 stream."""
        dataset = b"".join(self.elements())
        if self.syntax == DEFLATED:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            dataset = engine.compress(dataset) + engine.flush()
        return self.meta() + dataset

    def place(self, number: int) -> int:
        """Return where an element of `elements` begins."""
        return len(self.meta()) + sum(map(len, self.elements()[:number]))


def encapsulated(table: bytes = b"", frames: tuple[bytes, ...] = FRAMES) -> bytes:
    """Return encapsulated Pixel Data: the table, a fragment a frame, the delimiter."""
    items = b"".join(item(value) for value in (table, *frames))
    return explicit(0x7FE00010, "OB", items + SEQUENCE_END, UNDEFINED)


def jpeg(table: bytes = b"", number: bytes = b"3 ", tables: bytes = b"") -> Raw:
    """Return an Instance of three encapsulated frames."""
    return Raw(JPEG, frames=number, tables=tables, pixels=encapsulated(table))


NAME, SEQUENCE, PIXELS = 4, 3, 11
"""Numbers of elements."""


def _cuts_of_native(raw: Raw) -> dict[Hostile, int]:
    meta, name, sequence = len(raw.meta()), raw.place(NAME), raw.place(SEQUENCE)
    return {
        Hostile.CUT_IN_PREAMBLE: 100,
        Hostile.CUT_IN_PREFIX: 130,
        Hostile.CUT_IN_META_HEADER: 150,
        Hostile.CUT_IN_META_VALUE: meta - 5,
        Hostile.CUT_AFTER_META: meta,
        Hostile.CUT_IN_TAG: name + 2,
        Hostile.CUT_IN_VR: name + 5,
        Hostile.CUT_IN_LENGTH: name + 7,
        Hostile.CUT_IN_VALUE: name + 10,
        Hostile.CUT_BEFORE_UIDS: raw.place(7),
        Hostile.CUT_BETWEEN_ELEMENTS: raw.place(8),
        Hostile.CUT_IN_SEQUENCE: sequence + 12 + 5,
        Hostile.CUT_IN_ITEM: sequence + 12 + 8 + 20,
        Hostile.CUT_IN_PIXEL_HEADER: raw.place(PIXELS) + 9,
        Hostile.CUT_IN_PIXEL_DATA: raw.place(PIXELS) + 12 + 7,
    }


def _cuts_of_encapsulated(raw: Raw) -> dict[Hostile, int]:
    pixels = raw.place(PIXELS) + 12
    return {
        Hostile.CUT_IN_OFFSET_TABLE: pixels + 8 + 5,
        Hostile.CUT_IN_FRAGMENT_HEADER: pixels + 20 + 5,
        Hostile.CUT_IN_FRAGMENT: pixels + 20 + 8 + 3,
        Hostile.CUT_BEFORE_DELIMITER: len(raw.data()) - 8,
    }


def cut_instances() -> dict[Hostile, bytes]:
    """Return what is left of Instances that were cut at each kind of boundary."""
    native, framed = Raw(), jpeg(struct.pack("<3L", 0, 14, 30))
    deflated = Raw(DEFLATED)
    return {
        **{name: native.data()[:at] for name, at in _cuts_of_native(native).items()},
        **{name: framed.data()[:at] for name, at in _cuts_of_encapsulated(framed).items()},
        Hostile.CUT_IN_DEFLATE: deflated.data()[:-20],
    }
