"""What a process remembers of who may ask: each thing for a while, then it is looked up again.

A hot request must not ask the index who it is of, and what is withdrawn must not count for long.
Whoever withdraws a key or a user commits, waits for `LEASE_SECONDS`, and only then answers: by that
time no process remembers the old state.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Generic, TypeVar

LEASE_SECONDS = 1.0
MOST = 2_000

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_Value]):
    """The time counts from when it was begun to look: what was seen may be as old as that."""

    expires: float
    looking: asyncio.Task[_Value]


class Remembered(Generic[_Value]):
    """Values by key, each for `seconds`; who asks for one that is being looked up waits for it."""

    def __init__(self, seconds: float = LEASE_SECONDS) -> None:
        self._seconds = seconds
        self._entries: dict[object, _Entry[_Value]] = {}

    async def get(self, key: object, look: Callable[[], Coroutine[Any, Any, _Value]]) -> _Value:
        """Return what is remembered, or what `look` finds, whose errors are not remembered."""
        entry = self._entries.get(key)
        if entry is None or entry.expires <= monotonic():
            entry = self._begin(key, look)
        if entry.looking.done():
            return entry.looking.result()
        return await asyncio.shield(entry.looking)

    def forget(self, key: object) -> None:
        """Look it up the next time."""
        self._entries.pop(key, None)

    def _begin(
        self, key: object, look: Callable[[], Coroutine[Any, Any, _Value]]
    ) -> _Entry[_Value]:
        now = monotonic()
        if len(self._entries) >= MOST:
            living = {one: it for one, it in self._entries.items() if it.expires > now}
            self._entries = living if len(living) < MOST else {}
        entry = _Entry(now + self._seconds, asyncio.create_task(look()))
        self._entries[key] = entry
        entry.looking.add_done_callback(partial(self._ended, key))
        return entry

    def _ended(self, key: object, looking: asyncio.Task[_Value]) -> None:
        failed = looking.cancelled() or looking.exception() is not None
        entry = self._entries.get(key)
        if failed and entry is not None and entry.looking is looking:
            del self._entries[key]
