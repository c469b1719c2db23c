"""Where a part waits until it has a key: in memory while it is small, past that in a file.

Each process has a directory of its own in the staging directory and holds a lock on it. At start
the directories that nobody holds are removed: their processes are dead, and what they staged was
never acknowledged. While that goes on, a lock on the staging directory itself keeps others from
making theirs.

A part goes through in constant memory: past the limit, bytes are written and hashed in a thread,
about a mebibyte at a time, while the next ones arrive. Up to the limit they wait for whoever writes
them to hash them, too.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

from app.dicom.file_meta import HEAD_BYTES
from app.dicom.limits import Limits
from app.errors import TooLarge
from app.objects.faults import os_faults
from app.objects.room import Room
from app.objects.staged import BLOCK, InMemory, OnDisk, Pieces, Staged
from app.objects.threads import Threads

MEMORY_BYTES = 128 * 2**20
"""All parts in memory together; past it the next ones go to files, however small."""


class Staging:
    """The staging of this process; on the file system of the objects, if they are local.

    Raises:
        StorageFull, Unavailable: the directory cannot be made.
    """

    def __init__(self, directory: Path, limits: Limits, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limits = limits
        self._memory_left = memory_bytes
        self._numbers = count()
        with os_faults():
            self.directory, self._lock = own_directory(directory)
        self._room = Room(self._lock, limits.reserve_bytes)
        self.threads = Threads(4, "staging")
        """For what blocks on a staged part: writing, hashing, scanning."""

    def close(self) -> None:
        """Remove the directory with all that is staged."""
        self.threads.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    async def stage(self, chunks: AsyncIterator[bytes]) -> Staged:
        """Read a part to its end.

        Raises:
            TooLarge: the part is longer than the limit.
            StorageFull, Unavailable: it cannot be written.
        """
        held = Pieces()
        try:
            async for chunk in chunks:
                self._memory_left -= len(chunk)
                held.append(chunk)
                if self._is_too_much(held.size):
                    return await self._stage_on_disk(held, chunks)
        except BaseException:
            self._release(held.size)
            raise
        release = partial(self._release, held.size)
        return InMemory(held, self._new_path(), release, self._room)

    async def free_bytes(self) -> int:
        """Return what the disk has room for before nothing more is staged.

        Raises:
            Unavailable: it does not say.
        """
        with os_faults():
            return await self.threads.run(self._room.look)

    def _is_too_much(self, size: int) -> bool:
        """Say whether a part has to go on in a file; less than a head is not worth one."""
        return size >= HEAD_BYTES and (
            size > self._limits.memory_part_bytes or self._memory_left < 0
        )

    def _release(self, size: int) -> None:
        self._memory_left += size

    def _new_path(self) -> str:
        return f"{self.directory}/{next(self._numbers)}.part"

    async def _stage_on_disk(self, held: Pieces, chunks: AsyncIterator[bytes]) -> Staged:
        part = await self.threads.run(OnDisk, self._new_path(), self._room)
        try:
            async for chunk in chunks:
                self._memory_left -= len(chunk)
                held.append(chunk)
                if held.size >= BLOCK:
                    await self._append(part, held)
            await self._append(part, held)
        except BaseException:
            part.discard()
            raise
        return part

    async def _append(self, part: OnDisk, held: Pieces) -> None:
        """Append to the file what is held, and hold nothing after that."""
        if part.size + held.size > self._limits.part_bytes:
            raise TooLarge(f"a part is longer than {self._limits.part_bytes} bytes")
        await self.threads.run(part.add, held.pieces)
        self._release(held.size)
        held.clear()


def find_strays(directory: Path, before: float) -> list[Path]:
    """Return files that lie in a staging directory outside of any process's own, and are old.

    What a process has left that is dead goes when the next one starts. `before` is in seconds
    since 1970.

    Raises:
        Unavailable: the directory cannot be read.
    """
    with os_faults():
        files = [one for one in directory.iterdir() if one.is_file() and not one.is_symlink()]
        return [one for one in files if one.stat().st_mtime < before]


def own_directory(directory: Path, prefix: str = "") -> tuple[Path, int]:
    """Return a new directory of this process, and the descriptor that holds its lock.

    Those of dead processes go, of this `prefix` alone.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    starting = _lock(directory)
    try:
        _remove_dead(directory, prefix)
        own = directory / f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
        own.mkdir(mode=0o700)
        return own, _lock(own)
    finally:
        os.close(starting)


def _remove_dead(directory: Path, prefix: str) -> None:
    for other in directory.iterdir():
        if not other.name.startswith(prefix):
            continue
        with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError):
            held = _lock(other, fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
            os.close(held)


def _lock(directory: Path, flags: int = 0) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(fd)
        raise
    return fd
