"""Threads for what blocks in the archive: each kind of work has its own (`app.turns.Work`)."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from app.turns import Work, asker

_Result = TypeVar("_Result")
_FEW = 2


class WorkThreads(ThreadPoolExecutor):
    """The event loop's executor: what is read has its threads, stores and jobs have others."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="read")
        self._others = {
            work: ThreadPoolExecutor(_FEW, thread_name_prefix=work)
            for work in (Work.STORE, Work.JOB)
        }

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> "Future[_Result]":
        """Run a call in a thread of the kind of work that it belongs to."""
        others = self._others.get(asker().work)
        if others is None:
            return super().submit(fn, *args, **kwargs)
        return others.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all threads."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        for others in self._others.values():
            others.shutdown(wait, cancel_futures=cancel_futures)
