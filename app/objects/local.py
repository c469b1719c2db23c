"""Objects as files of a local directory: the key is the path.

A put writes to a staging name on the same file system, fsyncs, then links the key to it; a link
never overwrites, so a key is created once and whole. Then it fsyncs the key's directory, and those
above it that may be new; which ones are durable already is remembered, up to a bound.

Small hot reads need no thread: `read_now` asks the kernel for what its page cache holds, and never
waits. It knows only files that a `read` has opened before, since opening may wait for the disk.
An open file lives as long as anybody uses it: its descriptor is closed with the last reference, so
that no thread ever reads from a number that has become another file's.
"""

import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from app.errors import ArchiveError, Conflict, NotFound, Unavailable
from app.objects.apart import Apart
from app.objects.base import SECRETS, STAGING, check_key
from app.objects.extents import Extent, PageCache
from app.objects.faults import os_faults
from app.objects.naming import Naming, sync_directory
from app.objects.recent import Recent
from app.objects.secret import keep_secret, list_secrets, load_secret
from app.objects.staged import BLOCK, InMemory, Staged
from app.objects.threads import Threads

_MOST_OPEN_FILES = 4096
"""Files that stay open: viewers read the frames of a Series in any order, a file each."""
_READERS = 8
_WRITERS = 4
"""Threads. A put is half a dozen system calls, after each of which it waits for the interpreter:
more of them store more slowly, though a disk could sync more files at once."""
_PAGE = 1000
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)


