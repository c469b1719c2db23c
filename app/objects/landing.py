"""Where a staged part waits a second time: on the file system of a copy, which is another one."""

import os
import shutil
from itertools import count
from pathlib import Path

from app.dicom.limits import Limits
from app.dicom.source import Source
from app.objects.faults import os_faults
from app.objects.room import Room
from app.objects.staged import BLOCK, Staged
from app.objects.staging import own_directory
from app.objects.writing import READ_ONLY, write_all


class Landing:
    """The directory of this process in the staging directory of a copy.

    Raises:
        StorageFull, Unavailable: it cannot be made.
    """

    def __init__(self, directory: Path, limits: Limits) -> None:
        with os_faults():
            self.directory, self._lock = own_directory(directory)
        self._room = Room(self._lock, limits.reserve_bytes)
        self._numbers = count()

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    def land(self, staged: Staged) -> Staged:
        """Return the same part, which is written out here; `staged` stays its owner's."""
        return _Landed(staged, self.directory / f"{next(self._numbers)}.part", self._room)


class _Landed:
    """A part of somebody else's, with a file of its own once it is written out."""

    def __init__(self, staged: Staged, path: Path, room: Room) -> None:
        self.size = staged.size
        self._staged = staged
        self._path = path
        self._room = room

    @property
    def sha256(self) -> bytes:
        return self._staged.sha256

    @property
    def block_digests(self) -> bytes:
        return self._staged.block_digests

    @property
    def dataset_sha256(self) -> bytes:
        return self._staged.dataset_sha256

    def source(self) -> Source:
        return self._staged.source()

    def write_out(self) -> Path:
        source = self._staged.source()
        with os_faults():
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READ_ONLY)
                try:
                    self._room.take(self.size)
                    for offset in range(0, self.size, BLOCK):
                        write_all(fd, [source.read(offset, BLOCK)])
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
        return self._path

    def with_head(self, head: bytes, skip: int) -> Staged:
        return self._staged.with_head(head, skip)

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)
