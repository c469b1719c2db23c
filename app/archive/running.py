"""Stores that are under way in this process, for the sweeper of any process to know of.

What a Store has put has no row until the request ends. A sweeper leaves alone what is young; of a
Store that takes longer than that, its process tells in the index again and again until it is over.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

from app.errors import ArchiveError
from app.index.engine import Index
from app.index.sweeping import tell_of_store

LONG_SECONDS = 600.0
"""Age from which a Store is told of. With `TELL_SECONDS` it is less than any sweeper's patience."""
TELL_SECONDS = 300.0
_log = logging.getLogger(__name__)


class RunningStores:
    """The Stores of one process, and since when each is running."""

    def __init__(self) -> None:
        self._begun: dict[object, float] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a Store while the block runs."""
        one = object()
        self._begun[one] = time.time()
        try:
            yield
        finally:
            del self._begun[one]

    def oldest(self) -> float | None:
        """Return when the oldest one began, in seconds since 1970."""
        return min(self._begun.values(), default=None)


@asynccontextmanager
async def running_stores_told(index: Index, running: RunningStores) -> AsyncIterator[None]:
    """Tell in the index of Stores that take long while the block runs."""
    process = f"{os.uname().nodename} {os.getpid()} {secrets.token_hex(4)}"
    telling = asyncio.create_task(_tell(index, running, process))
    try:
        yield
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


async def _tell(index: Index, running: RunningStores, process: str) -> None:
    told = False
    while True:
        await asyncio.sleep(TELL_SECONDS)
        oldest = running.oldest()
        long = oldest is not None and oldest < time.time() - LONG_SECONDS
        if not (long or told):
            continue
        # one second of room: the key of an object is made after the Store was noted
        since = datetime.fromtimestamp(oldest - 1, UTC) if long and oldest is not None else None
        try:
            await tell_of_store(index, process, since)
            told = long
        except ArchiveError as error:
            _log.warning("that a Store takes long could not be told to the index: %s", error)
