"""An object of a store as a whole: its last bytes come only if it is what was stored."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from app.errors import Damaged
from app.objects.base import ObjectStore

_WORTH_A_THREAD = 64 * 2**10


class OtherBeginning(Exception):
    """A store has other bytes than those that were given out from another one."""


async def stream_whole(
    store: ObjectStore, key: str, offset: int, size: int, sha256: bytes
) -> AsyncIterator[bytes]:
    """Stream `size` bytes of a store that have this digest; the last chunk comes when that is sure.

    Raises:
        NotFound, Unavailable: it has not the object. In mid-stream, too:
        Damaged: it has other bytes.
    """
    chunks = Whole(store, key, (offset, size), sha256).after(Given())
    return after_first(await anext(chunks, b""), chunks)


class Given:
    """What a caller of a stream has got so far."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()


class Whole:
    """An object of one store, read as a whole."""

    def __init__(self, store: ObjectStore, key: str, place: tuple[int, int], sha256: bytes) -> None:
        self._store = store
        self._key = key
        self._place = place
        self._sha256 = sha256

    async def after(self, given: Given) -> AsyncIterator[bytes]:
        """Yield what follows what was given, and count it there; the last chunk if all is right.

        Raises:
            NotFound, Unavailable: this store has not the bytes that were stored.
            OtherBeginning: it has another beginning.
        """
        digest, held, skip = hashlib.sha256(), b"", given.size
        async for chunk in await self._store.stream(self._key, *self._place):
            if skip:
                await _hash(digest, chunk[:skip])
                rest, skip = chunk[skip:], max(skip - len(chunk), 0)
                if not skip and digest.digest() != given.digest.digest():
                    raise OtherBeginning("it differs from what was given out already")
            else:
                rest = chunk
            if held and rest:
                await _hash(digest, held)
                given.size, given.digest = given.size + len(held), digest.copy()
                yield held
            held = rest or held
        await _hash(digest, held)
        if digest.digest() != self._sha256:
            raise Damaged("its bytes are not those that were stored")
        if held:
            yield held


async def _hash(digest: "hashlib._Hash", data: bytes) -> None:
    if len(data) < _WORTH_A_THREAD:
        digest.update(data)
    else:
        await asyncio.to_thread(digest.update, data)


async def after_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what was taken from an iterator already, and then the rest."""
    if first:
        yield first
    async for chunk in rest:
        yield chunk
