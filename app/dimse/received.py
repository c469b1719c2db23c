"""A data set as it arrives: in memory while its bytes are few, else in a file without a name."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_PIECE = 2**18


class ReceivedBytes:
    """Bytes that are written once and may be read more than once.

    Nothing is raised while they come: if the disk takes no more, or they are over `longest`, what
    follows is dropped and `trouble` says why, so that the peer can be answered in its protocol.
    """

    def __init__(self, memory_bytes: int, longest: int, directory: Path | None) -> None:
        self._memory_bytes, self._longest, self._directory = memory_bytes, longest, directory
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0
        self.trouble = ""

    def write(self, piece: memoryview) -> None:
        """Take the next piece."""
        self.size += len(piece)
        if self.trouble or self.size > self._longest:
            self.trouble = self.trouble or f"larger than {self._longest} bytes"
            self.close()
            return
        if self._file is None and self.size <= self._memory_bytes:
            self._pieces.append(bytes(piece))
            return
        try:
            self._to_file().write(piece)
        except OSError:
            self.trouble = "no room on the bridge's disk"
            self.close()

    def _to_file(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - `close` does
            self._file.writelines(self._pieces)
            self._pieces.clear()
        return self._file

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Yield all bytes from a place on."""
        if self._file is None:
            if start:
                yield self.whole()[start:]
            else:
                yield from self._pieces
            return
        self._file.seek(start)
        while piece := self._file.read(_PIECE):
            yield piece

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        if self._file is None:
            if len(self._pieces) > 1:
                self._pieces = [b"".join(self._pieces)]
            return self._pieces[0][offset : offset + length] if self._pieces else b""
        self._file.seek(offset)
        return self._file.read(length)

    def start(self, length: int) -> bytes:
        """Return the first `length` bytes, fewer where it is shorter; nothing is joined for it."""
        if self._file is not None:
            return self.read(0, length)
        found = b""
        for piece in self._pieces:
            found += piece[: length - len(found)]
            if len(found) == length:
                break
        return found

    def whole(self) -> bytes:
        """Return all bytes; only for what is short."""
        return self.read(0, self.size)

    def close(self) -> None:
        """Forget them."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
