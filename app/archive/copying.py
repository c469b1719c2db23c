"""The tasks of copies are done beside requests: objects copied, removed and repaired, by store.

Each process of `serve` takes part; a task is claimed by one at a time. What fails is tried again
later (`index.copies`). A store that does not answer is asked less and less often, so that it costs
the others nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

from app.archive.beside import beside
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.repair import fetch_whole, find_by_key, put_copy, repair_object
from app.archive.segment_stores import mend_segment
from app.archive.stores import Uploading, stores_of
from app.errors import ArchiveError, NotFound, StorageFull, Unavailable
from app.index.copies import (
    CLAIM_SECONDS,
    Task,
    claim_tasks,
    end_task,
    fill,
    is_filled,
    put_task_off,
    renew_claim,
)
from app.index.kept import KeptObject
from app.index.quarantine import is_quarantined
from app.objects.base import parse_segment_key
from app.objects.bucket import FIRST
from app.objects.secret_copies import spread_secrets

AT_ONCE = 4
"""Tasks of one store that a process does side by side."""
SHORT_PAUSE = 1.0
LONG_PAUSE = 60.0
SPREAD_SECONDS = 600.0
"""Between looks for secrets that a copy lacks."""
REMOVING = ("remove", "abort")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def copies_kept(archive: Archive) -> AsyncIterator[None]:
    """Do what is queued for the stores while the block runs; nothing for one directory alone."""
    stores = stores_of(archive.objects)
    kept = [name for name, it in stores.items() if len(stores) > 1 or isinstance(it, Uploading)]
    tasks = [asyncio.create_task(_keep(archive, name)) for name in kept]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _keep(archive: Archive, name: str) -> None:
    # without copies there is but what is left of uploads, which is in no hurry
    shortest = SHORT_PAUSE if len(stores_of(archive.objects)) > 1 else LONG_PAUSE
    pause, filled = shortest, name == FIRST
    spread = 0.0 if len(stores_of(archive.objects)) > 1 else float("inf")
    while True:
        try:
            if monotonic() >= spread:
                await spread_secrets(stores_of(archive.objects), name)
                spread = monotonic() + SPREAD_SECONDS
            if not filled:
                filled = await is_filled(archive.index, name)
                if not filled:
                    count = await fill(archive.index, name)
                    _log.info("%d objects are queued for the new copy %s", count, name)
                    filled = True
            while await work_on(archive, name):
                pause = shortest
            pause = shortest
        except ArchiveError as error:
            pause = min(2 * pause, LONG_PAUSE)
            _log.warning("store %s waits for %.0f s: %s", name, pause, error)
        except Exception:
            pause = LONG_PAUSE
            _log.exception("keeping store %s failed", name)
        await asyncio.sleep(pause)


async def work_on(archive: Archive, name: str) -> int:
    """Do some tasks of a store whose time has come; return how many were taken.

    Raises:
        Unavailable: the index or this store does not answer.
    """
    tasks = await claim_tasks(archive.index, name, AT_ONCE)
    if not tasks:
        return 0
    going = {task.id for task in tasks}
    async with beside(_renew(archive, going)):
        trying = (_try(archive, task, going) for task in tasks)
        results = await asyncio.gather(*trying, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    if not any(results):
        await stores_of(archive.objects)[name].check()
    return len(tasks)


async def _renew(archive: Archive, going: set[int]) -> None:
    while True:
        await asyncio.sleep(CLAIM_SECONDS / 3)
        with suppress(ArchiveError):
            await renew_claim(archive.index, going)


async def _try(archive: Archive, task: Task, going: set[int]) -> bool:
    """Do a task, or put it off; say whether it was done."""
    why = None
    try:
        await _do(archive, task)
    except (NotFound, Unavailable, StorageFull) as error:
        _log.warning("%s of object %s in %s: %s", task.kind, task.object_key, task.store, error)
        why = str(error)
    except Exception as error:
        _log.exception("%s of object %s in %s failed", task.kind, task.object_key, task.store)
        why = type(error).__name__
    going.discard(task.id)  # a renewal would bring the time to which it is put off forward
    if why is None:
        await end_task(archive.index, task)
    else:
        await put_task_off(archive.index, task, why)
    return why is None


async def _do(archive: Archive, task: Task) -> None:
    if parse_segment_key(task.object_key):
        # nothing of the log is ever removed: what a put has left is taken over by the next sealer
        await mend_segment(archive, task.object_key)
        return
    kept = await find_by_key(archive, task.object_key)
    if task.kind in REMOVING:
        if kept is None:
            await _remove(archive, task)
    elif kept is None or is_quarantined(kept.object_key):
        _log.debug("object %s is not kept any more", task.object_key)
    elif task.kind == "copy":
        await _copy(archive, kept, task.store)
    else:
        await repair_object(archive, task.object_key)


async def _remove(archive: Archive, task: Task) -> None:
    """Remove an object that no row names, and what is left of an upload to it."""
    store = stores_of(archive.objects)[task.store]
    if task.kind == "abort" and isinstance(store, Uploading):
        left = await store.abort_uploads(task.object_key)
        if left:
            _log.warning("an upload to object %s was aborted", task.object_key)
    await store.delete(task.object_key)


async def _copy(archive: Archive, kept: KeptObject, name: str) -> None:
    """Copy an object to a store, from another one that has it whole."""
    stores = stores_of(archive.objects)
    with suppress(NotFound):
        if await stores[name].size(kept.key) == kept.size:
            return  # the scrubber will read it
    fault: ArchiveError = Unavailable("no other store has it")
    for other, store in stores.items():
        if other == name:
            continue
        try:
            staged = await fetch_whole(archive, kept, store)
        except (NotFound, Unavailable) as error:
            fault = error
            continue
        try:
            await put_copy(archive, kept, name, staged)
        finally:
            staged.discard()
        return
    if await repair_object(archive, kept.key) is not State.QUARANTINED:
        raise fault
