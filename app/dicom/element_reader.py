"""Read Data Elements one after the other from a source, through a small window.

Nothing is allocated from a declared length: values are handed out in blocks, and a length that
reaches past the end counts as what is there (as pydicom takes it).
"""

from collections.abc import Iterator
from struct import unpack
from typing import NamedTuple, Protocol

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from app.errors import InvalidDataset

BLOCK = 2**20
WINDOW = 2**16

ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF

LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)


class Readable(Protocol):
    """Bytes that can be read from anywhere: memory, a file, an object."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end."""
        ...


class Header(NamedTuple):
    """Tag, VR (None where the encoding has none) and length as declared."""

    tag: int
    vr: str | None
    length: int


class ElementReader:
    """A position in a source, and the end that no value passes."""

    def __init__(self, source: Readable, position: int, *, big_endian: bool = False) -> None:
        self._source = source
        self._order = ">" if big_endian else "<"
        self._window = b""
        self._window_start = 0
        self.position = position

    def peek(self, length: int) -> bytes:
        """Return the next bytes and stay; fewer at the end. `length` is at most a window."""
        start = self.position - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window = self._source.read(self.position, WINDOW)
            self._window_start = self.position
            start = 0
        return self._window[start : start + length]

    def take(self, length: int) -> bytes:
        """Return the next bytes and move on.

        Raises:
            InvalidDataset: the source ends before.
        """
        data = self.peek(length)
        if len(data) < length:
            raise InvalidDataset("the Data Set ends in the middle of a Data Element")
        self.position += length
        return data

    def remaining(self, end: int) -> int:
        """Return how many bytes lie before `end` or the end of the source."""
        return max(0, min(end, self._source.size) - self.position)

    def blocks(self, length: int) -> Iterator[bytes]:
        """Yield `length` bytes in blocks of up to 1 MiB and move on.

        Raises:
            InvalidDataset: the source ends before.
        """
        while length > 0:
            count = min(length, BLOCK)
            if count <= WINDOW:
                yield self.take(count)
            else:
                yield self._block(count)
            length -= count

    def _block(self, count: int) -> bytes:
        data = self._source.read(self.position, count)
        if len(data) < count:
            raise InvalidDataset("the Data Set ends in the middle of a value")
        self.position += count
        return data

    def header(self, *, implicit: bool) -> Header:
        """Read what stands before a value.

        Where two capital letters should name the VR and other bytes do, the element is taken as
        encoded in implicit VR, as some writers do; an unknown VR has a short length.

        Source: PS3.5 §7.1
        """
        head = self.take(8)
        if not implicit:
            vr = head[4:6]
            if vr in SHORT_VRS:
                group, element, length = unpack(self._order + "HHxxH", head)
                return Header(group << 16 | element, vr.decode(), length)
            if vr in LONG_VRS:
                group, element = unpack(self._order + "HH", head[:4])
                (length,) = unpack(self._order + "L", self.take(4))
                return Header(group << 16 | element, vr.decode(), length)
            if vr.isalpha() and vr.isupper():
                group, element, length = unpack(self._order + "HHxxH", head)
                return Header(group << 16 | element, vr.decode(), length)
        group, element, length = unpack(self._order + "HHL", head)
        return Header(group << 16 | element, None, length)

    def item(self) -> Header:
        """Read the header of an item, or the delimitation of the Sequence.

        Raises:
            InvalidDataset: there is something else.

        Source: PS3.5 §7.5
        """
        header = self.header(implicit=True)
        if header.tag not in {ITEM, SEQUENCE_END}:
            raise InvalidDataset("an item was expected in a Sequence or in encapsulated Pixel Data")
        return header

    def unsigned(self, data: bytes) -> int:
        """Return the number that a value of US encodes."""
        (number,) = unpack(self._order + "H", data)
        return int(number)


def looks_implicit(reader: ElementReader) -> bool:
    """Say whether no VR stands where one stands in explicit VR encoding.

    Source: PS3.5 §7.1.2
    """
    vr = reader.peek(6)[4:6]
    return not (vr.isalpha() and vr.isupper())
