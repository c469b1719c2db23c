"""One part that waits for its key: in memory, or in a file of the staging directory."""

import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from app.dicom.file_meta import find_dataset_offset
from app.dicom.source import BytesSource, FileSource, Source
from app.errors import InvalidDataset
from app.objects.faults import os_faults

BLOCK = 2**20
_READ_ONLY = 0o440  # what is stored never changes


class _Digests:
    """SHA-256 of all bytes, and of those from the data set's first byte on."""

    def __init__(self, head: bytes) -> None:
        try:
            self._skip = find_dataset_offset(head)
        except InvalidDataset:  # for the scan to say; here it is all one
            self._skip = 0
        self._whole = hashlib.sha256()
        self._dataset = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self._whole.update(data)
        if self._skip < len(data):
            self._dataset.update(memoryview(data)[self._skip :])
        self._skip = max(0, self._skip - len(data))

    def both(self) -> tuple[bytes, bytes]:
        return self._whole.digest(), self._dataset.digest()


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


class InMemory:
    """A part in memory. Hashed when first asked, so in the thread that also writes it out.

    `release` is called once, when the memory is given back.
    """

    def __init__(self, data: bytes, path: Path, release: Callable[[], None]) -> None:
        self.size = len(data)
        self._data: bytes | None = data
        self._path = path
        self._release = release

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        digests = _Digests(self._bytes)
        digests.update(self._bytes)
        return digests.both()

    @property
    def _bytes(self) -> bytes:
        assert self._data is not None, "discarded"  # noqa: S101 - a fault of ours
        return self._data

    @property
    def sha256(self) -> bytes:
        return self._digests[0]

    @property
    def dataset_sha256(self) -> bytes:
        return self._digests[1]

    def source(self) -> Source:
        return BytesSource(self._bytes)

    def write_out(self) -> Path:
        with os_faults():
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY)
                try:
                    _write_all(fd, self._bytes)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
        return self._path

    def with_head(self, head: bytes, skip: int) -> "InMemory":
        return InMemory(head + self._bytes[skip:], self._path.with_suffix(".headed"), _nothing)

    def discard(self) -> None:
        if self._data is not None:
            self._data = None
            self._release()


class OnDisk:
    """A part in a file, hashed while it is written. `fd` is its own to close."""

    def __init__(self, path: Path, head: bytes) -> None:
        """Make the file; `head` is the first 64 KiB, or all of a shorter part: `write` it, too."""
        self.size = 0
        self._path = path
        self._hashing = _Digests(head)
        with os_faults():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _READ_ONLY)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        with os_faults():
            _write_all(self._fd, data)
        self._hashing.update(data)
        self.size += len(data)

    @cached_property
    def _digests(self) -> tuple[bytes, bytes]:
        return self._hashing.both()

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
        part = OnDisk(self._path.with_suffix(".headed"), head)
        try:
            part.write(head)
            for offset in range(skip, self.size, BLOCK):
                with os_faults():
                    block = os.pread(self._fd, BLOCK, offset)
                part.write(block)
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


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
