"""The storage commitments that one process works on, each in a task of its own."""

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from app.errors import ArchiveError
from app.index.commitments import let_go
from app.index.engine import Index

AT_ONCE = 2
"""Pages of items that a process verifies at a time. Commitments take turns by the page, so that a
small one does not wait for large ones."""


class Commitments:
    """Who works on what here. A request is answered after `patience` seconds at the latest, and
    its result is kept for `kept_seconds`."""

    def __init__(self, index: Index, patience: float, kept_seconds: float) -> None:
        self.patience = patience
        self.kept_seconds = kept_seconds
        self.holder = f"{os.getpid()} {secrets.token_hex(8)}"
        self._index = index
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.turns = asyncio.Semaphore(AT_ONCE)

    def begin(
        self, number: int, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Work on a commitment; the same task if that goes on already."""
        task = self._tasks.get(number)
        if task is None:
            task = self._tasks[number] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._tasks.pop(number, None))
        return task

    async def close(self) -> None:
        """Stop where it is, and leave the rest to others."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            with suppress(ArchiveError):
                await let_go(self._index, self.holder)
