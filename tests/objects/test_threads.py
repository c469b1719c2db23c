import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from app.objects.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2, "test")
    yield threads
    threads.close()


async def test_a_result_comes_back_from_another_thread(threads: Threads) -> None:
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    assert await threads.run(divmod, 7, 2) == (3, 1)


async def test_an_error_comes_back(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    assert await threads.run(divmod, 1, 1) == (1, 0)


async def test_calls_run_side_by_side(threads: Threads) -> None:
    barrier = threading.Barrier(2, timeout=10)
    met = await asyncio.gather(threads.run(barrier.wait), threads.run(barrier.wait))
    assert sorted(met) == [0, 1]


@pytest.mark.parametrize("fails", [True, False])
async def test_a_cancelled_caller_waits_for_the_end_of_the_call(
    threads: Threads, fails: bool
) -> None:
    ended = threading.Event()

    def slow() -> None:
        time.sleep(0.3)
        ended.set()
        if fails:
            raise RuntimeError("nobody asks any more")

    task = asyncio.create_task(threads.run(slow))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_closing_waits_for_what_was_begun() -> None:
    threads = Threads(1, "test")
    ended = threading.Event()

    def slow() -> None:
        time.sleep(0.2)
        ended.set()

    task = asyncio.create_task(threads.run(slow))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(threads.close)
    assert ended.is_set()
    await task
