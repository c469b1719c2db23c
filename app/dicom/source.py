"""Bytes of one object, read from anywhere: memory or a file. Windows over them for the scan."""

import os
from typing import Protocol

WINDOW = 2**16
"""How much of a file is read at once while elements follow each other."""


class Source(Protocol):
    """Bytes that can be read from anywhere, as often as needed."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        ...


class BytesSource:
    """An object that is in memory already."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        return self.data[offset : offset + length]


class FileSource:
    """An open file of a known size, read by position; the descriptor stays the caller's."""

    __slots__ = ("_descriptor", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer.

        One `pread` returns at most 2 GiB and may be cut short by a signal, hence the loop.
        """
        wanted = min(length, self.size - offset)
        if wanted <= 0:
            return b""
        data = os.pread(self._descriptor, wanted, offset)
        while 0 < len(data) < wanted:
            more = os.pread(self._descriptor, wanted - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


class Window:
    """A stretch of a source that is in memory: `data` begins at `base`.

    For a source in memory it is the whole of it, never copied. For others it begins as `head`, the
    first bytes, where they were read before.
    """

    __slots__ = ("base", "data", "size", "source")

    def __init__(self, source: Source, head: bytes = b"") -> None:
        self.source = source
        self.size = source.size
        self.base = 0
        self.data = source.data if isinstance(source, BytesSource) else head

    def peek(self, offset: int, length: int, ahead: int = WINDOW) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end; moves the window there.

        `ahead` is how much is read when they are not there yet: little where the next bytes wanted
        are likely far away.
        """
        start = offset - self.base
        if start < 0 or start + length > len(self.data):
            if offset + length > self.size and len(self.data) == self.size:
                return self.data[start:]
            self.data = self.source.read(offset, max(length, ahead))
            self.base = offset
            start = 0
        return self.data[start : start + length]

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end; the window stays where it is."""
        start = offset - self.base
        if start >= 0 and start + length <= len(self.data):
            return self.data[start : start + length]
        return self.source.read(offset, length)
