"""The stores of an archive: the first one, and its copies if there are any."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.archive.noted import Noted
from app.index.engine import Index
from app.objects.base import ObjectStore
from app.objects.bucket import FIRST, Bucket
from app.objects.landing import Landing
from app.objects.local import LocalStore
from app.objects.replicated import Copy, ReplicatedStore
from app.objects.staged import Staged

if TYPE_CHECKING:
    from app.archive.context import Place


def open_store(place: "Place") -> ObjectStore:
    """Return the first store of an archive."""
    return open_place(place.bucket or place.objects)


def open_place(where: Path | Bucket) -> ObjectStore:
    """Return the store in a directory or bucket.

    Raises:
        Unavailable: it cannot be used at all.
    """
    if isinstance(where, Path):
        return LocalStore(where)
    from app.objects.remote import RemoteStore  # noqa: PLC0415 - its library is large

    return RemoteStore(where)


@asynccontextmanager
async def opened_objects(place: "Place", index: Index) -> AsyncIterator[ObjectStore]:
    """Open the stores of an archive as one, and close them at the end of the block.

    Raises:
        StorageFull, Unavailable: one of them cannot be used at all.
    """
    async with AsyncExitStack() as stack:
        first = open_store(place)
        stack.callback(first.close)
        if not place.copies:
            yield first
            return
        copies = []
        for one in place.copies:
            store = await asyncio.to_thread(open_place, one.where)
            stack.callback(store.close)
            root = one.where if isinstance(one.where, Path) else place.objects
            landing = await asyncio.to_thread(Landing, root / "staging", place.limits)
            stack.callback(landing.close)
            copies.append(Copy(one.name, store, one.sync, landing.land))
        noted = await stack.enter_async_context(Noted(index))
        yield ReplicatedStore(first, copies, noted)


def stores_of(objects: ObjectStore) -> Mapping[str, ObjectStore]:
    """Return all stores by name, the first one first."""
    return objects.stores if isinstance(objects, ReplicatedStore) else {FIRST: objects}


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
