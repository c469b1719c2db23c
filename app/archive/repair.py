"""Repair: an object that a store has lost comes from another store that has it whole.

What is missing in a store is put there under its key, for nothing is there. What is damaged is
never overwritten: its bytes are put into all stores under a new key, the row is moved there in one
transaction with a fact in the log, and what the old key names is removed when no reader can have it
from a lease any more. If no store has the object whole it goes to quarantine, and comes out of it
when one has it again, or when the Instance is sent again.

The row decides what is right, so it is looked up first; an object that no row names is left alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.leases import LEASE_SECONDS
from app.archive.stores import is_filled_later, land, stores_of
from app.archive.writer import discard_object
from app.errors import Conflict, Unavailable
from app.index.copies import is_copy_queued
from app.index.findings import end_faults, move_object, note_fault, quarantine, release
from app.index.kept import KeptObject, find_kept
from app.index.quarantine import is_quarantined
from app.objects.base import (
    ObjectStore,
    new_attempt,
    non_patient_key,
    object_key,
    parse_key,
)
from app.objects.staged import Staged

ACTOR = "repair"
"""Who moves objects, in the log."""
LOST = (State.DAMAGED, State.MISSING)
_Before = Callable[[int], Awaitable[None]]
_log = logging.getLogger(__name__)


async def find_by_key(archive: Archive, key: str) -> KeptObject | None:
    """Return what is kept under a key; None if no row names it.

    Raises:
        Unavailable: the index does not answer.
    """
    parts = parse_key(key)
    if parts is None:
        return None
    return await find_kept(archive.index, parts.tenant_id, parts.instance, key)


async def is_awaited(archive: Archive, name: str, key: str) -> bool:
    """Say whether an object that a store has not is still to come there."""
    return is_filled_later(archive.objects, name) and await is_copy_queued(archive.index, name, key)


async def repair_object(archive: Archive, key: str, before: _Before | None = None) -> State | None:
    """Make an object whole in all stores; return what came of it, None if no row names it.

    All stores are read again, `before` being awaited with the size of each piece.

    Raises:
        Unavailable: the index or a store does not answer, so that nothing can be decided.
        StorageFull: a store has no room for it.
    """
    kept = await find_by_key(archive, key)
    if kept is None:
        await end_faults(archive.index, key)
        return None
    states = await _examine_all(archive, kept, before)
    good = [name for name, (state, _) in states.items() if state is State.WHOLE]
    if not good:
        return await _give_up(archive, kept, states)
    if is_quarantined(kept.object_key):
        if not await release(archive.index, kept, ACTOR):
            raise Unavailable("the Instance was changed while it was repaired")
        _log.warning("object %s is whole again in store %s", key, good[0])
        return await repair_object(archive, key, before)
    lost = {name: one for name, one in states.items() if one[0] in LOST}
    if not lost:
        await end_faults(archive.index, key)
        return State.WHOLE
    for name, (state, detail) in lost.items():
        if not await is_awaited(archive, name, key):
            await note_fault(archive.index, kept, name, state, detail)
    await _mend(archive, kept, good[0], {name: state for name, (state, _) in lost.items()})
    return State.REPAIRED


async def _examine_all(
    archive: Archive, kept: KeptObject, before: _Before | None
) -> dict[str, tuple[State, str]]:
    """Examine an object in every store; where it is damaged, forget what may be made of it."""
    stores = stores_of(archive.objects)
    states = {name: await examine(store, kept, before) for name, store in stores.items()}
    known = is_quarantined(kept.object_key)
    if not known and any(state is State.DAMAGED for state, _ in states.values()):
        archive.pictures.clear()
        await asyncio.to_thread(archive.cache.clear)
    return states


async def _give_up(
    archive: Archive, kept: KeptObject, states: Mapping[str, tuple[State, str]]
) -> State | None:
    detail = "; ".join(f"{name}: {said}" for name, (_, said) in states.items())
    if not await quarantine(archive.index, kept, detail, ACTOR):
        return None
    _log.error("object %s is in quarantine, no store has it whole: %s", kept.key, detail)
    return State.QUARANTINED


async def _mend(archive: Archive, kept: KeptObject, good: str, lost: Mapping[str, State]) -> None:
    staged = await fetch_whole(archive, kept, stores_of(archive.objects)[good])
    try:
        if State.DAMAGED in lost.values() or kept.base_offset:
            await _move(archive, kept, staged)
        else:
            for name in lost:
                await put_copy(archive, kept, name, staged)
            await end_faults(archive.index, kept.key)
    finally:
        staged.discard()
    _log.warning("object %s was repaired in %s from %s", kept.key, ", ".join(lost), good)


async def _move(archive: Archive, kept: KeptObject, staged: Staged) -> None:
    """Put the bytes under a new key, and let the row have that."""
    new = _new_key(kept)
    await archive.objects.put(new, staged)
    # if the index does not answer, nobody knows: then the sweeper takes what no row names
    if not await move_object(archive.index, kept, new, ACTOR):
        await discard_object(archive.objects, new)
        raise Unavailable("the Instance was changed while it was repaired")
    if kept.base_offset == 0:
        await asyncio.sleep(LEASE_SECONDS)  # until nobody reads by the old key any more
        await _discard_moved(archive, kept, new)


async def _discard_moved(archive: Archive, kept: KeptObject, new: str) -> None:
    """Remove what an old key names, once every store is seen to have it whole under the new one.

    The old one may be the last good one: a disk that damaged it may damage what replaces it.
    """
    states = await _examine_all(archive, replace(kept, object_key=new), None)
    if all(state is State.WHOLE for state, _ in states.values()):
        await discard_object(archive.objects, kept.key)
    else:
        _log.warning("object %s is left to the sweeper: not all stores have %s", kept.key, new)


def _new_key(kept: KeptObject) -> str:
    parts = parse_key(kept.key)
    assert parts is not None  # noqa: S101 - it was found by it
    if parts.study:
        series = kept.key.split("/")[-2]
        return object_key(kept.tenant_id, parts.study, series, parts.instance, new_attempt())
    category = kept.key.split("/")[2]
    return non_patient_key(kept.tenant_id, category, parts.instance, new_attempt())


async def fetch_whole(archive: Archive, kept: KeptObject, store: ObjectStore) -> Staged:
    """Return the bytes of an object from one store, staged, if they are those that were stored.

    Raises:
        NotFound, Unavailable: the store has not the object, or has it damaged.
        StorageFull: there is no room to stage it.
    """
    staged = await archive.staging.stage(await store.stream(kept.key, kept.base_offset, kept.size))
    if staged.sha256 != kept.sha256:
        staged.discard()
        raise Unavailable("its bytes are not those that were stored")
    return staged


async def put_copy(archive: Archive, kept: KeptObject, name: str, staged: Staged) -> None:
    """Put an object into one store, under its own key.

    Raises:
        Unavailable: the store does not answer, or has other bytes under this key.
    """
    store = stores_of(archive.objects)[name]
    landed = land(archive.objects, name, staged)
    try:
        await store.put(kept.key, landed)
    except Conflict:
        state, detail = await examine(store, kept)  # another task put it, or it is damaged
        if state is not State.WHOLE:
            raise Unavailable(f"object {kept.key} in store {name}: {detail}") from None
    finally:
        if landed is not staged:
            landed.discard()
    if await find_by_key(archive, kept.key) is None:  # purged, or moved, meanwhile
        await store.delete(kept.key)
