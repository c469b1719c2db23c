"""Waiting for what comes next in the log, at the same cost for one who waits as for hundreds.

While anybody waits, one task of the process asks twice a second for the newest position whose order
is final, and wakes all when it has grown; who reads the same then shares one answer. Writers do
nothing for it: a NOTIFY would make every commit wait for a lock that all of them take.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from app.errors import ArchiveError, Unavailable
from app.index.engine import Index
from app.index.events import Event, Position, newest_final, read_events

LOOK_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Watch:
    """Wakes those of one process who wait, no more than `most` at once."""

    def __init__(self, index: Index, most: int) -> None:
        self.ended = False
        self.count = 0  # of those who wait now
        self._index = index
        self._most = most
        self._newest = Position()
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._reading: dict[object, asyncio.Task[list[Event]]] = {}

    def check(self) -> None:
        """See that there is a place for one who waits.

        Raises:
            Unavailable: there is none.
        """
        if self.count >= self._most:
            raise Unavailable("Too many clients wait for changes; ask again later")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Be one of those who wait while the block runs.

        Raises:
            Unavailable: there are too many already.
        """
        self.check()
        self.count += 1
        try:
            if self._looking is None and not self.ended:
                self._looking = asyncio.create_task(self._look())
            yield
        finally:
            self.count -= 1

    async def beyond(self, after: Position, seconds: float) -> Position:
        """Return the newest position when it is beyond one; the same one if it is not in time.

        It is of any tenant's events. For those who have a place.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                while self._newest <= after and not self.ended:
                    await self._news.wait()
        return max(self._newest, after)

    async def read(self, tenant_id: int, after: Position, limit: int) -> list[Event]:
        """Return the next events as `read_events` does, together with who asks the same now.

        What was committed just before may be missing; then `beyond` returns once more.

        Raises:
            Unavailable: the index does not answer.
        """
        # what was asked before the newest position was known may lack what is there by now
        key = (tenant_id, after, limit, self._newest)
        task = self._reading.get(key)
        if task is None:
            reading = read_events(self._index, tenant_id, after, limit)
            task = self._reading[key] = asyncio.create_task(reading)
            task.add_done_callback(lambda done: self._was_read(key, done))
        return await asyncio.shield(task)

    def _was_read(self, key: object, task: asyncio.Task[list[Event]]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # whoever waited for it has it

    async def _look(self) -> None:
        try:
            while self.count:
                await self._look_once()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        try:
            newest = await newest_final(self._index)
        except ArchiveError as error:
            _log.warning("those who wait for changes go on to wait: %s", error)
            return
        if newest > self._newest:
            self._newest = newest
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def end(self) -> None:
        """Let go of all who wait: the server stops. From now on nobody waits."""
        self.ended = True
        self._wake()

    async def close(self) -> None:
        """End, and stop what goes on."""
        self.end()
        tasks: list[asyncio.Task[Any]] = list(self._reading.values())
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
