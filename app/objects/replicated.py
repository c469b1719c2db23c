"""A store with copies: one store of several, of which each holds every object.

A put waits for the first store and for all copies that are `sync`; the others are filled from a
queue in the index. A read goes to the first store; where that lacks the object, has damaged it or
does not answer, it goes to the next one at once, in mid-stream too, and what was seen is noted for
the repair. Nothing is repaired here: an object is never overwritten, so that takes the index.

What was given out must be the beginning of what follows from another store, so a stream that goes
on elsewhere reads those bytes again and compares.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from isal import isal_zlib

from app.errors import ArchiveError, Conflict, Damaged, InvalidRequest, NotFound, Unavailable
from app.objects.base import ObjectStore, check_key
from app.objects.bucket import FIRST
from app.objects.secret_copies import secret_of, secrets_of
from app.objects.staged import Staged

if TYPE_CHECKING:
    from app.objects.extents import Extent

SUSPECT_SECONDS = 60.0
"""How long reads of an object avoid a store in which it was found lost."""
DOWN_SECONDS = 5.0
SLOW_SECONDS = 1.0
"""A fault after this time is taken for the whole store's, which is then asked last for a while."""
_MOST_SUSPECTS = 10_000
_WORTH_A_THREAD = 64 * 2**10
_LOST = (NotFound, Unavailable)

_Value = TypeVar("_Value")
_log = logging.getLogger(__name__)


class Notes(Protocol):
    """Takes what has to be done about the objects of a store; another task does it."""

    def repair(self, store: str, key: str) -> None:
        """Note that a store has lost or damaged an object."""
        ...

    def remove(self, store: str, key: str) -> None:
        """Note that an object that no row names may be left in a store."""
        ...


@dataclass(frozen=True, slots=True)
class Copy:
    """A further store. `land` makes what is staged fit for it."""

    name: str
    store: ObjectStore
    sync: bool
    land: Callable[[Staged], Staged]


