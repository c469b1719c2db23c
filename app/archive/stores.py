"""The stores of an archive: the first one, and its copies if there are any."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from app.archive.cache import FileCache
from app.archive.near import NearStore
from app.archive.noted import Noted
from app.archive.uploads import UploadRecords
from app.index.copies import is_known
from app.index.engine import Index
from app.objects.base import ObjectStore
from app.objects.bucket import FIRST, Bucket, CopyPlace
from app.objects.landing import Landing
from app.objects.local import LocalStore
from app.objects.replicated import Copy, ReplicatedStore
from app.objects.staged import Staged

if TYPE_CHECKING:
    from app.archive.context import Place
    from app.objects.remote import RemoteStore


@runtime_checkable
class Uploading(Protocol):
    """A store to which objects go in parts, some of which may be left."""

    async def abort_uploads(self, key: str) -> int:
        """Throw away what is left of uploads to a key; return how many there were."""
        ...


def open_store(place: "Place") -> ObjectStore:
    """Return the first store of an archive."""
    return open_place(place.bucket or place.objects)


def open_place(where: Path | Bucket) -> ObjectStore:
    """Return the store in a directory or bucket; a directory that is not there is not made.

    Raises:
        Unavailable: it cannot be used at all.
    """
    if isinstance(where, Path):
        return LocalStore(where, create=False)
    from app.objects.remote import RemoteStore  # noqa: PLC0415 - its library is large

    return RemoteStore(where)


@asynccontextmanager
async def opened_objects(place: "Place", index: Index) -> AsyncIterator[ObjectStore]:
    """Open the stores of an archive as one, and close them at the end of the block.

    Raises:
        StorageFull, Unavailable: one of them cannot be used at all.
    """
    async with AsyncExitStack() as stack:
        first = await asyncio.to_thread(_open_first, place, index)
        stack.callback(first.close)
        if not place.copies:
            yield first
            return
        copies = []
        for one in place.copies:
            create = place.makes_copies and not await is_known(index, one.name)
            store = await asyncio.to_thread(_open_copy, one, index, create=create)
            stack.callback(store.close)
            there = isinstance(one.where, Path) and await asyncio.to_thread(one.where.is_dir)
            root = one.where if there and isinstance(one.where, Path) else place.objects
            landing = await asyncio.to_thread(Landing, root / "staging", place.limits)
            stack.callback(landing.close)
            copies.append(Copy(one.name, store, one.sync, landing.land))
        noted = await stack.enter_async_context(Noted(index))
        yield ReplicatedStore(first, copies, noted)


def _open_first(place: "Place", index: Index) -> ObjectStore:
    if place.bucket is None:
        return LocalStore(place.objects, apart=place.apart)
    far = _open_remote(place.bucket, FIRST, index)
    near = place.cache.with_name("near")
    return NearStore(far, FileCache(near, place.near_bytes)) if place.near_bytes else far


def _open_copy(copy: CopyPlace, index: Index, *, create: bool) -> ObjectStore:
    """Return the store of a copy, whose directory is made once: later it may not be mounted."""
    if isinstance(copy.where, Path):
        return LocalStore(copy.where, create=create)
    return _open_remote(copy.where, copy.name, index)


def _open_remote(bucket: Bucket, name: str, index: Index) -> "RemoteStore":
    """Return a store whose uploads are recorded in the index."""
    from app.objects.remote import RemoteStore  # noqa: PLC0415 - its library is large

    store = RemoteStore(bucket)
    store.records = UploadRecords(index, name)
    return store


def stores_of(objects: ObjectStore) -> Mapping[str, ObjectStore]:
    """Return all stores by name, the first one first, each without what is kept near."""
    stores = objects.stores if isinstance(objects, ReplicatedStore) else {FIRST: objects}
    first = stores[FIRST]
    return {**stores, FIRST: first.far} if isinstance(first, NearStore) else stores


def is_filled_later(objects: ObjectStore, name: str) -> bool:
    """Say whether a store gets its objects after a Store was answered."""
    copies = objects.copies if isinstance(objects, ReplicatedStore) else ()
    return any(copy.name == name and not copy.sync for copy in copies)


def land(objects: ObjectStore, name: str, staged: Staged) -> Staged:
    """Return a staged part as it may be put into one of the stores: there it may be another one."""
    for copy in objects.copies if isinstance(objects, ReplicatedStore) else ():
        if copy.name == name:
            return copy.land(staged)
    return staged
