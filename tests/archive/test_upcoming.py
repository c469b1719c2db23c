"""Series wait until they have come to rest."""

import asyncio

import pytest

from app.archive import upcoming
from app.archive.upcoming import Upcoming
from app.dicom.uids import SeriesRef

ONE, OTHER = SeriesRef("1", "1.1"), SeriesRef("1", "1.2")


async def test_the_series_that_rests_longest_comes_first() -> None:
    waiting = Upcoming(0.05, 0.01)
    waiting.note(1, ONE)
    waiting.note(2, OTHER)
    await asyncio.sleep(0.03)
    waiting.note(1, ONE)
    assert await waiting.next(lambda: True) == (2, OTHER)
    assert await waiting.next(lambda: True) == (1, ONE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting.next(lambda: True), 0.1)


async def test_nothing_comes_while_something_else_goes_on() -> None:
    waiting, idle = Upcoming(0, 0.01), False
    waiting.note(1, ONE)
    coming = asyncio.create_task(waiting.next(lambda: idle))
    await asyncio.sleep(0.1)
    assert not coming.done()
    idle = True
    assert await asyncio.wait_for(coming, 5) == (1, ONE)


async def test_a_store_into_one_series_holds_up_all() -> None:
    waiting = Upcoming(0, 0.3)
    waiting.note(1, ONE)
    coming = asyncio.create_task(waiting.next(lambda: True))
    for _ in range(5):
        await asyncio.sleep(0.1)
        waiting.note(1, OTHER)
    assert not coming.done()
    assert await asyncio.wait_for(coming, 5) == (1, ONE)


async def test_too_many_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upcoming, "MOST_SERIES", 1)
    waiting = Upcoming(0, 0)
    waiting.note(1, ONE)
    waiting.note(1, OTHER)
    assert await waiting.next(lambda: True) == (1, ONE)
    waiting.note(1, OTHER)
    assert await waiting.next(lambda: True) == (1, OTHER)
