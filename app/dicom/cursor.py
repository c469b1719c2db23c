"""A position in a source that moves over Data Elements; values are handed out in blocks."""

from collections.abc import Iterator

from app.dicom.headers import (
    DELIMITERS,
    UNDEFINED,
    Encoding,
    Header,
    is_cut,
    read_header,
    read_item_header,
)
from app.dicom.source import WINDOW, Source, Window
from app.errors import InvalidDataset

BLOCK = 2**20


class Cursor:
    """Nothing is allocated from a declared length, and nothing is held but a window."""

    __slots__ = ("position", "source", "window")

    def __init__(self, source: Source, position: int) -> None:
        self.source = source
        self.window = Window(source)
        self.position = position

    def header(self, encoding: Encoding, limit: int) -> Header | None:
        """Read what stands before a value and move behind it; None for what is too short.

        Source: PS3.5 §7.1
        """
        head = self.window.peek(self.position, 12)[: max(limit - self.position, 0)]
        if is_cut(head, encoding):
            return None
        header = read_header(head, encoding)
        if header.vr is None and not encoding.implicit:
            header = _judge_missing_vr(header, head, encoding, limit - self.position - 8)
        self.position += header.size
        return header

    def item(self, encoding: Encoding, limit: int) -> tuple[int, int] | None:
        """Read tag and length of an item or delimiter and move behind; None for what is too short.

        Source: PS3.5 §7.5
        """
        head = self.window.peek(self.position, 8)[: max(limit - self.position, 0)]
        if len(head) < 8:
            return None
        self.position += 8
        return read_item_header(head, encoding)

    def blocks(self, length: int) -> Iterator[bytes]:
        """Yield the next `length` bytes in blocks of up to 1 MiB, and move behind them.

        Raises:
            InvalidDataset: the source ends before.

        Source: PS3.5 §7.1.1
        """
        while length > 0:
            count = min(length, BLOCK)
            data = self.window.read(self.position, count)
            if len(data) < count:
                raise InvalidDataset("the Data Set ends within a value")
            self.position += count
            length -= count
            yield data

    def skip_zeros(self, limit: int) -> None:
        """Move on over zeros, by 8 bytes: empty elements of tag 0, or padding.

        Source: PS3.5 §7.1 (there is no such element)
        """
        while self.position < limit:
            data = self.window.peek(self.position, min(WINDOW, limit - self.position))
            zeros = len(data) - len(data.lstrip(b"\0"))
            self.position += zeros - zeros % 8
            if zeros < len(data) or zeros < 8:
                return

    def stands_implicit(self) -> bool:
        """Say whether no VR stands where the next element would have one in explicit VR.

        Source: PS3.5 §7.1.2
        """
        vr = self.window.peek(self.position, 6)[4:6]
        return not (vr.isalpha() and vr.isupper())


def _judge_missing_vr(header: Header, head: bytes, encoding: Encoding, room: int) -> Header:
    """Choose, as the scan does, how to read an element of explicit VR that has no VR.

    It is one of implicit VR, unless only a length of 16 bits leads to a value that is there.
    """
    if header.tag >= DELIMITERS or header.length <= room or header.length == UNDEFINED:
        return header
    length = int.from_bytes(head[6:8], "little" if encoding.little_endian else "big")
    return Header(header.tag, "UN", length, 8) if length <= room else header
