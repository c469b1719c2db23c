"""One part that waits for its key: in memory, or in a file of the staging directory."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from app.dicom.file_meta import HEAD_BYTES, find_dataset_offset
from app.dicom.source import FileSource, Source
from app.errors import InvalidDataset
from app.objects.blocks import LARGE_BYTES, BlockDigests
from app.objects.faults import os_faults
from app.objects.room import Room
from app.objects.writing import READ_ONLY, write_all

BLOCK = 2**20
_SMALL = 2**14


class Digests:
    """SHA-256 of all bytes, and of those from the data set's first byte on."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._dataset: hashlib._Hash | None = None
        self._head: list[bytes] = []
        self._head_size = 0

    def update(self, data: bytes) -> None:
        """Go on with the next bytes."""
        self._whole.update(data)
        if self._dataset is not None:
            self._dataset.update(data)
            return
        self._head.append(data)
        self._head_size += len(data)
        if self._head_size >= HEAD_BYTES:
            self._dataset = self._begin_dataset()

    def _begin_dataset(self) -> "hashlib._Hash":
        """Find out where the data set begins, once its head is here."""
        head = b"".join(self._head)
        self._head = []
        return hashlib.sha256(memoryview(head)[_dataset_offset(head) :])

    def both(self) -> tuple[bytes, bytes]:
        """Return both digests; no more bytes come."""
        if self._dataset is None:
            self._dataset = self._begin_dataset()
        return self._whole.digest(), self._dataset.digest()


def _dataset_offset(head: bytes) -> int:
    try:
        return find_dataset_offset(head[:HEAD_BYTES])
    except InvalidDataset:  # for the scan to say; here it is all one
        return 0


class Staged(Protocol):
    """A staged part. Its methods block, so a thread calls them; `discard` it when done."""

    size: int

    @property
    def sha256(self) -> bytes:
        """Digest of all bytes."""
        ...

    @property
    def dataset_sha256(self) -> bytes:
        """Digest of the bytes after preamble and File Meta Information."""
        ...

    @property
    def block_digests(self) -> bytes:
        """Those of its blocks, one after the other; b"" of one that is not large."""
        ...

    def source(self) -> Source:
        """Return the bytes as a scan reads them."""
        ...

    def write_out(self) -> Path:
        """Return the path of a file with all the bytes, which are durable.

        A failed fsync is final: the file is removed. A part in memory can be written out anew.

        Raises:
            StorageFull: there is no room.
            Unavailable: the disk failed.
        """
        ...

    def with_head(self, head: bytes, skip: int) -> "Staged":
        """Return another part, of `head` and these bytes without the first `skip`."""
        ...

    def discard(self) -> None:
        """Give back memory and file; what was linked to a key stays."""
        ...


class Pieces:
    """Bytes as they came, in pieces: a Source that never joins them all.

    Joining half a megabyte costs as much as hashing it, since the memory is new each time. Pieces
    that are small are joined, so that each takes little more than its bytes.
    """

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self._small: list[bytes] = []
        self._small_size = 0
        for piece in pieces:
            self.append(piece)

    def append(self, piece: bytes) -> None:
        """Add bytes to the end."""
        if len(piece) < _SMALL:
            self._small.append(piece)
            self._small_size += len(piece)
            if self._small_size >= _SMALL:
                self._join_small()
        else:
            self._join_small()
            self._add(piece)
        # a piece that is still among the small ones counts, too
        self.size = self._end + self._small_size

    @property
    def _end(self) -> int:
        return self._starts[-1] + len(self._pieces[-1]) if self._pieces else 0

    def _add(self, piece: bytes) -> None:
        self._starts.append(self._end)
        self._pieces.append(piece)

    def _join_small(self) -> None:
        if self._small:
            self._add(b"".join(self._small))
            self._small, self._small_size = [], 0

    def clear(self) -> None:
        """Hold nothing."""
        self.size = self._small_size = 0
        self._pieces, self._starts, self._small = [], [], []

    @property
    def pieces(self) -> Sequence[bytes]:
        """All bytes, in order."""
        self._join_small()
        return self._pieces

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        pieces = self.pieces
        at = max(bisect_right(self._starts, offset) - 1, 0)
        found, end = [], min(offset + length, self.size)
        while at < len(pieces) and (start := self._starts[at]) < end:
            found.append(pieces[at][max(offset - start, 0) : end - start])
            at += 1
        return found[0] if len(found) == 1 else b"".join(found)


