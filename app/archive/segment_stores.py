"""The segments of the log in every store: what each is worth there, and their way back.

A segment has one key for ever. So one that is damaged in a store is replaced there, by one that
another store has as it was signed; if none has, by what the index and the key make again, bit for
bit, for a signature of Ed25519 is always the same. Nothing is taken away before that is at hand.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from app.archive.answers import once
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.merkle import Tree
from app.archive.repair import LOST
from app.archive.seal_keys import key_id, load_key
from app.archive.sealing import fetch_segment
from app.archive.segment import Head, Segment, entry_line, faults_within, read_segment
from app.archive.stores import land, stores_of
from app.errors import Conflict, NotFound, Unavailable
from app.index.events import Position, read_events
from app.index.findings import end_faults
from app.index.seal_keys import REKEYED, list_keys
from app.index.segments import SegmentRow, segment_at
from app.objects.base import ObjectStore, parse_segment_key

Look = Callable[[Segment], list[str]]
"""Returns what is wrong with a segment."""
_log = logging.getLogger(__name__)


async def examine_segment(
    store: ObjectStore, row: SegmentRow, look: Look
) -> tuple[State, str, Segment | None]:
    """Return whether a store has a segment as it was sealed, what is wrong with it, and itself.

    Raises:
        Unavailable: the store does not answer.
    """
    try:
        segment = await fetch_segment(store, row.object_key)
    except NotFound:
        return State.MISSING, f"segment {row.number} of the log is not there", None
    except Unavailable as error:
        await store.check()  # a store that does not answer has damaged nothing
        return State.DAMAGED, str(error), None
    faults = await asyncio.to_thread(look, segment)
    return (State.DAMAGED if faults else State.SEALED), "; ".join(faults), segment


async def look_beside(archive: Archive, tenant_id: int, row: SegmentRow) -> Look:
    """Return what looks whether a segment is the one of a row, signed by one of our keys.

    Raises:
        Unavailable: the index does not answer.
    """
    keys = {key_id(one.public): one.public for one in await list_keys(archive.index, tenant_id)}

    def look(segment: Segment) -> list[str]:
        if segment.head.hash != row.hash:
            return ["it is not the segment that the index knows"]
        public = keys.get(segment.head.key)
        return ["its key is not known"] if public is None else list(faults_within(segment, public))

    return look


async def fetch_sound(archive: Archive, row: SegmentRow, tenant_id: int) -> Segment:
    """Return a segment from the first store that has it as it was sealed.

    Raises:
        NotFound: no store has such an object.
        Unavailable: none has it sound, or index or store do not answer.
    """
    look = await look_beside(archive, tenant_id, row)
    fault: NotFound | Unavailable | None = None
    for name, store in stores_of(archive.objects).items():
        try:
            state, detail, segment = await examine_segment(store, row, look)
        except Unavailable as error:
            fault = error
            continue
        if segment is not None and state is State.SEALED:
            return segment
        if state is State.DAMAGED:
            fault = Unavailable(f"segment {row.number} of the log is damaged in {name}: {detail}")
    raise fault or NotFound("object", row.object_key)


async def fetch_sound_by_key(archive: Archive, key: str) -> Segment:
    """Return the segment of a key as `fetch_sound` does.

    Raises:
        NotFound: the index knows none of this key, or no store has such an object.
        Unavailable: as `fetch_sound`.
    """
    place = parse_segment_key(key)
    row = await segment_at(archive.index, *place) if place else None
    if place is None or row is None:
        raise NotFound("object", key)
    return await fetch_sound(archive, row, place[0])


async def is_sound(archive: Archive, key: str, data: bytes) -> bool:
    """Say whether some bytes are the segment that was sealed under a key.

    Raises:
        Unavailable: the index does not answer.
    """
    place = parse_segment_key(key)
    row = await segment_at(archive.index, *place) if place else None
    segment = read_segment(data)
    if place is None or row is None or segment is None:
        return False
    look = await look_beside(archive, place[0], row)
    return not await asyncio.to_thread(look, segment)


async def mend_segment(archive: Archive, key: str) -> None:
    """Put a segment into each store that has it not as it was sealed; no row, nothing to do.

    Raises:
        Unavailable: no store has it sound and it cannot be made again, or one does not answer.
        StorageFull: a store has no room.
    """
    place = parse_segment_key(key)
    row = await segment_at(archive.index, *place) if place else None
    if place is None or row is None:
        return  # one that is being sealed just now
    look = await look_beside(archive, place[0], row)
    states, good = {}, None
    for name, store in stores_of(archive.objects).items():
        states[name], _, segment = await examine_segment(store, row, look)
        good = segment if states[name] is State.SEALED and good is None else good
    lost = {name: state for name, state in states.items() if state in LOST}
    if lost and not await put_where_lost(archive, place[0], row, good, lost):
        raise Unavailable(f"no store has segment {row.number} of the log as it was sealed")


async def put_where_lost(
    archive: Archive,
    tenant_id: int,
    row: SegmentRow,
    good: Segment | None,
    lost: Mapping[str, State],
) -> bool:
    """Put a segment into stores that lost it; if there is no `good` one, make it again.

    Say whether that could be done.

    Raises:
        Unavailable, StorageFull: index or store do not answer, or a store has no room.
    """
    segment = good or await _made_again(archive, tenant_id, row)
    if segment is None:
        return False
    for name, state in lost.items():
        await _put(archive, name, row.object_key, segment, state)
        _log.warning("segment %d of the log was repaired in %s", row.number, name)
    await end_faults(archive.index, row.object_key)
    return True


async def _put(archive: Archive, name: str, key: str, segment: Segment, state: State) -> None:
    store = stores_of(archive.objects)[name]
    staged = await archive.staging.stage(once(segment.as_bytes()))
    landed = land(archive.objects, name, staged)
    try:
        if state is State.DAMAGED:
            await store.delete(key)
        await store.put(key, landed)
    except Conflict:  # another process was faster
        if (await fetch_segment(store, key)).as_bytes() != segment.as_bytes():
            raise Unavailable(f"{key} in store {name} is another segment") from None
    finally:
        landed.discard()
        if landed is not staged:
            staged.discard()
        archive.objects.forget(key)


async def _made_again(archive: Archive, tenant_id: int, row: SegmentRow) -> Segment | None:
    """Return a segment as it was signed, made of the index and the key; None if it is not it."""
    index = archive.index
    before = await segment_at(index, tenant_id, row.number - 1)
    after = before.last if before else Position()
    events = await read_events(index, tenant_id, after, row.entries)
    lines = tuple(map(entry_line, events))
    if not lines or Tree(lines).root != row.root:
        return None
    number = row.next_key - (events[-1].kind == REKEYED)
    try:
        key = await load_key(index, archive.objects, tenant_id, number)
    except Unavailable as error:
        _log.warning("segment %d of the log cannot be made again: %s", row.number, error)
        return None
    head = Head(
        tenant_id=tenant_id,
        number=row.number,
        before=before.hash if before else b"",
        first=row.first,
        last=row.last,
        entries=row.entries,
        root=row.root,
        sealed_at=row.sealed_at,
        key=key.id,
    )
    return Segment(head, key.sign(head.as_bytes()), lines) if head.hash == row.hash else None
