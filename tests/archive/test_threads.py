"""Each kind of work has threads of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from app.archive.threads import WorkThreads
from app.turns import Asker, Work, asked, asks


def in_threads(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(WorkThreads())
        await work()

    asyncio.run(run())


def begin(work: Work, call: Callable[[], object]) -> "asyncio.Task[object]":
    token = asks(Asker("somebody", work))
    try:
        return asyncio.create_task(asyncio.to_thread(call))
    finally:
        asked(token)


def test_jobs_and_stores_that_block_all_their_threads_keep_no_reader_waiting() -> None:
    async def work() -> None:
        go_on = threading.Event()
        blocked = [begin(kind, go_on.wait) for kind in (Work.JOB, Work.STORE) for _ in range(20)]
        try:
            name = await asyncio.wait_for(begin(Work.READ, _name), 20)
        finally:
            go_on.set()
        assert str(name).startswith("read")
        await asyncio.gather(*blocked)

    in_threads(work)


def _name() -> str:
    return threading.current_thread().name
