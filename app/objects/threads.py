"""Threads for calls that block. They are the object store's own, so nothing else waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class Threads:
    """A pool of threads; `close` it when done."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)

    async def run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Run `function` in a thread.

        A caller that is cancelled still waits for the end of what has begun, so that nothing is
        closed or removed under a thread that works on it.
        """
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._pool, function, *arguments)
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            if not job.cancelled():
                job.exception()  # seen
            raise

    def close(self) -> None:
        """Wait for all that was begun."""
        self._pool.shutdown()