class ReplicatedStore:
    """The first store and its copies, as one."""

    def __init__(self, first: ObjectStore, copies: Sequence[Copy], notes: Notes) -> None:
        self.first = first
        self.copies = tuple(sorted(copies, key=lambda copy: not copy.sync))
        self.stores = {FIRST: first, **{copy.name: copy.store for copy in self.copies}}
        self._notes = notes
        self._suspects: dict[tuple[str, str], float] = {}
        self._down: dict[str, float] = {}
        self._secrets: dict[str, bytes] = {}

    def close(self) -> None:
        """Close all stores."""
        for store in self.stores.values():
            store.close()

    async def put(self, key: str, staged: Staged) -> None:
        """Write the staged bytes to the first store and all `sync` copies, side by side."""
        staged.source().read(0, 1)  # joins what is in memory, so that threads may share it
        landed = [(copy, copy.land(staged)) for copy in self.copies if copy.sync]
        puts = {
            FIRST: self.first.put(key, staged),
            **{copy.name: copy.store.put(key, part) for copy, part in landed},
        }
        try:
            results = await asyncio.gather(*puts.values(), return_exceptions=True)
        finally:
            for _, part in landed:
                part.discard()
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:
            await self._take_back(key, dict(zip(puts, results, strict=True)))
            raise faults[0]

    async def _take_back(self, key: str, results: dict[str, BaseException | None]) -> None:
        """Leave nothing of a put that failed somewhere; what exists under the key is not ours."""
        for name, result in results.items():
            if result is None:
                await self._delete(name, key)
            elif not isinstance(result, Conflict | InvalidRequest):
                self._notes.remove(name, key)  # it may have come through all the same

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`, from the first store that has them."""
        return (await self.from_any(key, lambda store: store.read(key, offset, length)))[1]

    def read_now(self, key: str, offset: int, length: int) -> bytes | None:
        """Return `length` bytes from `offset` if that needs no waiting, else None."""
        if self.is_suspect(key):
            return None
        return self.first.read_now(key, offset, length)

    def stamp_now(self, key: str) -> int | None:
        """Return the stamp in the first store; None where it seems to be lost there."""
        return None if self.is_suspect(key) else self.first.stamp_now(key)

    def extent_now(self, key: str, offset: int, length: int) -> "Extent | None":
        """Return a range of the first store's file if it is in memory, else None."""
        if self.is_suspect(key):
            return None
        return self.first.extent_now(key, offset, length)

    async def extent(self, key: str, offset: int, length: int) -> "Extent | None":
        """Return a range of the first store's file unread; None where another has to be asked."""
        if not self._is_trusted(FIRST, key):
            return None
        try:
            return await self.first.extent(key, offset, length)
        except _LOST:
            for copy in self.copies:
                with suppress(*_LOST):
                    if offset + length <= await copy.store.size(key):
                        self._suspect(FIRST, key)
                        return None
            raise

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Look the object up, then return an iterator over its bytes, from several stores if need
        be."""
        name, opened = await self.from_any(key, lambda store: store.stream(key, offset, length))
        return self._going_on(name, opened, key, offset, length)

    async def _going_on(
        self, name: str, opened: AsyncIterator[bytes], key: str, offset: int, length: int | None
    ) -> AsyncIterator[bytes]:
        given, check, tried = 0, 0, {name}
        while True:
            try:
                async for chunk in opened:
                    check = isal_zlib.crc32(chunk, check)
                    given += len(chunk)
                    yield chunk
                return
            except _OtherBeginning as error:
                raise Unavailable(str(error)) from error
            except _LOST as error:
                self._suspect(name, key)
                name = next((one for one in self._order(key) if one not in tried), "")
                if not name:
                    raise
                tried.add(name)
                _log.warning("object %s goes on from store %s: %s", key, name, error)
                opened = _rest(self.stores[name], key, (offset, length), given, check)

    async def stream_whole(
        self, key: str, offset: int, size: int, sha256: bytes
    ) -> AsyncIterator[bytes]:
        """Stream `size` bytes that have this digest; the last chunk comes when that is sure.

        Raises:
            NotFound, Unavailable: no store has the object. In mid-stream: no store has it whole.
        """
        chunks = self._checked(key, offset, size, sha256)
        return _after(await anext(chunks, b""), chunks)

    async def _checked(
        self, key: str, offset: int, size: int, sha256: bytes
    ) -> AsyncIterator[bytes]:
        given = _Given()
        fault: ArchiveError | None = None
        for name in self._order(key):
            opened = _Whole(self.stores[name], key, (offset, size), sha256)
            try:
                async for chunk in opened.after(given):
                    yield chunk
                return
            except _OtherBeginning as error:
                # one of the two is damaged, and it need not be this one
                fault = fault or Unavailable(str(error))
            except _LOST as error:
                _log.warning("object %s cannot be read from store %s: %s", key, name, error)
                self._suspect(name, key)
                fault = error if fault is None or isinstance(fault, Damaged) else fault
        assert fault is not None  # noqa: S101 - there is a first store
        raise fault

    def forget(self, key: str) -> None:
        """Remember nothing of a key, in any store."""
        for store in self.stores.values():
            store.forget(key)

    async def size(self, key: str) -> int:
        """Return the object's size in bytes."""
        return (await self.from_any(key, lambda store: store.size(key)))[1]

    async def delete(self, key: str) -> None:
        """Remove the object from all stores; a copy that does not answer does so later."""
        check_key(key)
        await asyncio.gather(*(self._delete(copy.name, key) for copy in self.copies))
        await self.first.delete(key)

    async def _delete(self, name: str, key: str) -> None:
        try:
            await self.stores[name].delete(key)
        except ArchiveError as error:
            _log.warning("object %s is removed from store %s later: %s", key, name, error)
            self._notes.remove(name, key)

    async def check(self) -> None:
        """Return if the first store answers and would take an object."""
        await self.first.check()

    async def secret(self, name: str) -> bytes:
        """Return a secret of 32 bytes, which all stores have; if the first lost it, a copy's."""
        if name not in self._secrets:
            self._secrets[name] = await secret_of(self.stores, name)
        return self._secrets[name]

    async def all_secrets(self) -> dict[str, bytes]:
        """Return all secrets that were made, by name; the first store's go before a copy's."""
        return await secrets_of(self.stores)

    async def keep_secret(self, name: str, secret: bytes) -> None:
        """Put a secret where there is none; another one there is `Conflict`."""
        await self.first.keep_secret(name, secret)

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys of the first store that begin with `prefix`."""
        return self.first.keys(prefix)

    async def from_any(
        self, key: str, job: Callable[[ObjectStore], Awaitable[_Value]]
    ) -> tuple[str, _Value]:
        """Return the first good result of a job, and the name of the store that gave it.

        Raises:
            NotFound, Unavailable: the job fails so in every store.
        """
        lost: dict[str, ArchiveError] = {}
        for name in self._order(key):
            began = monotonic()
            try:
                result = await job(self.stores[name])
            except _LOST as error:
                lost[name] = error
                if monotonic() - began > SLOW_SECONDS and not isinstance(error, Damaged):
                    self._down[name] = monotonic() + DOWN_SECONDS
            else:
                for other, fault in lost.items():
                    _log.warning("object %s: %s, not %s (%s)", key, name, other, fault)
                    self._suspect(other, key)
                return name, result
        raise next(iter(lost.values()))

    def _order(self, key: str) -> Sequence[str]:
        """Return the stores in the order in which a key is looked for."""
        if not self._suspects and not self._down:
            return tuple(self.stores)
        now = monotonic()
        self._down = {name: until for name, until in self._down.items() if until > now}
        return sorted(
            self.stores, key=lambda name: (name in self._down, not self._is_trusted(name, key))
        )

    def is_suspect(self, key: str) -> bool:
        """Say whether the first store seemed just now to have lost or damaged an object."""
        return bool(self._suspects) and not self._is_trusted(FIRST, key)

    def _is_trusted(self, name: str, key: str) -> bool:
        until = self._suspects.get((name, key))
        if until is not None and until <= monotonic():
            del self._suspects[name, key]
            return True
        return until is None

    def _suspect(self, name: str, key: str) -> None:
        if len(self._suspects) >= _MOST_SUSPECTS:
            self._suspects.clear()
        self._suspects[name, key] = monotonic() + SUSPECT_SECONDS
        self.stores[name].forget(key)
        self._notes.repair(name, key)


class _OtherBeginning(Exception):
    """A store has other bytes than those that were given out from another one."""


async def stream_whole(
    store: ObjectStore, key: str, offset: int, size: int, sha256: bytes
) -> AsyncIterator[bytes]:
    """Stream `size` bytes of a store that have this digest; the last chunk comes when that is sure.

    Raises:
        NotFound, Unavailable: it has not the object. In mid-stream, too:
        Damaged: it has other bytes.
    """
    chunks = _Whole(store, key, (offset, size), sha256).after(_Given())
    return _after(await anext(chunks, b""), chunks)


class _Given:
    """What a caller of a stream has got so far."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()


class _Whole:
    """An object of one store, read as a whole."""

    def __init__(self, store: ObjectStore, key: str, place: tuple[int, int], sha256: bytes) -> None:
        self._store = store
        self._key = key
        self._place = place
        self._sha256 = sha256

    async def after(self, given: _Given) -> AsyncIterator[bytes]:
        """Yield what follows what was given, and count it there; the last chunk if all is right.

        Raises:
            NotFound, Unavailable: this store has not the bytes that were stored.
            _OtherBeginning: it has another beginning.
        """
        digest, held, skip = hashlib.sha256(), b"", given.size
        async for chunk in await self._store.stream(self._key, *self._place):
            if skip:
                await _hash(digest, chunk[:skip])
                rest, skip = chunk[skip:], max(skip - len(chunk), 0)
                if not skip and digest.digest() != given.digest.digest():
                    raise _OtherBeginning("it differs from what was given out already")
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


async def _rest(
    store: ObjectStore, key: str, place: tuple[int, int | None], given: int, check: int
) -> AsyncIterator[bytes]:
    """Yield what follows the bytes that were given, whose CRC-32 is `check`.

    Raises:
        NotFound, Unavailable: the store has not the object.
        _OtherBeginning: it has another beginning.
    """
    offset, length = place
    again = 0
    async for chunk in await store.stream(key, offset, given):
        again = isal_zlib.crc32(chunk, again)
    if again != check:
        raise _OtherBeginning("it differs from what was given out already")
    left = None if length is None else length - given
    async for chunk in await store.stream(key, offset + given, left):
        yield chunk


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk
