"""What one process knows of the bytes of objects: that they are those that were stored.

A part of an object has no digest. So before a part is given out the whole object is read, if it is
not too large for that and was not read lately; whoever asks meanwhile waits for the same reading.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any

from app.errors import ArchiveError
from app.objects.recent import Recent

CHECKED_BYTES = 16 * 2**20
"""Of a larger object parts are given out unread: that the scrubber reads it has to do."""
KNOWN_SECONDS = 3600.0
_MOST_KNOWN = 65_536
_log = logging.getLogger(__name__)

_Job = Callable[[], Coroutine[Any, Any, object]]


class Soundness:
    """The objects that were read as a whole lately, by key. For one event loop."""

    def __init__(self) -> None:
        self._until: Recent[str, float] = Recent(_MOST_KNOWN)
        self._checks: dict[str, asyncio.Task[object]] = {}
        self._repairs: dict[str, asyncio.Task[object]] = {}

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._checks.values(), *self._repairs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def knows(self, key: str) -> bool:
        """Say whether an object was whole within the last hour."""
        until = self._until.get(key)
        return until is not None and monotonic() < until

    def learn(self, key: str) -> None:
        """Note that an object was read, and is whole."""
        self._until.add(key, monotonic() + KNOWN_SECONDS)

    async def check(self, key: str, job: _Job) -> None:
        """Wait for a reading of an object, a new one if none is under way; raise what it raises."""
        task = self._checks.get(key)
        if task is None:
            task = self._checks[key] = asyncio.create_task(job())
            task.add_done_callback(lambda done: self._checked(key, done))
        await asyncio.shield(task)

    def _checked(self, key: str, task: asyncio.Task[object]) -> None:
        del self._checks[key]
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits any more

    def repair(self, key: str, job: _Job) -> None:
        """Begin the repair of an object that is damaged, unless that is under way."""
        self._until.remove(key)
        if key not in self._repairs:
            self._repairs[key] = asyncio.create_task(_repaired(key, job))
            self._repairs[key].add_done_callback(lambda _: self._repairs.pop(key))


async def _repaired(key: str, job: _Job) -> None:
    with suppress(asyncio.CancelledError):
        try:
            await job()
        except ArchiveError as error:
            _log.warning("object %s is damaged, and cannot be repaired now: %s", key, error)
        except Exception:
            _log.exception("the repair of object %s failed", key)
