"""One part that waits for its key: in memory, or in a file of the staging directory."""

import errno
import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import inf
from pathlib import Path
from time import monotonic
from typing import Protocol

from app.dicom.file_meta import HEAD_BYTES, find_dataset_offset
from app.dicom.source import FileSource, Source
from app.errors import InvalidDataset
from app.objects.faults import os_faults

BLOCK = 2**20
_SMALL = 2**14
_IOV_MAX = 1024
_LOOK_SECONDS = 0.2
_READ_ONLY = 0o440  # what is stored never changes


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
        try:
            skip = find_dataset_offset(head[:HEAD_BYTES])
        except InvalidDataset:  # for the scan to say; here it is all one
            skip = 0
        return hashlib.sha256(memoryview(head)[skip:])

    def both(self) -> tuple[bytes, bytes]:
        """Return both digests; no more bytes come."""
        if self._dataset is None:
            self._dataset = self._begin_dataset()
        return self._whole.digest(), self._dataset.digest()


class Room:
    """The room on a disk but for what stays free. Threads may share it.

    It is looked up a few times a second, and what is written meanwhile is subtracted: a system call
    for each part would cost more than writing a small one does.
    """

    def __init__(self, fd: int, reserve: int) -> None:
        """Take any descriptor of the file system."""
        self._fd = fd
        self._reserve = reserve
        self._left = 0
        self._looked = -inf

    def look(self) -> int:
        """Return how many bytes can be written.

        Raises:
            OSError: the file system does not say.
        """
        found = os.fstatvfs(self._fd)
        self._left = max(0, found.f_bavail * found.f_frsize - self._reserve)
        self._looked = monotonic()
        return self._left

    def take(self, size: int) -> None:
        """Make sure of the room for some bytes.

        Raises:
            OSError: there is none (ENOSPC).
        """
        if self._left < size or monotonic() - self._looked > _LOOK_SECONDS:
            self.look()
        if self._left < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._left -= size


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

    def __init__(
        self,
        pieces: Pieces,
        digests: Digests,
        path: Path,
        release: Callable[[], None],
        room: Room,
    ) -> None:
        self.size = pieces.size
        self.sha256, self.dataset_sha256 = digests.both()
        self._held: Pieces | None = pieces
        self._path = path
        self._release = release
        self._room = room

    @property
    def _pieces(self) -> Pieces:
        assert self._held is not None, "discarded"  # noqa: S101 - a fault of ours
        return self._held

    def source(self) -> Source:
        return self._pieces

    def write_out(self) -> Path:
        path, fd = self.write()
        with os_faults():
            try:
                os.fsync(fd)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(fd)
        return path

    def write(self) -> tuple[Path, int]:
        """Return a file with all the bytes, which are not durable yet, and its descriptor.

        Raises:
            StorageFull: there is no room.
            Unavailable: the disk failed.
        """
        pieces = self._pieces.pieces
        with os_faults():
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
            try:
                self._room.take(self.size)
                write_all(fd, pieces)
            except BaseException:
                os.close(fd)
                self._path.unlink(missing_ok=True)
                raise
        return self._path, fd

    def with_head(self, head: bytes, skip: int) -> "InMemory":
        pieces, digests = self._pieces, Digests()
        joined = Pieces([head, *(pieces.read(at, BLOCK) for at in range(skip, self.size, BLOCK))])
        for piece in joined.pieces:
            digests.update(piece)
        path = self._path.with_suffix(".headed")
        return InMemory(joined, digests, path, _nothing, self._room)

    def discard(self) -> None:
        if self._held is not None:
            self._held = None
            self._release()


class OnDisk:
    """A part in a file. `digests` have seen the bytes to be written, not those to be added."""

    def __init__(self, path: Path, digests: Digests, room: Room) -> None:
        self.size = 0
        self._path = path
        self._digesting = digests
        self._room = room
        with os_faults():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _READ_ONLY)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append bytes."""
        size = sum(map(len, pieces))
        with os_faults():
            self._room.take(size)
            write_all(self._fd, pieces)
        self.size += size

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append bytes, and hash them."""
        self.write(pieces)
        for piece in pieces:
            self._digesting.update(piece)

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return self._digesting.both()

    @property
    def sha256(self) -> bytes:
        return self._digests[0]

    @property
    def dataset_sha256(self) -> bytes:
        return self._digests[1]

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
        part = OnDisk(self._path.with_suffix(".headed"), Digests(), self._room)
        try:
            part.add([head])
            for offset in range(skip, self.size, BLOCK):
                with os_faults():
                    block = os.pread(self._fd, BLOCK, offset)
                part.add([block])
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


def write_all(fd: int, pieces: Sequence[bytes]) -> None:
    for first in range(0, len(pieces), _IOV_MAX):
        some = pieces[first : first + _IOV_MAX]
        written = os.writev(fd, some)
        if written < sum(map(len, some)):
            rest = memoryview(b"".join(some))[written:]
            while rest:
                rest = rest[os.write(fd, rest) :]
