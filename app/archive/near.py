"""What was read from a bucket is kept near, in files of a bounded directory, to be read again.

Objects are kept in aligned blocks of a mebibyte, so a small one is one block, and of a large one
there is what was looked at. Each block ends with its own digest: one that a disk or a crash has
spoiled is thrown away and read anew. Whoever wants to know what is really there asks `far`.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.archive.cache import FileCache
from app.objects.base import ObjectStore
from app.objects.staged import BLOCK, Staged

if TYPE_CHECKING:
    from app.objects.extents import Extent

WHOLE_BLOCKS = 16
"""A stream of more blocks goes past: it would push out what is looked at again."""
FORGET_SECONDS = 60.0
_MOST_FORGOTTEN = 10_000
_DIGEST = 16


class FarStore(ObjectStore, Protocol):
    """A store that is slow to reach."""

    async def read_up_to(self, key: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the object ends before."""
        ...


class NearStore:
    """A far store, and what was read from it."""

    def __init__(self, far: FarStore, cache: FileCache) -> None:
        self.far = far
        self._cache = cache
        self._forgotten: OrderedDict[str, float] = OrderedDict()

    def close(self) -> None:
        """Close the far store."""
        self.far.close()

    async def put(self, key: str, staged: Staged) -> None:
        """Write the staged bytes to a key that does not exist yet; they are durable on return."""
        await self.far.put(key, staged)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; a short object is `Unavailable`."""
        if length and not self._is_forgotten(key):
            first, last = offset // BLOCK, (offset + length - 1) // BLOCK
            if last - first < WHOLE_BLOCKS:
                numbers = range(first, last + 1)
                blocks = await asyncio.gather(*(self._block(key, number) for number in numbers))
                start = offset - first * BLOCK
                data = b"".join(blocks) if len(blocks) > 1 else blocks[0]
                if len(data) >= start + length:
                    return data[start : start + length]
        return await self.far.read(key, offset, length)

    async def _block(self, key: str, number: int) -> bytes:
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}-{number}"

        async def make() -> bytes:
            return _sealed(await self.far.read_up_to(key, number * BLOCK, BLOCK))

        kept = _opened(await self._cache.load(name))
        if kept is None:
            (self._cache.directory / name).unlink(missing_ok=True)
            kept = _opened(await self._cache.get_or_make(name, make))
        return await self.far.read_up_to(key, number * BLOCK, BLOCK) if kept is None else kept

    def read_now(self, _key: str, _offset: int, _length: int) -> bytes | None:
        """Return None: every read may wait."""
        return None

    def stamp_now(self, _key: str) -> int:
        """Return one number for all: nothing is written twice."""
        return 0

    def extent_now(self, _key: str, _offset: int, _length: int) -> "Extent | None":
        """Return None: what is kept near is no file of the object's."""
        return None

    async def extent(self, key: str, offset: int, length: int) -> "Extent | None":
        """Return None: there is no file."""
        return await self.far.extent(key, offset, length)

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Look the object up, then return an iterator over its bytes in chunks of up to 1 MiB."""
        few = length is not None and 0 < length <= (WHOLE_BLOCKS - 1) * BLOCK
        if length is None or not few or self._is_forgotten(key):
            return await self.far.stream(key, offset, length)
        first = min(length, BLOCK - offset % BLOCK)
        return self._chunks(key, await self.read(key, offset, first), offset, length)

    async def _chunks(
        self, key: str, first: bytes, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        yield first
        for place in range(offset + len(first), offset + length, BLOCK):
            yield await self.read(key, place, min(BLOCK, offset + length - place))

    def forget(self, key: str) -> None:
        """Read a key from the far store for a while."""
        self._forgotten[key] = monotonic() + FORGET_SECONDS
        self.far.forget(key)
        if len(self._forgotten) > _MOST_FORGOTTEN:
            self._forgotten.popitem(last=False)

    def _is_forgotten(self, key: str) -> bool:
        until = self._forgotten.get(key)
        if until is not None and until <= monotonic():
            del self._forgotten[key]
            return False
        return until is not None

    async def size(self, key: str) -> int:
        """Return the object's size in bytes."""
        return await self.far.size(key)

    async def delete(self, key: str) -> None:
        """Remove the object; absent already is success."""
        self.forget(key)
        await self.far.delete(key)

    async def check(self) -> None:
        """Return if the far store answers."""
        await self.far.check()

    async def secret(self, name: str) -> bytes:
        """Return a secret of 32 bytes that all who use the far store have."""
        return await self.far.secret(name)

    async def all_secrets(self) -> dict[str, bytes]:
        """Return all secrets that were made, by name."""
        return await self.far.all_secrets()

    async def keep_secret(self, name: str, secret: bytes) -> None:
        """Put a secret where there is none; another one there is `Conflict`."""
        await self.far.keep_secret(name, secret)

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, in no particular order."""
        return self.far.keys(prefix)


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()[:_DIGEST]


def _opened(kept: bytes | None) -> bytes | None:
    """Return the bytes of a block, None if it is not there or not as it was."""
    if kept is None or len(kept) < _DIGEST:
        return None
    data = kept[:-_DIGEST]
    return data if hashlib.sha256(data).digest()[:_DIGEST] == kept[-_DIGEST:] else None
