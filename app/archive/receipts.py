"""Receipts: what was acknowledged of an Instance, and the proof that the sealed log says so.

The proof is made when it is asked for, from the segment as it lies in the object store: the line of
the event, which has the digest of each Instance that it accepted, and the hashes that lead from it
to the root that is signed. Whoever keeps a receipt and the public key needs nothing else of ours.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.archive.context import Archive
from app.archive.merkle import Tree
from app.archive.repair import is_awaited
from app.archive.segment import Segment
from app.archive.segment_stores import fetch_sound
from app.archive.stores import stores_of
from app.dicom.uids import InstanceRef, StudyRef
from app.errors import Forbidden, NotFound, Unavailable
from app.index.accepted import Accepted, find_accepted, find_events, list_accepted
from app.index.events import Event, Position
from app.index.quarantine import is_quarantined
from app.index.segments import SegmentRow, find_segment
from app.objects.base import parse_segment_key
from app.rights import Principal, Verb

MOST = 1000
"""Receipts of one answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """That an event is in the sealed log: its line, and the way from it to the root in `head`.

    `index` counts from 0, `path` goes from the leaf up, `head` is what `signature` is of.
    """

    number: int
    head: bytes
    signature: bytes
    key: str
    root: bytes
    entries: int
    index: int
    line: bytes
    path: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Receipt:
    """An Instance as it was acknowledged, and the event that says so, if the log has one."""

    accepted: Accepted
    event: Position | None
    stores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts, the proofs of their events that are sealed, and where to go on, if there are more.

    Many Instances were accepted by one event and share its proof.
    """

    receipts: Sequence[Receipt]
    proofs: Mapping[Position, Proof]
    following: int | None = None


async def give_receipt(archive: Archive, principal: Principal, ref: InstanceRef) -> Receipts:
    """Return the receipt of an Instance.

    Raises:
        Forbidden: `principal` may not view.
        NotFound, Gone: there is no such Instance, or `principal` may not see its Study.
        Unavailable: index or store do not answer, or the segment is damaged.
    """
    _check(principal)
    accepted = await find_accepted(archive.index, principal.scope, ref)
    return await _receipts(archive, principal, StudyRef(ref.study), [accepted])


async def give_receipts(
    archive: Archive, principal: Principal, ref: StudyRef, after: int, limit: int
) -> Receipts:
    """Return receipts of a Study's Instances in the order they came; `after` is `following`.

    Raises:
        Forbidden: `principal` may not view.
        NotFound, Gone: there is no such Study, or `principal` may not see it.
        Unavailable: index or store do not answer, or a segment is damaged.
    """
    _check(principal)
    found = await list_accepted(archive.index, principal.scope, ref, after, limit + 1)
    page = found[:limit]
    following = page[-1].number if len(found) > limit else None
    return await _receipts(archive, principal, ref, page, following)


def _check(principal: Principal) -> None:
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")


async def _receipts(
    archive: Archive,
    principal: Principal,
    ref: StudyRef,
    page: Sequence[Accepted],
    following: int | None = None,
) -> Receipts:
    tenant_id = principal.scope.tenant_id
    times = {one.stored_at for one in page}
    events = await find_events(archive.index, tenant_id, ref.study, times)
    by_time: dict[datetime, list[Event]] = defaultdict(list)
    for event in events:
        by_time[event.at].append(event)
    receipts = [
        Receipt(one, _event_of(one, by_time[one.stored_at]), await _stores(archive, one))
        for one in page
    ]
    wanted = sorted({one.event for one in receipts if one.event is not None})
    return Receipts(receipts, await _prove(archive, tenant_id, wanted), following)


async def _stores(archive: Archive, one: Accepted) -> tuple[str, ...]:
    """Return the names of the stores that have the object, none if it is in quarantine."""
    if is_quarantined(one.object_key):
        return ()
    names = stores_of(archive.objects)
    return tuple([name for name in names if not await is_awaited(archive, name, one.object_key)])


def _event_of(one: Accepted, events: Iterable[Event]) -> Position | None:
    """Return the position of the event, of those of its time, that accepted an Instance."""
    for event in events:
        logged = event.payload["series"].get(one.ref.series, {}).get(one.ref.instance)
        if logged and logged[0] == one.sha256.hex():
            return event.position
    return None


async def _prove(
    archive: Archive, tenant_id: int, positions: Sequence[Position]
) -> dict[Position, Proof]:
    """Return the proofs of those events that are sealed; positions are in order.

    Segments are read one after the other, and each once.
    """
    proofs: dict[Position, Proof] = {}
    waiting = list(positions)
    while waiting:
        row = await find_segment(archive.index, tenant_id, waiting[0])
        if row is None:
            break  # nor is what comes after it
        here = [position for position in waiting if position <= row.last]
        waiting = waiting[len(here) :]
        segment = await fetch_sealed(archive, row)
        proofs |= await asyncio.to_thread(_proofs, segment, here)
    return proofs


async def fetch_sealed(archive: Archive, row: SegmentRow) -> Segment:
    """Return the segment of a row, from the first store that has it as it was sealed.

    Raises:
        Unavailable: none has it so, or the store does not answer.
    """
    place = parse_segment_key(row.object_key)
    try:
        return await fetch_sound(archive, row, place[0] if place else 0)
    except NotFound:
        raise Unavailable(f"segment {row.number} of the log is missing") from None


def _proofs(segment: Segment, positions: Sequence[Position]) -> dict[Position, Proof]:
    tree, head = Tree(segment.lines), segment.head
    if tree.root != head.root:
        raise Unavailable(f"segment {head.number} of the log is damaged")
    places = {position: index for index, position in enumerate(segment.positions)}
    return {
        position: Proof(
            number=head.number,
            head=head.as_bytes(),
            signature=segment.signature,
            key=head.key,
            root=head.root,
            entries=head.entries,
            index=places[position],
            line=segment.lines[places[position]],
            path=tree.path(places[position]),
        )
        for position in positions
        if position in places
    }
