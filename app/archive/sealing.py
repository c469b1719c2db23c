"""The sealer: it makes what the log says a fact that nobody can change unseen.

Events whose order is final go into segments, a signed and chained object each (`segment`), beside
the objects that they tell of. An object of a segment comes first and its row second, as with
Instances. A crash between the two leaves a segment that no row knows: the next sealer takes it over
if it says what the index says, and the archive does not seal on if it does not. That is the one
object that is ever adopted.

Stores do not wait for a seal; what hides Instances does (`settle`), so that an index that is made
anew from objects and segments never shows again what was deleted.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from app.archive.answers import once
from app.archive.beside import beside
from app.archive.merkle import Tree
from app.archive.seal_keys import SealKey, load_key
from app.archive.segment import Chain, Head, Segment, entry_line, read_segment
from app.archive.stores import stores_of
from app.errors import ArchiveError, Conflict, Unavailable
from app.index.copies import add_tasks
from app.index.engine import Index
from app.index.events import Event, Position
from app.index.seal_keys import REKEYED
from app.index.segments import (
    SegmentRow,
    Turn,
    last_segment,
    newest_position,
    take_turn,
    tenants_waiting,
)
from app.objects.base import ObjectStore, segment_key
from app.objects.staging import Staging

MOST = 2000
"""Events of one segment."""
MOST_BYTES = 8 * 2**20
"""Of the lines of a segment; an event alone may be longer."""
SETTLE_SECONDS = 10.0
"""How long a removal waits for its seal."""
_LOOK_SECONDS = 1.0
_SOON_SECONDS = 0.02
_FAILED_SECONDS = 0.25
_LONGEST_PAUSE = 30.0
LATER = "It is done, but could not be sealed in time; that follows as soon as it is possible"

_log = logging.getLogger(__name__)


class Sealer:
    """Seals the logs of an archive; any number of processes may have one."""

    def __init__(self, index: Index, objects: ObjectStore, staging: Staging) -> None:
        self._index = index
        self._objects = objects
        self._staging = staging
        self._keys: dict[tuple[int, int], SealKey] = {}
        self._settling: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End what is under way."""
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def seal_waiting(self) -> int:
        """Seal what is committed by now, of all tenants; return how many segments that were.

        What comes meanwhile is left for the next call: else it would never end while many store,
        in segments of a few events, and take a tenth of the time that storing has.

        Raises:
            Unavailable, StorageFull: index or store fail, or what is there does not fit.
        """
        count = 0
        for tenant_id in await tenants_waiting(self._index):
            wanted = await newest_position(self._index, tenant_id)
            sealed = Position()
            while sealed < wanted and (row := await self.seal_next(tenant_id)) is not None:
                sealed = row.last
                count += 1
        return count

    async def seal_next(self, tenant_id: int) -> SegmentRow | None:
        """Seal the next segment; None if nothing can be sealed, or somebody else seals just now.

        Raises:
            Unavailable, StorageFull: as `seal_waiting`.
        """
        key = await self.key(tenant_id)  # not within a turn, which holds a connection already
        async with take_turn(self._index, tenant_id) as turn:
            if turn is None or turn.next_key != key.number:
                return None
            events = _cut(await turn.read(MOST))
            if not events:
                return None
            segment = await self._compose(turn, events, key)
            is_new = await self._put(segment)
            if not is_new:
                segment = await self._adopt(turn, segment.head.number, key)
            row = segment_row(segment, key.number)
            await turn.add(row)
        names = stores_of(self._objects)
        if not is_new and len(names) > 1:  # not each of them need have it
            await add_tasks(self._index, [("repair", name, row.object_key) for name in names])
        _log.debug("segment %d of tenant %d is sealed", row.number, tenant_id)
        return row

    async def key(self, tenant_id: int) -> SealKey:
        """Return the key that seals the next segment; the first one is made at the first call.

        Raises:
            Unavailable: index or store do not answer, or the secret is another one's.
        """
        last = await last_segment(self._index, tenant_id)
        number = last.next_key if last else 1
        if (tenant_id, number) not in self._keys:
            key = await load_key(self._index, self._objects, tenant_id, number)
            self._keys[tenant_id, number] = key
        return self._keys[tenant_id, number]

    async def settle(self, tenant_id: int) -> None:
        """Return when all that was committed before this call is sealed.

        Raises:
            Unavailable: that could not be done in time.
        """
        task = asyncio.create_task(self._reach(tenant_id))
        self._settling.add(task)
        task.add_done_callback(self._settled)
        await asyncio.wait([task], timeout=SETTLE_SECONDS)
        if not task.done() or task.cancelled() or task.exception():
            raise Unavailable(LATER)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.warning("a removal was not sealed in time: %s", error, exc_info=error)

    async def _reach(self, tenant_id: int) -> None:
        deadline = monotonic() + SETTLE_SECONDS
        wanted = await newest_position(self._index, tenant_id)
        while await self._sealed(tenant_id) < wanted:
            why: ArchiveError = Unavailable("a transaction that began earlier takes too long")
            pause = _SOON_SECONDS  # somebody else seals, or an older transaction goes on
            try:
                if await self.seal_next(tenant_id) is not None:
                    continue
            except ArchiveError as error:
                why, pause = error, _FAILED_SECONDS
            if monotonic() + pause > deadline:
                raise why
            await asyncio.sleep(pause)

    async def _sealed(self, tenant_id: int) -> Position:
        last = await last_segment(self._index, tenant_id)
        return last.last if last else Position()

    async def _compose(self, turn: Turn, events: list[Event], key: SealKey) -> Segment:
        lines = await asyncio.to_thread(lambda: tuple(map(entry_line, events)))
        root = await asyncio.to_thread(lambda: Tree(lines).root)
        now, before = await turn.now(), turn.last
        head = Head(
            tenant_id=turn.tenant_id,
            number=before.number + 1 if before else 1,
            before=before.hash if before else b"",
            first=events[0].position,
            last=events[-1].position,
            entries=len(events),
            root=root,
            sealed_at=max(now, before.sealed_at) if before else now,
            key=key.id,
        )
        return Segment(head, key.sign(head.as_bytes()), lines)

    async def _put(self, segment: Segment) -> bool:
        """Write the object of a segment; say whether there was none yet."""
        staged = await self._staging.stage(once(segment.as_bytes()))
        key = segment_key(segment.head.tenant_id, segment.head.number)
        try:
            await self._objects.put(key, staged)
        except Conflict:
            return False
        finally:
            staged.discard()
        return True

    async def _adopt(self, turn: Turn, number: int, sealing_key: SealKey) -> Segment:
        """Return the segment that a sealer put before it died, if it is what we would have sealed.

        Raises:
            Unavailable: it is not; nothing is sealed until somebody has looked into it.
        """
        key = segment_key(turn.tenant_id, number)
        segment = await fetch_segment(self._objects, key)
        chain = Chain([sealing_key.public], turn.tenant_id)
        if turn.last:
            chain.begin_after(turn.last.number, turn.last.hash, turn.last.last)
        faults = chain.faults(segment)
        events = [] if faults else await turn.read(segment.head.entries)
        if faults or tuple(map(entry_line, events)) != segment.lines:
            said = "; ".join(faults) or "its entries are not those of the index"
            _log.error("the log cannot be sealed: object %s is in the way: %s", key, said)
            raise Unavailable(f"the log cannot be sealed: {key} is in the way: {said}")
        _log.warning("segment %d was taken over from a sealer that died", number)
        return segment


