"""What reads and puts note about lost or left objects, on its way to the queue in the index.

A read does not wait for that, and does not fail by it. What is noted twice is one thing; what a
kill takes from here the scrubber finds again.
"""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType

from app.errors import ArchiveError
from app.index.copies import add_tasks
from app.index.engine import Index
from app.index.quarantine import is_quarantined

MOST = 10_000
PAUSE_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Noted:
    """The notes of one process. `async with` it while stores are open."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._waiting: dict[tuple[str, str, str], None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def repair(self, store: str, key: str) -> None:
        """Note that a store has lost or damaged an object."""
        self._note("repair", store, key)

    def remove(self, store: str, key: str) -> None:
        """Note that an object that no row names may be left in a store."""
        self._note("remove", store, key)

    def _note(self, kind: str, store: str, key: str) -> None:
        if not is_quarantined(key) and len(self._waiting) < MOST:
            self._waiting[kind, store, key] = None
            self._wake.set()

    async def __aenter__(self) -> "Noted":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Queue what is noted still."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            await self.flush()
        except ArchiveError as fault:
            _log.warning("%d notes about objects are lost: %s", len(self._waiting), fault)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except ArchiveError as error:
                _log.warning("what was noted about objects waits: %s", error)
                self._wake.set()
            except Exception:
                _log.exception("noting about objects failed")
            await asyncio.sleep(PAUSE_SECONDS)

    async def flush(self) -> None:
        """Queue what is noted now.

        Raises:
            Unavailable: the index does not answer; it stays noted.
        """
        some = list(self._waiting)
        if some:
            await add_tasks(self._index, some)
            for one in some:
                self._waiting.pop(one, None)
