"""A bounded directory of derived files that can be thrown away at any time.

Workers share it. A file appears whole under its name (rename) or not at all; names carry the
version of what they are made from, so a stale one is never asked for again and ages out.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

_LOOK_EVERY = 64 * 2**20
_CHUNK = 2**20


class FileCache:
    """Derived files by name, up to `most_bytes` of them; the longest unread go first."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self.directory = directory
        self.most_bytes = most_bytes
        self._added = _LOOK_EVERY  # look once at the start
        self._making: dict[str, asyncio.Lock] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Path | None:
        """Return the path of a file that is here, and mark it as read."""
        path = self.directory / name
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    @contextlib.asynccontextmanager
    async def making(self, name: str) -> AsyncIterator[None]:
        """Let one task of this process at a time make a file; the others then find it."""
        lock = self._making.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._making.pop(name, None)

    async def get_or_make(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return a small file's bytes, made once where several ask at the same time.

        A cache that cannot be written or read costs no more than making them again.
        """
        kept = await self.load(name)
        if kept is not None:
            return kept
        async with self.making(name):
            kept = await self.load(name)
            if kept is None:
                kept = await make()
                await asyncio.to_thread(self.keep, name, kept)
        return kept

    async def load(self, name: str) -> bytes | None:
        """Return a small file's bytes, None if it is not here."""
        path = self.find(name)
        if path is None:
            return None
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError:
            return None  # thrown away meanwhile

    def keep(self, name: str, data: bytes) -> None:
        """Add a small file, if the cache can be written. Blocks; run it in a thread."""
        temporary = self.temporary()
        with contextlib.suppress(OSError):
            try:
                temporary.write_bytes(data)
                self.add(name, temporary)
            except OSError:
                temporary.unlink(missing_ok=True)

    def add(self, name: str, temporary: Path) -> Path:
        """Give a finished temporary file its name. Blocks; run it in a thread."""
        path = self.directory / name
        size = temporary.stat().st_size
        temporary.rename(path)
        self._added += size
        if self._added >= _LOOK_EVERY:
            self._added = 0
            self._prune(keep=path)
        return path

    def remove(self, name: str) -> None:
        """Throw a file away. Blocks; run it in a thread."""
        with contextlib.suppress(OSError):
            (self.directory / name).unlink()

    def temporary(self) -> Path:
        """Return a name for a file in the making."""
        return self.directory / f".{secrets.token_hex(8)}"

    def clear(self) -> None:
        """Throw all files away. Blocks; run it in a thread."""
        with os.scandir(self.directory) as scan:
            for entry in scan:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()

    def _prune(self, keep: Path) -> None:
        entries = []
        with os.scandir(self.directory) as scan:
            for entry in scan:
                with contextlib.suppress(OSError):
                    stat = entry.stat()
                    entries.append((stat.st_mtime, stat.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.most_bytes * 0.9:
                return
            if path != str(keep):
                with contextlib.suppress(OSError):
                    Path(path).unlink()
                total -= size


async def open_file(path: Path) -> tuple[int, AsyncIterator[bytes]]:
    """Open a file, and return its size and an iterator over its bytes.

    Raises:
        FileNotFoundError: it was thrown away meanwhile.
    """
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY)
    return os.fstat(descriptor).st_size, _chunks(descriptor)


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(os.read, descriptor, _CHUNK):
            yield chunk
    finally:
        os.close(descriptor)
