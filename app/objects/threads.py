"""Threads for calls that block. They are the object store's own, so nothing else waits for them.

A hop to a thread and back is on the way of every Instance that is stored, so this is no
ThreadPoolExecutor: its two futures, with a lock and a condition in each, cost more than hashing a
small Instance does.
"""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class _Job(Generic[_Result]):
    """A call, and the future that its caller awaits."""

    __slots__ = ("_arguments", "_function", "_future", "_loop", "ended")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[..., _Result],
        arguments: tuple[object, ...],
    ) -> None:
        self._loop = loop
        self._function = function
        self._arguments = arguments
        self._future: asyncio.Future[_Result] = loop.create_future()
        self.ended = False

    def run(self) -> None:
        """Make the call. For a worker."""
        error: BaseException | None = None
        result = None
        try:
            result = self._function(*self._arguments)
        except BaseException as raised:
            error = raised
        self._loop.call_soon_threadsafe(self._end, result, error)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.ended = True
        if self._future.done():  # its caller was cancelled
            return
        if error is None:
            self._future.set_result(result)
        else:
            self._future.set_exception(error)

    async def result(self) -> _Result:
        """Wait for the end of the call, even if cancelled before."""
        try:
            return await self._future
        except asyncio.CancelledError:
            while not self.ended:
                self._future = self._loop.create_future()
                await asyncio.wait([self._future])
            if not self._future.cancelled():
                self._future.exception()  # seen
            raise


class Threads:
    """A few threads; `close` them when done."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # and what it holds, before the next one comes

    async def run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Run `function` in a thread.

        A caller that is cancelled still waits for the end of what was begun, so that nothing is
        closed or removed under a thread that works on it.
        """
        job = _Job(asyncio.get_running_loop(), function, arguments)
        self._jobs.put(job)  # type: ignore[arg-type]
        return await job.result()

    def close(self) -> None:
        """Wait for all that was begun."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