class InMemory:
    """A part in memory. `release` is called once, when the memory is given back."""

    def __init__(self, pieces: Pieces, path: str, release: Callable[[], None], room: Room) -> None:
        self.size = pieces.size
        self.path = path
        """Of the file that it is to wait in until that is durable."""
        self.reserve = room.reserve
        self._held: Pieces | None = pieces
        self._release = release
        self._room = room

    @cached_property
    def digests(self) -> tuple[bytes, bytes]:
        """Both digests; to be set by whoever has made them."""
        digests = Digests()
        for piece in self.pieces:
            digests.update(piece)
        return digests.both()

    @property
    def sha256(self) -> bytes:
        return self.digests[0]

    @property
    def dataset_sha256(self) -> bytes:
        return self.digests[1]

    @cached_property
    def dataset_offset(self) -> int:
        """Where the Data Set begins, 0 if that cannot be said; to be set by who has found it."""
        return _dataset_offset(self._pieces.read(0, HEAD_BYTES))

    @property
    def block_digests(self) -> bytes:
        return b""

    @property
    def pieces(self) -> Sequence[bytes]:
        """All bytes, in order."""
        return self._pieces.pieces

    @property
    def _pieces(self) -> Pieces:
        assert self._held is not None, "discarded"  # noqa: S101 - a fault of ours
        return self._held

    def source(self) -> Source:
        return self._pieces

    def write_out(self) -> Path:
        with os_faults():
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READ_ONLY)
            try:
                self._room.take(self.size)
                write_all(fd, self.pieces)
                os.fsync(fd)
            except BaseException:
                os.unlink(self.path)  # noqa: PTH108 - a plain string
                raise
            finally:
                os.close(fd)
        return Path(self.path)

    def with_head(self, head: bytes, skip: int) -> "InMemory":
        pieces = self._pieces
        joined = Pieces([head, *(pieces.read(at, BLOCK) for at in range(skip, self.size, BLOCK))])
        return InMemory(joined, f"{self.path}.headed", _nothing, self._room)

    def discard(self) -> None:
        if self._held is not None:
            self._held = None
            self._release()


class OnDisk:
    """A part in a file."""

    def __init__(self, path: str, room: Room) -> None:
        self.size = 0
        self._path = Path(path)
        self._digesting = Digests()
        self._blocks: BlockDigests | None = None
        self._room = room
        with os_faults():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, READ_ONLY)

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append bytes."""
        size = sum(map(len, pieces))
        with os_faults():
            self._room.take(size)
            write_all(self._fd, pieces)
        if self.size + size > LARGE_BYTES:
            self._digest_blocks(pieces)
        self.size += size
        for piece in pieces:
            self._digesting.update(piece)

    def _digest_blocks(self, pieces: Sequence[bytes]) -> None:
        """Go on with the next bytes of a part that is large, or becomes so."""
        if self._blocks is None:
            self._blocks = BlockDigests()
            for offset in range(0, self.size, BLOCK):
                self._blocks.update(self._read(offset, min(BLOCK, self.size - offset)))
        for piece in pieces:
            self._blocks.update(piece)

    def _read(self, offset: int, length: int) -> bytes:
        with os_faults():
            return os.pread(self._fd, length, offset)

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return self._digesting.both()

    @property
    def sha256(self) -> bytes:
        return self._digests[0]

    @property
    def dataset_sha256(self) -> bytes:
        return self._digests[1]

    @property
    def block_digests(self) -> bytes:
        return b"" if self._blocks is None else self._blocks.joined()

    def source(self) -> Source:
        return FileSource(self._fd, self.size)

    def write_out(self) -> Path:
        with os_faults():
            try:
                os.fsync(self._fd)
            except OSError:
                self.discard()
                raise
        return self._path

    def with_head(self, head: bytes, skip: int) -> "OnDisk":
        part = OnDisk(f"{self._path}.headed", self._room)
        try:
            part.add([head])
            for offset in range(skip, self.size, BLOCK):
                part.add([self._read(offset, BLOCK)])
        except BaseException:
            part.discard()
            raise
        return part

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)


def _nothing() -> None:
    """Release no memory: the part that this one was made of counts it."""
