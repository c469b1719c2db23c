"""Jobs are done beside requests, or by `fileroom worker`: by any number of processes.

What fails is tried again after a pause, the next one of its kind's each time; when there is none
left it is a dead letter, which waits for somebody to look into it. Nothing here knows what a job
is about. An empty queue is looked at once a second, which is one SELECT.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from app.errors import ArchiveError
from app.index.engine import Index
from app.index.pool import Connection
from app.jobs.queue import (
    STALE_SECONDS,
    Ending,
    Job,
    bury,
    finish,
    give_back,
    keep,
    put_off,
    take,
)

AT_ONCE = 8
LOOK_SECONDS = 1.0
LONGEST_PAUSE = 30.0
STOP_SECONDS = 1.0
"""How long a job may go on when its process stops; then it is given back."""
SPREAD = 0.1
"""By which part a pause is longer or shorter, so that what failed together is not retried so."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the jobs of a kind are done.

    `work` does one, and returns what to write in the transaction in which it ends. It has failed if
    it raises: it is tried again after each of the `pauses` (seconds), and at last it is a dead
    letter, with which `buried` is written.
    """

    work: Callable[[Job], Awaitable[Ending]]
    pauses: Sequence[float]
    buried: Callable[[Connection, Job], Awaitable[None]]


@asynccontextmanager
async def jobs_done(index: Index, kinds: Mapping[str, Kind]) -> AsyncIterator[None]:
    """Do the jobs of these kinds while the block runs; what is under way then is given back."""
    runner = _Runner(index, kinds)
    living, running = (asyncio.create_task(it) for it in (runner.live(), runner.run()))
    try:
        yield
    finally:
        await _end([running])
        await runner.stop()
        await _end([living])


class _Runner:
    """One process that does jobs."""

    def __init__(self, index: Index, kinds: Mapping[str, Kind]) -> None:
        self._index = index
        self._kinds = kinds
        self._me = uuid.uuid4()
        self._running: dict[asyncio.Task[None], Job] = {}
        self._may_hold = False

    async def run(self) -> None:
        """Take what is due, again and again; later after each fault."""
        pause = LOOK_SECONDS
        while True:
            try:
                await self._begin_due()
                pause = LOOK_SECONDS
            except Exception as error:
                pause = min(2 * pause, LONGEST_PAUSE)
                _tell(error, "jobs wait, next look in %.0f s: %s", pause, error)
            if self._running:
                tasks = set(self._running)
                await asyncio.wait(tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(pause)

    async def live(self) -> None:
        """Give signs of life for what is being done."""
        while True:
            await asyncio.sleep(STALE_SECONDS / 3)
            if jobs := list(self._running.values()):
                try:
                    await keep(self._index, jobs)
                except ArchiveError as error:
                    _log.warning("no sign of life of %d jobs was given: %s", len(jobs), error)

    async def stop(self) -> None:
        """Let what is under way end for a while, then give it back."""
        if tasks := set(self._running):
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            await _end(late)
        if self._may_hold:
            with suppress(ArchiveError, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await give_back(self._index, self._me)

    async def _begin_due(self) -> None:
        room = AT_ONCE - len(self._running)
        if room < 1:
            return
        self._may_hold = True  # from here on, even if this is cut off
        jobs = await take(self._index, self._me, self._kinds, room)
        self._may_hold = bool(jobs or self._running)
        # one whose sign of life came late is taken from ourselves; one put off just now is not
        mine = {(job.id, job.execute_after) for job in self._running.values()}
        for job in jobs:
            if (job.id, job.execute_after) not in mine:
                task = asyncio.create_task(self._do(job))
                self._running[task] = job
                task.add_done_callback(self._running.pop)

    async def _do(self, job: Job) -> None:
        kind = self._kinds[job.entrypoint.partition("/")[0]]
        try:
            await finish(self._index, self._me, job, await kind.work(job))
        except Exception as error:
            try:
                await self._failed(kind, job, error)
            except Exception as fault:
                said = "job %d of %s will be taken up again: %s"
                _tell(fault, said, job.id, job.entrypoint, _why(fault))

    async def _failed(self, kind: Kind, job: Job, error: Exception) -> None:
        known, why = isinstance(error, ArchiveError), _why(error)
        if job.attempts < len(kind.pauses):
            seconds = kind.pauses[job.attempts] * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311
            said = "job %d of %s failed, next try in %.0f s: %s"
            _tell(error, said, job.id, job.entrypoint, seconds, why)
            await put_off(self._index, self._me, job, why, seconds)
            return
        said = "job %d of %s failed for good, see `fileroom jobs list --dead`: %s"
        _log.error(said, job.id, job.entrypoint, why, exc_info=None if known else error)
        await bury(self._index, self._me, job, why, lambda it: kind.buried(it, job))


def _why(fault: Exception) -> str:
    """Return what ours say; what others say may quote a value."""
    return str(fault) if isinstance(fault, ArchiveError) else type(fault).__name__


def _tell(fault: Exception, said: str, *values: object) -> None:
    """Warn of a fault; of one that is none of ours tell all."""
    known = isinstance(fault, ArchiveError)
    level = logging.WARNING if known else logging.ERROR
    _log.log(level, said, *values, exc_info=None if known else fault)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
