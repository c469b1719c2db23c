"""The scrubber: every object of every store is read again, so that no damage waits to be needed.

A pass over a store reads what the index names, in the order of its tables, at a rate that leaves
the disks to others; how far it is, the index keeps, so a stop costs nothing. One process at a time
scrubs a store. What is lost there is repaired from another store at once, or goes to quarantine.
The segments of the log come last; one that no store has is made again of the index and the key.

A store that seems to have lost one object after another has lost none: it is not there, as a disk
that is not mounted. Its pass then stops with an error in the log, and nothing is changed.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from app.archive.beside import beside
from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.looking_again import look_again
from app.archive.pace import Pace
from app.archive.repair import LOST, is_awaited, repair_object
from app.archive.segment_stores import examine_segment, look_beside, mend_segment
from app.archive.stores import stores_of
from app.errors import ArchiveError, Unavailable
from app.index.findings import (
    QUARANTINED,
    end_below,
    end_lost,
    list_faults,
    note_segment,
)
from app.index.kept import TABLES, KeptObject, list_kept_of
from app.index.quarantine import is_quarantined
from app.index.scrubs import Pass, begin_pass, finish_pass, let_go, save_place, take_store
from app.index.segments import SegmentRow, list_segments, sealed_tenants
from app.objects.base import LOG

FIRST_SECONDS = 120.0
"""From the start of the server to the first look."""
LOOK_SECONDS = 3600.0
SAVE_SECONDS = 15.0
PAGE = 200
MOST_LOST = 20
"""Objects lost one after the other from which the store itself is not believed."""
_DAY = 86_400.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def scrubbed(archive: Archive, days: float, rate: float) -> AsyncIterator[None]:
    """Verify every object once in so many days while the block runs, `rate` bytes a second."""
    worker = secrets.token_hex(8)
    try:
        async with beside(_scrub_all(archive, days, rate, worker)):
            yield
    finally:
        with suppress(ArchiveError):
            await let_go(archive.index, worker)


async def _scrub_all(archive: Archive, days: float, rate: float, worker: str) -> None:
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        for name in stores_of(archive.objects):
            try:
                await scrub_store(archive, name, worker, days * _DAY, rate)
            except ArchiveError as error:
                _log.warning("the scrubber leaves store %s for now: %s", name, error)
            except Exception:
                _log.exception("scrubbing store %s failed", name)
        try:
            await look_at_quarantine(archive)
        except ArchiveError as error:
            _log.warning("the quarantine was not looked at: %s", error)
        except Exception:
            _log.exception("looking at the quarantine failed")
        await asyncio.sleep(LOOK_SECONDS)


async def scrub_store(
    archive: Archive, name: str, worker: str, every: float, rate: float = float("inf")
) -> bool:
    """Go on with the pass over a store, or begin one if the last began `every` seconds ago.

    Return whether the store was gone through to its end.

    Raises:
        Unavailable: the index or the store does not answer, or the store is not to be believed.
        StorageFull: there is no room for a repair.
    """
    place = await take_store(archive.index, name, worker)
    if place is None:
        return False
    if not place.under_way:
        if place.age is not None and place.age < every:
            return False
        await begin_pass(archive.index, name, worker)
        place = Pass(0, 0, None, True, 0.0)
    return await _Scrub(archive, name, worker, Pace(rate)).go_on(place)


class _Scrub:
    """One pass over one store."""

    def __init__(self, archive: Archive, name: str, worker: str, pace: Pace) -> None:
        self._archive = archive
        self._name = name
        self._worker = worker
        self._pace = pace
        self._lost_in_a_row = 0
        self._saved_at = monotonic()

    async def go_on(self, place: Pass) -> bool:
        after = place.last_key
        for number in range(place.table_number, len(TABLES)):
            while page := await list_kept_of(self._archive.index, number, after, PAGE):
                for after, kept in page:
                    await self._verify(kept)
                    if monotonic() - self._saved_at > SAVE_SECONDS and not await self._save(
                        number, after
                    ):
                        return False
            if not await self._save(number + 1, 0):
                return False
            after = 0
        if not await self._verify_log():
            return False
        await finish_pass(self._archive.index, self._name, self._worker)
        return True

    async def _save(self, number: int, after: int) -> bool:
        self._saved_at = monotonic()
        return await save_place(self._archive.index, self._name, self._worker, number, after)

    async def _verify(self, kept: KeptObject) -> None:
        if is_quarantined(kept.object_key):
            return
        store = stores_of(self._archive.objects)[self._name]
        state, detail = await examine(store, kept, self._pace.take)
        if state not in LOST:
            self._lost_in_a_row = 0
            return
        if await is_awaited(self._archive, self._name, kept.key):
            return
        self._count_lost(kept.key, state, detail)
        await repair_object(self._archive, kept.key, self._pace.take)

    def _count_lost(self, key: str, state: State, detail: str) -> None:
        self._lost_in_a_row += 1
        if self._lost_in_a_row > MOST_LOST:
            raise Unavailable(
                f"{MOST_LOST} objects after each other are lost, the last one {key}: "
                "is this the right place, and is it mounted?"
            )
        _log.error("object %s in store %s is %s: %s", key, self._name, state, detail)

    async def _verify_log(self) -> bool:
        """Read the segments of all logs again; say whether the store was ours to the end."""
        lost = set()
        for tenant_id in await sealed_tenants(self._archive.index):
            async for row in list_segments(self._archive.index, tenant_id):
                if not await self._verify_segment(tenant_id, row):
                    lost.add(row.object_key)
                late = monotonic() - self._saved_at > SAVE_SECONDS
                if late and not await self._save(len(TABLES), 0):
                    return False
        await end_below(self._archive.index, self._name, LOG, lost)
        return True

    async def _verify_segment(self, tenant_id: int, row: SegmentRow) -> bool:
        """Say whether the store has a segment as it was sealed; if not, repair or note it."""
        archive, key = self._archive, row.object_key
        store = stores_of(archive.objects)[self._name]
        look = await look_beside(archive, tenant_id, row)
        state, detail, segment = await examine_segment(store, row, look)
        await self._pace.take(len(segment.as_bytes()) if segment else 0)
        if state not in LOST:
            self._lost_in_a_row = 0
            return True
        if await is_awaited(archive, self._name, key):
            return True
        self._count_lost(key, state, detail)
        await note_segment(archive.index, tenant_id, self._name, key, state, detail)
        try:
            await mend_segment(archive, key)
        except ArchiveError as error:
            _log.error("segment %s is not repaired: %s", key, error)
            return False
        return True


async def look_at_quarantine(archive: Archive) -> None:
    """Let out of quarantine what a store has whole again, or what is gone; forget what is over.

    Raises:
        Unavailable: the index or a store does not answer.
    """
    await end_lost(archive.index)
    await look_again(archive)
    after = 0
    while page := await list_faults(archive.index, after=after, state=QUARANTINED):
        for found in page:
            after = found.id
            await repair_object(archive, found.object_key)
