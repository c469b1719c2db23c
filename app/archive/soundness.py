"""What one process knows of the bytes of objects: that they are those that were stored.

A part of an object has no digest. So before a part is given out the whole object is read, if that
was not done lately; whoever asks meanwhile waits for the same reading. A large one has digests
of its blocks (`blocks`): those of the part are read.
What was read is believed no more once the store shows that it was written to (its stamp).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

from app.errors import ArchiveError
from app.objects.recent import Recent

KNOWN_SECONDS = 3600.0
REPAIR_SECONDS = 60.0
"""Between two attempts to repair the same object."""
_MOST_KNOWN = 65_536
_MOST_DIGESTS = 32
"""Large objects whose blocks' digests are in memory, a quarter of a mebibyte for 8 GB."""
_log = logging.getLogger(__name__)

_Job = Callable[[], Coroutine[Any, Any, object]]


class Soundness:
    """The objects, or blocks of them, that were read lately, by key. For one event loop."""

    def __init__(self) -> None:
        self.digests: Recent[bytes, bytes] = Recent(_MOST_DIGESTS)
        """The digests of the blocks of large objects, by their own."""
        self._known: Recent[str, tuple[int, float]] = Recent(_MOST_KNOWN)
        self._blocks: Recent[tuple[str, int], tuple[int, float]] = Recent(_MOST_KNOWN)
        self._tried: Recent[str, float] = Recent(_MOST_KNOWN)
        self._checks: dict[str, asyncio.Task[object]] = {}
        self._repairs: dict[str, asyncio.Task[object]] = {}

    async def close(self) -> None:
        """End what is under way."""
        tasks = [*self._checks.values(), *self._repairs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def knows(self, key: str, stamp: int | None) -> bool:
        """Say whether an object with this stamp was whole within the last hour."""
        return _is_of(self._known.get(key), stamp)

    def learn(self, key: str, stamp: int) -> None:
        """Note that an object was read while it had a stamp, and is whole."""
        self._known.add(key, (stamp, monotonic() + KNOWN_SECONDS))

    def knows_blocks(self, key: str, stamp: int | None, blocks: Iterable[int]) -> bool:
        """Say whether blocks of an object with this stamp were sound within the last hour."""
        return all(_is_of(self._blocks.get((key, number)), stamp) for number in blocks)

    def learn_blocks(self, key: str, stamp: int, blocks: Iterable[int]) -> None:
        """Note that blocks of an object were read while it had a stamp, and are sound."""
        until = monotonic() + KNOWN_SECONDS
        for number in blocks:
            self._blocks.add((key, number), (stamp, until))

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
        """Begin the repair of an object that may be damaged, unless that was begun just now."""
        self._known.remove(key)
        tried, now = self._tried.get(key), monotonic()
        if key not in self._repairs and (tried is None or now - tried > REPAIR_SECONDS):
            self._tried.add(key, now)
            self._repairs[key] = asyncio.create_task(_repaired(key, job))
            self._repairs[key].add_done_callback(lambda _: self._repairs.pop(key))


def _is_of(known: tuple[int, float] | None, stamp: int | None) -> bool:
    """Say whether what is known is of this stamp, and not of long ago."""
    return known is not None and known[0] == stamp and monotonic() < known[1]


async def _repaired(key: str, job: _Job) -> None:
    with suppress(asyncio.CancelledError):
        try:
            await job()
        except ArchiveError as error:
            _log.warning("object %s may be damaged, and cannot be looked at now: %s", key, error)
        except Exception:
            _log.exception("the repair of object %s failed", key)