def _cut(events: list[Event]) -> list[Event]:
    """Return the first of some events, as many as one segment takes; a new key ends it."""
    size = 0
    for count, event in enumerate(events):
        if event.kind == REKEYED:
            return events[: count + 1]
        size += len(str(event.payload))  # about
        if size > MOST_BYTES and count:
            return events[:count]
    return events


def segment_row(segment: Segment, key: int) -> SegmentRow:
    """Return the row of a segment that the key of this number has sealed."""
    head = segment.head
    return SegmentRow(
        number=head.number,
        first=head.first,
        last=head.last,
        entries=head.entries,
        root=head.root,
        hash=head.hash,
        sealed_at=head.sealed_at,
        next_key=key + 1 if segment.next_key else key,
        object_key=segment_key(head.tenant_id, head.number),
    )


async def fetch_segment(objects: ObjectStore, key: str) -> Segment:
    """Return a segment, read from the store itself.

    Raises:
        NotFound: there is no such object.
        Unavailable: what is there is none, or the store does not answer.
    """
    objects.forget(key)
    data = b"".join([chunk async for chunk in await objects.stream(key)])
    segment = await asyncio.to_thread(read_segment, data)
    if segment is None:
        raise Unavailable(f"{key} is not a segment of the log any more")
    return segment


@asynccontextmanager
async def sealing(sealer: Sealer) -> AsyncIterator[None]:
    """Seal about every second while the block runs; what fails is tried again, ever more seldom."""
    async with beside(_seal_on(sealer)):
        yield


async def _seal_on(sealer: Sealer) -> None:
    pause = _LOOK_SECONDS
    while True:
        try:
            await sealer.seal_waiting()
            pause = _LOOK_SECONDS
        except Exception as error:
            pause = min(2 * pause, _LONGEST_PAUSE)
            known = isinstance(error, ArchiveError)
            _log.log(
                logging.WARNING if known else logging.ERROR,
                "the log is not sealed, next try in %.0f s: %s",
                pause,
                error,
                exc_info=None if known else error,
            )
        await asyncio.sleep(pause)
