"""What the archive does by itself: purge what was deleted long ago, and act by retention rules.

One process does it for all, by a lease in the index (`index.upkeep`). It never fails a request: a
fault of the index or the store is logged, and the next try is later. It stops between two pages.
How old something is, it counts by the time that was seen to pass (`index.clock`): a clock that
jumps lets nothing be purged before somebody can have seen it.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import monotonic

from app.archive.context import Archive
from app.archive.purge import purge_deleted
from app.archive.retention import act_by_all_rules
from app.errors import ArchiveError
from app.index.clock import LONG_AHEAD, see_time_pass, seen_now
from app.index.purging import Deleted
from app.index.upkeep import begin_upkeep, leave_upkeep, renew_upkeep
from app.jobs.queue import forget_log
from app.rights import Principal

LOOK_SECONDS = 60.0
"""Between two looks whether something is due."""
LONGEST_PAUSE = 3600.0
PURGE_SECONDS = 50.0
RULES_SECONDS = 86_400.0
LOG_SECONDS = 86_400.0
READ_SECONDS = 60.0
"""How long an answer that began before a DELETE may need the bytes, at least."""
FIRST_LOOK_SECONDS = 3600.0
"""The most that counts as passed while nobody looked."""
STOP_SECONDS = 3.0
"""How long a page may go on when the archive stops, which its parent ends in 5."""
PURGER = Principal("retention")
"""Who purges, in the log."""
_PURGE, _RULES, _LOG = "purge", "retention rules", "job log"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Upkeep:
    """The work of one process."""

    archive: Archive
    rules: bool
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    holder: str = field(default_factory=lambda: f"{os.getpid()} {secrets.token_hex(8)}")
    looked: float | None = None
    waits: bool = False

    async def run(self) -> None:
        """Look what is due, again and again; later after each failure."""
        pause = LOOK_SECONDS
        while not await self._stops_within(pause):
            done = [await self._look_at_clock()]
            if self.archive.deleted_days is not None:
                done.append(await self._try(_PURGE, PURGE_SECONDS, self._purge))
            if self.rules:
                done.append(await self._try(_RULES, RULES_SECONDS, self._act))
            done.append(await self._try(_LOG, LOG_SECONDS, partial(forget_log, self.archive.index)))
            pause = LOOK_SECONDS if all(done) else min(2 * pause, LONGEST_PAUSE)

    async def _look_at_clock(self) -> bool:
        """Let the time go on that was seen to pass; say whether that went well."""
        now = monotonic()
        passed = FIRST_LOOK_SECONDS if self.looked is None else now - self.looked
        try:
            look = await see_time_pass(self.archive.index, passed)
        except ArchiveError as error:
            _log.warning("the clock was not looked at: %s", error)
            return False
        self.looked = now
        if look.back:
            _log.warning("the clock went back by %.0f s", look.back)
        if look.ahead > LONG_AHEAD and not self.waits:
            days = look.ahead / 86_400
            _log.warning(
                "the clock is %.1f days ahead of the time that was seen to pass: what is deleted, "
                "and retention rules, wait. Is the clock right, or was the archive off so long?",
                days,
            )
        self.waits = look.ahead > LONG_AHEAD
        return True

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        return self.stopping.is_set()

    async def _try(self, name: str, every: float, work: Callable[[], Awaitable[None]]) -> bool:
        """Do some work if it is due, and no other process is at it; say whether that went well."""
        index = self.archive.index
        done = False
        try:
            if self.stopping.is_set() or not await begin_upkeep(index, name, self.holder, every):
                return True
            try:
                await work()
                done = not self.stopping.is_set()
            finally:
                await leave_upkeep(index, name, self.holder, done=done)
        except ArchiveError as error:
            _log.warning("%s: put off, %s", name, error)
            return False
        except Exception:
            _log.exception("%s failed", name)
            return False
        return True

    async def _go_on(self, name: str) -> bool:
        """Say whether this process is still the one for some work, and is to stay it."""
        return not self.stopping.is_set() and await renew_upkeep(
            self.archive.index, name, self.holder
        )

    async def _purge(self) -> None:
        days = timedelta(days=self.archive.deleted_days or 0)
        seen = await seen_now(self.archive.index)
        before = seen - max(days, timedelta(seconds=READ_SECONDS))
        instances = size = 0

        def tell(one: Deleted) -> None:
            nonlocal instances, size
            instances, size = instances + 1, size + one.size

        go_on = partial(self._go_on, _PURGE)
        try:
            await purge_deleted(self.archive, PURGER, before, tell, go_on, really=True)
        finally:
            if instances:
                _log.info("purged %d deleted Instances, %d bytes", instances, size)

    async def _act(self) -> None:
        count = await act_by_all_rules(self.archive, partial(self._go_on, _RULES))
        if count:
            _log.info("retention rules deleted %d Studies", count)


@asynccontextmanager
async def kept_up(archive: Archive, *, rules: bool) -> AsyncIterator[None]:
    """Purge, and act by retention `rules`, while the block runs."""
    upkeep = _Upkeep(archive, rules)
    task = asyncio.create_task(upkeep.run())
    try:
        yield
    finally:
        upkeep.stopping.set()
        done, _ = await asyncio.wait([task], timeout=STOP_SECONDS)
        if not done:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
