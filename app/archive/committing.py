"""What is done for a storage commitment, and by whom.

The items are verified a page at a time, and each page is saved: whoever takes over from a process
that died goes on after it. Then the log is sealed, and in one transaction the result is made, if
each Instance still has the object that was read; those that have not are verified again.

An index or a store that does not answer puts it off. After a day nothing is promised any more.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from app.archive.answers import ahead, each
from app.archive.beside import beside
from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.repair import repair_object
from app.archive.stores import is_filled_later, stores_of
from app.dicom.commitment import COMMITTED, CommitmentFailure, Reference
from app.errors import ArchiveError, StorageFull, Unavailable
from app.index.commitments import (
    LEASE_SECONDS,
    Commitment,
    Held,
    Item,
    Verdict,
    find_held,
    finish_commitment,
    forget_commitments,
    give_up,
    list_waiting,
    next_items,
    put_off,
    renew_commitment,
    save_verdicts,
    take_commitment,
)
from app.index.kept import KeptObject
from app.index.quarantine import is_quarantined

LOOK_SECONDS = 5.0
"""Between two looks for what a process has left."""
PAGE = 100
READ_AT_ONCE = 3
GIVE_UP_SECONDS = 86_400.0
LONGEST_PAUSE = 300.0
MOST_LOST = 20
"""Objects found lost in one go from which the store itself is not believed."""
_LOOKED_AT = 20
_TRIES = 5
_FORGET_EVERY = 720
"""Looks from one time that old results are forgotten to the next: an hour."""
_log = logging.getLogger(__name__)


async def work_on(archive: Archive, number: int) -> None:
    """Go on with a commitment until it is finished, or put off; it raises nothing of ours."""
    holder = archive.commitments.holder
    one = None
    try:
        one = await take_commitment(archive.index, number, holder)
        if one is not None:
            async with beside(_stay_holder(archive, one)):
                await _Work(archive, one).conclude()
    except ArchiveError as error:
        _log.warning("storage commitment %d is put off: %s", number, error)
        await _put_off(archive, one)
    except Exception:
        _log.exception("storage commitment %d failed", number)
        await _put_off(archive, one)


async def _put_off(archive: Archive, one: Commitment | None) -> None:
    if one is None:
        return
    pause = min(LOOK_SECONDS * 2**one.tries, LONGEST_PAUSE)
    try:
        await put_off(archive.index, one.id, archive.commitments.holder, pause)
    except ArchiveError as error:
        _log.warning("storage commitment %d stays ours until its lease ends: %s", one.id, error)


async def _stay_holder(archive: Archive, one: Commitment) -> None:
    """Renew the lease again and again, as far as the index answers."""
    while True:
        await asyncio.sleep(LEASE_SECONDS / 4)
        try:
            await renew_commitment(archive.index, one.id, archive.commitments.holder)
        except ArchiveError as error:
            _log.warning("the lease of storage commitment %d is not renewed: %s", one.id, error)


class _Work:
    """The work on one commitment."""

    def __init__(self, archive: Archive, one: Commitment) -> None:
        self._archive = archive
        self._one = one
        self._lost = 0

    async def conclude(self) -> None:
        """Verify and finish.

        Raises:
            Unavailable: index or store do not answer, or what accepted it cannot be sealed.
        """
        index, one, holder = self._archive.index, self._one, self._archive.commitments.holder
        over = one.age > GIVE_UP_SECONDS
        if over:
            await give_up(index, one.id, CommitmentFailure.PROCESSING_FAILURE)
        finished = over and await finish_commitment(index, one, holder)
        while not finished:
            if not await self._verify_all():
                return
            await self._archive.sealer.settle(one.scope.tenant_id)
            finished = await finish_commitment(index, one, holder)

    async def _verify_all(self) -> bool:
        """Verify what is not yet, page by page; say whether we still hold the commitment."""
        after = 0
        while page := await next_items(self._archive.index, self._one.id, after, PAGE):
            async with self._archive.commitments.turns:
                if not await self._verify_page(page):
                    return False
            after = page[-1].number
        return True

    async def _verify_page(self, page: Sequence[Item]) -> bool:
        index, one, holder = self._archive.index, self._one, self._archive.commitments.holder
        uids = {item.reference.sop_instance_uid for item in page}
        held = await find_held(index, one.scope, uids)
        verify = partial(self._verify, held=held)
        found = [verdict async for verdict in ahead(each(page), verify, READ_AT_ONCE)]
        return await save_verdicts(index, one.id, holder, found)

    async def _verify(self, item: Item, held: Mapping[str, Held]) -> Verdict:
        """Say whether an Instance is safe now. What one store has lost is repaired first."""
        uid = item.reference.sop_instance_uid
        found = held.get(uid)
        for _ in range(_TRIES):
            if found is None:
                return Verdict(item.number, CommitmentFailure.NO_SUCH_INSTANCE)
            failure = _mismatch(item.reference, found)
            if failure is None and await self._is_whole(found.kept):
                return Verdict(item.number, COMMITTED, found.kept.object_key)
            failure = failure or await self._repair(found.kept)
            if failure is not None:
                return Verdict(item.number, failure)
            again = await find_held(self._archive.index, self._one.scope, [uid])
            found = again.get(uid)
        raise Unavailable(f"Instance {uid} was changed each time that it was looked at")

    async def _is_whole(self, kept: KeptObject) -> bool:
        """Read an object from each store that has to have it; say whether all have it whole."""
        if is_quarantined(kept.object_key):
            return False
        objects = self._archive.objects
        for name, store in stores_of(objects).items():
            if is_filled_later(objects, name):
                continue
            state, detail = await examine(store, kept)
            if state is not State.WHOLE:
                _log.warning("object %s in store %s is %s: %s", kept.key, name, state, detail)
                return False
        return True

    async def _repair(self, kept: KeptObject) -> CommitmentFailure | None:
        """Make an object whole; return why that cannot be.

        Raises:
            Unavailable: index or store do not answer, or the store is not to be believed.
        """
        if not is_quarantined(kept.object_key):
            self._lost += 1
            if self._lost > MOST_LOST:
                raise Unavailable(f"more than {MOST_LOST} objects are lost: is the store there?")
        try:
            state = await repair_object(self._archive, kept.key)
        except StorageFull:
            return CommitmentFailure.OUT_OF_RESOURCES
        return CommitmentFailure.PROCESSING_FAILURE if state is State.QUARANTINED else None


def _mismatch(reference: Reference, held: Held) -> CommitmentFailure | None:
    """Say why a reference is not of the Instance that is here; None if it is."""
    here = (held.kept.study, held.series)
    if reference.study and here != (reference.study, reference.series):
        return CommitmentFailure.NO_SUCH_INSTANCE
    if held.sop_class_uid != reference.sop_class_uid:
        return CommitmentFailure.CLASS_CONFLICT
    return None


@asynccontextmanager
async def commitments_kept(archive: Archive) -> AsyncIterator[None]:
    """Go on with what other processes have left, and forget old results, while the block runs."""
    async with beside(_keep(archive)):
        yield


async def _keep(archive: Archive) -> None:
    looks = 0
    while True:
        try:
            for number in await list_waiting(archive.index, _LOOKED_AT):
                archive.commitments.begin(number, partial(work_on, archive, number))
            if looks % _FORGET_EVERY == 0:
                await forget_commitments(archive.index, archive.commitments.kept_seconds)
            looks += 1
        except ArchiveError as error:
            _log.warning("storage commitments are not looked after: %s", error)
        except Exception:
            _log.exception("looking after storage commitments failed")
        await asyncio.sleep(LOOK_SECONDS)
