"""The audit trail of reads: who did what to which Study, one entry for each of them and interval.

The first read of an interval is in the log, committed, before its answer ends; what comes after it
in the same interval is counted in memory and costs a look into a dict. When the interval is over
one entry more says how many there were, and when the last one was. A process that is killed loses
such counts of its last minute, and never that there was something to count.

One task writes for all requests of the process: what waits shares one statement, and while that
commits the next group gathers. An answer whose entry could not be written in time goes out all the
same, unless the archive is told otherwise (`web.audited`); it is counted as lost, and logged.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple

from app.errors import ArchiveError, Unavailable
from app.index.engine import Index
from app.index.reads import Read, append_reads
from app.rights import Principal

INTERVAL_SECONDS = 60.0
WAIT_SECONDS = 5.0
"""How long an answer waits for its entry."""
LOOK_SECONDS = 5.0
AT_ONCE = 500
"""Entries of one statement."""
MOST = 20_000
"""Intervals that are open at once: when there are more, the oldest end early."""
LONGEST = 200
"""Characters of what a client says of itself."""
_log = logging.getLogger(__name__)


class Access(NamedTuple):
    """What an entry is about: reads that differ in nothing of it are one.

    `kind` is the principal's, `asked` are keywords or tags of the attributes that were searched by,
    `attempt` is what was denied, by which HTTP status.
    """

    tenant_id: int
    principal: str
    kind: str
    action: str
    study: str = ""
    address: str = ""
    asked: tuple[str, ...] = ()
    attempt: str = ""
    status: int = 0


def access_of(principal: Principal, action: str, study: str = "") -> Access:
    """Return what a principal does to a Study on this machine itself."""
    return Access(principal.scope.tenant_id, principal.name, principal.kind, action, study)


@dataclass(slots=True, eq=False)
class Interval:
    """Reads of one kind since `begun`. `written` is None once the first is in the log."""

    access: Access
    agent: str
    begun: float
    written: "asyncio.Future[bool] | None"
    first: datetime | None = None
    last: float = 0.0
    count: int = 1
    over: bool = False

    def again(self) -> bool:
        """Count a read more, if nothing has to be waited for or written for it; say whether."""
        now = monotonic()
        if self.over or self.written is not None or now >= self.begun + INTERVAL_SECONDS:
            return False
        self.count += 1
        self.last = now
        return True


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An entry to be written: the first of an interval, or the sum at its end."""

    interval: Interval
    read: Read
    first: bool = field(default=True)


class Trail:
    """Writes what is read, for all requests of this process."""

    def __init__(self, index: Index) -> None:
        self.on_lost: Callable[[int], None] = lambda _: None
        """Called with how many reads are not in the log."""
        self._index = index
        self._open: dict[Access, Interval] = {}
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Trail":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all intervals and write all that waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def note(self, access: Access, agent: str = "") -> "asyncio.Future[bool] | None":
        """Note a read; return what says whether it is in the log, None if it is there already.

        `agent` is what the client calls itself. To be awaited by `kept`.
        """
        now = monotonic()
        interval = self._open.get(access)
        if interval is not None and now < interval.begun + INTERVAL_SECONDS:
            interval.count += 1
            interval.last = now
            return interval.written
        if interval is not None:
            self._end(interval)
        elif len(self._open) >= MOST:
            self._end(next(iter(self._open.values())))
        written = asyncio.get_running_loop().create_future()
        new = self._open[access] = Interval(access, agent[:LONGEST], now, written, last=now)
        self._waiting.append(_Waiting(new, _first_entry(new)))
        self._wake.set()
        return written

    def interval(self, access: Access) -> Interval | None:
        """Return the interval of a read that was noted, for many that follow it."""
        return self._open.get(access)

    async def kept(self, written: "asyncio.Future[bool] | None") -> bool:
        """Wait until a read is in the log, and say whether it is; if not, it counts as lost."""
        if written is None:
            return True
        if not written.done():
            await asyncio.wait([written], timeout=WAIT_SECONDS)
        if not written.done():
            written.cancel()  # nobody else has to wait as long
        if written.cancelled():
            self._lose(1, "the index did not answer in time")
            return False
        return written.result()

    async def write(self, access: Access, agent: str = "") -> None:
        """Note a read, and wait until it is in the log.

        Raises:
            Unavailable: it could not be written.
        """
        if not await self.kept(self.note(access, agent)):
            raise Unavailable("The audit trail could not be written, so nothing was given out")

    async def _run(self) -> None:
        while True:
            self._end_old()
            if not self._waiting and self._closing:
                return
            if not self._waiting:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS if self._open else None)
                continue
            count = min(AT_ONCE, len(self._waiting))
            await self._write([self._waiting.popleft() for _ in range(count)])

    def _end_old(self) -> None:
        """End the intervals that are over; when the process stops, all."""
        before = monotonic() - INTERVAL_SECONDS
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.begun > before and not self._closing:
                return
            self._end(oldest)

    def _end(self, interval: Interval) -> None:
        del self._open[interval.access]
        interval.over = True
        if interval.count > 1:
            self._waiting.append(_Waiting(interval, _sum_entry(interval), first=False))

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            at = await append_reads(self._index, [one.read for one in group])
        except Exception as error:
            known = isinstance(error, ArchiveError)
            if not known:
                _log.exception("a group of %d reads could not be logged", len(group))
            for one in group:
                self._give_up(one, str(error) if known else "the server failed")
            return
        for one in filter(lambda one: one.first, group):
            one.interval.first = at
            if one.interval.written is not None and not one.interval.written.done():
                one.interval.written.set_result(True)
            one.interval.written = None

    def _give_up(self, one: _Waiting, why: str) -> None:
        """Count what is lost; what comes next of its kind is written anew."""
        interval = one.interval
        if not one.first:
            self._lose(interval.count - 1, why)
            return
        if self._open.get(interval.access) is interval:
            del self._open[interval.access]
            interval.over = True
        if interval.written is not None and not interval.written.done():
            interval.written.set_result(False)
            self._lose(interval.count, why)

    def _lose(self, count: int, why: str) -> None:
        _log.error("%d reads are not in the audit trail: %s", count, why)
        self.on_lost(count)


def _first_entry(interval: Interval) -> Read:
    return _entry(interval.access, {"agent": interval.agent} if interval.agent else {})


def _sum_entry(interval: Interval) -> Read:
    """Return the entry that says how many reads an interval had, the first one among them."""
    told: dict[str, Any] = {"count": interval.count}
    if interval.first is not None:
        last = interval.first + timedelta(seconds=interval.last - interval.begun)
        told |= {"first": interval.first.isoformat(), "last": last.isoformat()}
    return _entry(interval.access, told)


def _entry(access: Access, told: dict[str, Any]) -> Read:
    payload = {
        "by": access.kind,
        "study": access.study,
        "address": access.address,
        "asked": list(access.asked),
        "attempt": access.attempt,
        "status": access.status,
        **told,
    }
    said = {name: value for name, value in payload.items() if value}
    return Read(access.tenant_id, access.action, access.principal, said)
