"""What a process remembers for a while, and what it does not."""

import asyncio

import pytest

from app.archive import remembered
from app.archive.remembered import Remembered
from app.errors import Unauthenticated


class Looks:
    """Counts how often it is looked, and waits for `go`."""

    def __init__(self) -> None:
        self.times = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> int:
        self.times += 1
        await self.go.wait()
        return self.times


async def test_all_who_ask_at_once_wait_for_one_look() -> None:
    known, look = Remembered[int](), Looks()
    look.go.clear()
    asking = [asyncio.create_task(known.get("a", look)) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who goes away takes nothing from the others
    look.go.set()
    assert await asyncio.gather(*asking[1:]) == [1] * 4
    assert await known.get("a", look) == 1


async def test_it_is_looked_again_when_the_time_is_over() -> None:
    known, look = Remembered[int](0.05), Looks()
    assert [await known.get("a", look) for _ in range(3)] == [1, 1, 1]
    await asyncio.sleep(0.06)
    assert await known.get("a", look) == 2


async def test_the_time_counts_from_the_beginning_of_the_look() -> None:
    known, look = Remembered[int](0.05), Looks()
    look.go.clear()
    slow = asyncio.create_task(known.get("a", look))
    await asyncio.sleep(0.06)
    look.go.set()
    assert await slow == 1
    assert await known.get("a", look) == 2


async def test_what_is_forgotten_or_failed_is_looked_for_again() -> None:
    known, look = Remembered[int](), Looks()
    assert await known.get("a", look) == 1
    known.forget("a")
    assert await known.get("a", look) == 2

    async def fails() -> int:
        raise Unauthenticated("no")

    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await known.get("b", fails)
        await asyncio.sleep(0)
    assert await known.get("b", look) == 3


async def test_it_remembers_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 3)
    known, look = Remembered[int](), Looks()
    for key in "abc":
        await known.get(key, look)
    assert await known.get("d", look) == 4
    assert await known.get("a", look) == 5  # all were living, so all were thrown away
