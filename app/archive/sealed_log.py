"""Verifying what is sealed: the log as it lies in the store, and the objects that it tells of."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app.archive.answers import ahead, each
from app.archive.context import Archive
from app.archive.digests import read_digest
from app.archive.examine import State
from app.archive.pace import Pace
from app.archive.repair import LOST, is_awaited
from app.archive.sealing import fetch_segment
from app.archive.segment import Chain, Segment, entry_line, read_position
from app.archive.segment_stores import examine_segment, fetch_sound, put_where_lost
from app.archive.stores import stores_of
from app.archive.verify import AT_ONCE, Verified
from app.errors import NotFound, Unavailable
from app.index.accepted import find_given_up
from app.index.events import Position, read_events
from app.index.findings import end_below, note_segment
from app.index.kept import find_kept_of, find_named
from app.index.seal_keys import list_keys
from app.index.segments import SegmentRow, last_segment, list_segments, segment_at
from app.objects.base import LOG, ObjectStore, segment_key, study_prefix

_PAGE = 500


async def verify_log(
    archive: Archive, tenant_id: int, *, repair: bool = False
) -> AsyncIterator[Verified]:
    """Read all segments of a log again, in every store; yield what each is, in their order.

    A segment is `SEALED` if it is signed, goes on from the one before, and says what the index
    says. With `repair` one that is not is put from a store that has it so, or made again. What is
    lost is noted in the index; what is over is forgotten there, at the end. A segment that lies in
    a store and that the index does not know is `DAMAGED` unless it says what the index says: then
    its sealer died, or is at it, and the next one takes it over.

    Raises:
        Unavailable: the index or a store does not answer.
        StorageFull: there is no room for a repair.
    """
    keys = await list_keys(archive.index, tenant_id)
    chain = Chain([one.public for one in keys], tenant_id)
    after, number, wrong = Position(), 0, set[tuple[str, str]]()
    async for row in list_segments(archive.index, tenant_id):
        found, good, read = await _look_everywhere(archive, tenant_id, row, chain, after)
        lost = {one.store: one.state for one in found if one.state in LOST}
        if repair and lost and await put_where_lost(archive, tenant_id, row, good, lost):
            found = [_repaired(one) if one.store in lost else one for one in found]
            good = good or await fetch_sound(archive, row, tenant_id)
        wrong |= await _note(archive, tenant_id, found)
        for one in found:
            yield one
        if best := good or read:
            chain.faults(best)
        else:
            chain.begin_after(row.number, row.hash, row.last)
        after, number = row.last, row.number
    async for unknown in _look_beyond(archive, tenant_id, number + 1, chain, after):
        yield unknown
    for name in stores_of(archive.objects):
        but = {key for store, key in wrong if store == name}
        await end_below(archive.index, name, f"{LOG}{tenant_id}/", but)


async def _look_beyond(
    archive: Archive, tenant_id: int, number: int, chain: Chain, after: Position
) -> AsyncIterator[Verified]:
    """Yield what lies in a store where the next segments would, and is not what the index says."""
    following: Segment | None = None
    key = segment_key(tenant_id, number)
    for name, store in stores_of(archive.objects).items():
        segment, faults = await _examine_unknown(store, key)
        if segment is not None:
            events = await read_events(archive.index, tenant_id, after, segment.head.entries)
            faults = chain.copy().faults(segment)
            if tuple(map(entry_line, events)) != segment.lines:
                faults.append("its entries are not those of the index")
        if faults and await segment_at(archive.index, tenant_id, number) is None:
            detail = f"the index does not know segment {number}; {'; '.join(faults)}"
            yield Verified(State.DAMAGED, key, detail=detail, store=name)
        elif segment is not None:
            following = segment
    if following is not None:
        chain.faults(following)
        async for one in _look_beyond(archive, tenant_id, number + 1, chain, following.head.last):
            yield one


async def _examine_unknown(store: ObjectStore, key: str) -> tuple[Segment | None, list[str]]:
    """Return the segment of a key, None if there is none, and what is wrong with what is there."""
    try:
        return await fetch_segment(store, key), []
    except NotFound:
        return None, []
    except Unavailable as error:
        await store.check()
        return None, [str(error)]


async def _note(
    archive: Archive, tenant_id: int, found: Sequence[Verified]
) -> set[tuple[str, str]]:
    """Note what is lost of a segment; return where that is."""
    lost = [one for one in found if one.state in LOST]
    for one in lost:
        said = (one.state, one.detail)
        await note_segment(archive.index, tenant_id, one.store, one.object_key, *said)
    return {(one.store, one.object_key) for one in lost}


async def _look_everywhere(
    archive: Archive, tenant_id: int, row: SegmentRow, chain: Chain, after: Position
) -> tuple[list[Verified], Segment | None, Segment | None]:
    """Return what a segment is in each store, a sound one, and one that could be read."""
    found, good, read = [], None, None
    events = await read_events(archive.index, tenant_id, after, row.entries)
    lines = tuple(map(entry_line, events))

    def look(segment: Segment) -> list[str]:
        return chain.copy().faults(segment) + _faults_beside_index(row, segment, lines)

    for name, store in stores_of(archive.objects).items():
        state, detail, segment = await examine_segment(store, row, look)
        if state is State.MISSING and await is_awaited(archive, name, row.object_key):
            state, detail = State.WAITING, "it is still to be copied"
        size = len(segment.as_bytes()) if segment else 0
        found.append(Verified(state, row.object_key, size=size, detail=detail, store=name))
        good = good or (segment if state is State.SEALED else None)
        read = read or segment
    return found, good, read


def _repaired(one: Verified) -> Verified:
    return replace(one, state=State.REPAIRED)


def _faults_beside_index(row: SegmentRow, segment: Segment, lines: tuple[bytes, ...]) -> list[str]:
    """Return how a segment differs from its row, and from the events of the index."""
    if segment.head.hash != row.hash:
        return ["it is not the segment that the index knows"]
    if lines != segment.lines:
        return ["its entries are not those of the index"]
    return []


@dataclass(frozen=True, slots=True)
class Told:
    """An object that a sealed event tells of. `study` is '' for an Instance of no Patient."""

    key: str
    sha256: str
    study: str
    instance: str
    at: Position


def objects_told_of(segment: Segment) -> Iterator[Told]:
    """Yield the objects of the Instances that the events of a segment accepted."""
    for line in segment.lines:
        entry = orjson.loads(line)
        if entry["kind"] == "accepted":
            yield from _told(segment.head.tenant_id, entry)


def _told(tenant_id: int, entry: Any) -> Iterator[Told]:
    payload, at = entry["payload"], read_position(entry["position"])
    study = payload.get("study", "")
    folders = {
        f"{study_prefix(tenant_id, study)}{series}/": instances
        for series, instances in payload.get("series", {}).items()
    }
    if "category" in payload:
        folders[f"t/{tenant_id}/{payload['category']}/"] = payload["instances"]
    for folder, instances in folders.items():
        for uid, (sha256, attempt) in instances.items():
            yield Told(f"{folder}{uid}.{attempt}", sha256, study, uid, at)


async def verify_told(
    archive: Archive,
    tenant_id: int,
    told: Iterable[Told],
    pace: Pace,
    tell: Callable[[Verified], None],
) -> None:
    """Read the objects that sealed events tell of; `tell` of each that should be there.

    Where another object of the same bytes stands for its Instance by now, that one is read. What is
    not there is left out if a later event that is sealed, too, says that it was given up.

    Raises:
        Unavailable: the index or the store does not answer.
    """
    page: list[tuple[Told, Verified]] = []
    read = set[str]()

    async def read_in_its_stead(one: Told) -> None:
        if one.key not in read:
            read.add(one.key)
            tell((await _read(archive, one, pace))[1])

    found = ahead(each(told), lambda one: _read(archive, one, pace), AT_ONCE)
    async for one, verified in found:
        if verified.state is State.WHOLE:
            tell(verified)
        else:
            page.append((one, verified))
        if len(page) == _PAGE:
            await _tell_of_lost(archive, tenant_id, page, read_in_its_stead, tell)
            page = []
    await _tell_of_lost(archive, tenant_id, page, read_in_its_stead, tell)


async def _read(archive: Archive, told: Told, pace: Pace) -> tuple[Told, Verified]:
    def found(state: State, size: int = 0, detail: str = "") -> tuple[Told, Verified]:
        return told, Verified(state, told.key, told.study, told.instance, size, detail)

    archive.objects.forget(told.key)
    try:
        size = await archive.objects.size(told.key)
        digest = await read_digest(archive.objects, told.key, 0, size, pace.take)
    except NotFound:
        return found(State.MISSING, detail="the store has no such object, and it was not deleted")
    except Unavailable as error:
        await archive.objects.check()
        return found(State.DAMAGED, detail=f"it cannot be read as a whole: {error}")
    if digest.hex() != told.sha256:
        detail = f"its SHA-256 is {digest.hex()}, and {told.sha256} was sealed"
        return found(State.DAMAGED, size, detail)
    return found(State.WHOLE, size)


async def _tell_of_lost(
    archive: Archive,
    tenant_id: int,
    page: Sequence[tuple[Told, Verified]],
    read: Callable[[Told], Awaitable[None]],
    tell: Callable[[Verified], None],
) -> None:
    """Tell of objects that are not as they were sealed; `read` what stands for one by now."""
    if not page:
        return
    index, uids = archive.index, [one.instance for one, _ in page]
    keys, studies = [one.key for one, _ in page], [one.study for one, _ in page]
    named = await find_named(index, tenant_id, keys, studies, uids)
    last = await last_segment(index, tenant_id)
    first = min(one.at for one, _ in page)
    given_up = await find_given_up(index, tenant_id, uids, first, last.last if last else first)
    kept = {
        (one.instance, one.sha256.hex()): one.key
        for one in reversed(await find_kept_of(index, tenant_id, uids))
    }
    for one, verified in page:
        at, how = given_up.get(one.instance, (one.at, ""))
        key = kept.get((one.instance, one.sha256), one.key)
        if one.key not in named and at > one.at and how == "purged":
            continue
        if key != one.key:
            await read(replace(one, key=key))
        elif one.key in named or at <= one.at:
            tell(verified)