class _OpenFile:
    """A descriptor that is closed when nobody uses it any more."""

    __slots__ = ("fd", "size")

    def __init__(self, path: str) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.fd).st_size

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class LocalStore:
    """An object store in a directory. One process may have several; processes may share one.

    Without `create` a directory that is not there is not made, and all is `Unavailable` until it
    is: its disk may not be mounted. With `apart` small files are made durable by another process.
    """

    def __init__(self, root: Path, *, create: bool = True, apart: bool = False) -> None:
        with os_faults():
            if create:
                root.mkdir(parents=True, exist_ok=True, mode=0o750)
                sync_directory(str(root.resolve().parent))
            self._root = str(root.resolve())
        self._threads = Threads(_READERS, "objects")
        self._writers = Threads(_WRITERS, "writing")
        self._naming = Naming(self._root)
        self._apart = Apart(self._root) if apart else None
        self._open: Recent[str, _OpenFile] = Recent(_open_files())
        self._secrets: dict[str, bytes] = {}
        self._nowait = _NOWAIT
        self._page_cache = PageCache()
        self._buffer = memoryview(bytearray(BLOCK))

    def close(self) -> None:
        """End the threads and close the files."""
        self._writers.close()
        self._threads.close()
        if self._apart is not None:
            self._apart.close()
        self._open = Recent(_open_files())

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    async def put(self, key: str, staged: Staged) -> None:
        """Write the staged bytes to a key that does not exist yet; they are durable on return."""
        path = self._path(key)
        if self._apart is not None and isinstance(staged, InMemory) and Apart.takes(staged.size):
            await self._put_apart(path, staged, self._apart)
        else:
            await self._writers.run(self._put, path, staged)

    async def _put_apart(self, path: str, staged: InMemory, apart: Apart) -> None:
        try:
            with self._put_faults():
                staged.digests = await apart.make_durable(staged, path)
        except ArchiveError:
            # what has the key now may be an older object: that is left to the sweeper
            await self._writers.run(_remove, staged.path)
            raise

    def _put(self, path: str, staged: Staged) -> None:
        written = staged.write_out()
        with self._put_faults():
            try:
                self._naming.name(str(written), path)
            finally:
                written.unlink()

    @contextmanager
    def _put_faults(self) -> Iterator[None]:
        """Turn what may go wrong in a put into errors of ours."""
        with os_faults():
            try:
                yield
            except FileExistsError:
                raise Conflict("an object is never overwritten") from None
            except FileNotFoundError:
                self._check_there()
                raise

    def _check_there(self) -> None:
        if not os.path.isdir(self._root):  # noqa: PTH112
            raise Unavailable(f"the directory {self._root} is not there")

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; a short object is `Unavailable`."""
        path = self._path(key)
        return await self._threads.run(self._read, key, path, offset, length)

    def _read(self, key: str, path: str, offset: int, length: int) -> bytes:
        return _pread(self._opened(key, path), offset, length)

    def _opened(self, key: str, path: str) -> _OpenFile:
        file = self._open.get(key)
        if file is None:
            with os_faults():
                try:
                    file = _OpenFile(path)
                except (FileNotFoundError, NotADirectoryError):
                    self._check_there()
                    raise NotFound("object", key) from None
            self._open.add(key, file)
        return file

    def read_now(self, key: str, offset: int, length: int) -> bytes | None:
        """Return `length` bytes from `offset` if that needs no waiting, else None.

        For the event loop's thread alone: all reads share a buffer, which is faster than a new one.
        """
        file = self._open.get(key)
        if file is None or not self._nowait or length > BLOCK:
            return None
        buffer = self._buffer[:length]
        try:
            count = os.preadv(file.fd, [buffer], offset, self._nowait)
        except OSError:
            return None
        return bytes(buffer) if count == length else None

    def stamp_now(self, key: str) -> int | None:
        """Return when the open file was last changed in any way, in ns; None if it is not open.

        One that was deleted, or another one took the place of, is open no more.
        """
        file = self._open.get(key)
        if file is None:
            return None
        status = os.fstat(file.fd)
        if not status.st_nlink:
            self.forget(key)
            return None
        return status.st_ctime_ns

    def extent_now(self, key: str, offset: int, length: int) -> Extent | None:
        """Return a range of the open file if it is in memory, else None."""
        file = self._open.get(key)
        if file is None or offset + length > file.size:
            return None
        held = self._page_cache.holds(file.fd, offset, length)
        return Extent(file, offset, length) if held else None

    async def extent(self, key: str, offset: int, length: int) -> Extent:
        """Return `length` bytes from `offset` unread; a short object is `Unavailable`."""
        file = self._open.get(key)
        if file is None:
            file = await self._threads.run(self._opened, key, self._path(key))
        if offset + length > file.size:
            raise Unavailable(f"object {key} is shorter than the index says")
        return Extent(file, offset, length)

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Look the object up, then return an iterator over its bytes in chunks of up to 1 MiB."""
        path = self._path(key)
        file = await self._threads.run(self._opened, key, path)
        end = file.size if length is None else offset + length
        if end > file.size or offset > end:
            raise Unavailable(f"object {key} is shorter than the index says")
        first = await self._threads.run(_pread, file, offset, min(BLOCK, end - offset))
        return self._blocks(file, first, offset, end)

    async def _blocks(
        self, file: _OpenFile, first: bytes, offset: int, end: int
    ) -> AsyncIterator[bytes]:
        if first:
            yield first
        for place in range(offset + BLOCK, end, BLOCK):
            yield await self._threads.run(_pread, file, place, min(BLOCK, end - place))

    def forget(self, key: str) -> None:
        """Remember nothing of a key: the next read of it looks at the store itself."""
        self._open.remove(key)

    async def size(self, key: str) -> int:
        """Return the object's size in bytes."""
        path = self._path(key)
        return (await self._threads.run(self._opened, key, path)).size

    async def delete(self, key: str) -> None:
        """Remove the object; absent already is success."""
        await self._threads.run(self._delete, key, self._path(key))

    def _delete(self, key: str, path: str) -> None:
        self._open.remove(key)
        with os_faults():
            try:
                os.unlink(path)  # noqa: PTH108
            except (FileNotFoundError, NotADirectoryError):
                self._check_there()

    async def check(self) -> None:
        """Return if the directory is there and would take an object."""
        await self._threads.run(self._check_there)
        if not await self._threads.run(os.access, self._root, os.W_OK | os.X_OK):
            raise Unavailable("the directory of objects cannot be written")

    async def secret(self, name: str) -> bytes:
        """Return a secret of 32 bytes that all who use this store have; made at the first call."""
        if name not in self._secrets:
            self._secrets[name] = await self._threads.run(load_secret, Path(self._root), name)
        return self._secrets[name]

    async def all_secrets(self) -> dict[str, bytes]:
        """Return all secrets that were made, by name."""
        return await self._threads.run(list_secrets, Path(self._root))

    async def keep_secret(self, name: str, secret: bytes) -> None:
        """Put a secret where there is none; another one there is `Conflict`."""
        await self._threads.run(keep_secret, Path(self._root), name, secret)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, in no particular order."""
        walk = self._walk(prefix)
        while page := await self._threads.run(lambda: list(islice(walk, _PAGE))):
            for key in page:
                yield key

    def _walk(self, prefix: str) -> Iterator[str]:
        base = prefix.rpartition("/")[0]
        start = self._path(base) if base else self._root
        self._check_there()
        skip = len(self._root) + 1
        for directory, names, files in os.walk(start, onerror=_raise_fault):
            if directory == self._root:
                names[:] = [name for name in names if name not in {STAGING, SECRETS}]
            for name in files:
                key = f"{directory}/{name}"[skip:]
                if key.startswith(prefix):
                    yield key


def _open_files() -> int:
    """Return how many files may stay open: a quarter of what this process may have."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_OPEN_FILES, allowed // 4) if allowed >= 0 else _MOST_OPEN_FILES


def _raise_fault(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        with os_faults():
            raise error


def _remove(path: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)  # noqa: PTH108


def _pread(file: _OpenFile, offset: int, length: int) -> bytes:
    with os_faults():
        data = os.pread(file.fd, length, offset)
        while len(data) < length:  # one call returns at most 2 GiB
            more = os.pread(file.fd, length - len(data), offset + len(data))
            if not more:
                raise Unavailable("an object is shorter than the index says")
            data += more
    return data
