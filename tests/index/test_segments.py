"""Turns of sealers: one at a time, which nobody else has to wait for."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import Unavailable
from app.index.engine import Index
from app.index.events import Position, read_events
from app.index.segments import (
    LAG,
    PAGE,
    WAITING,
    SegmentRow,
    find_segment,
    last_segment,
    list_segments,
    newest_position,
    seal_lag,
    seal_lag_of,
    take_turn,
    tenants_waiting,
    time_between_seals,
)
from tests.index.test_events import append, kinds

DAY = datetime(2026, 1, 31, tzinfo=UTC)


def make_row(number: int, first: Position, last: Position) -> SegmentRow:
    at = DAY + timedelta(seconds=number)
    return SegmentRow(number, first, last, 1, b"root", b"hash", at, 1, f"log/1/{number}.json")


async def test_one_has_the_turn_and_the_next_one_goes_on_from_it(index: Index) -> None:
    await append(index, "a", "b")
    async with take_turn(index, 1) as turn:
        assert turn is not None
        assert turn.last is None
        assert kinds(await turn.read(9)) == ["a", "b"]
        first = (await turn.read(1))[0].position
        async with take_turn(index, 1) as second, take_turn(index, 2) as elsewhere:
            assert second is None
            assert elsewhere is not None
        await turn.add(make_row(1, first, first))
    async with take_turn(index, 1) as turn:
        assert turn is not None
        assert turn.last == await last_segment(index, 1) == make_row(1, first, first)
        assert kinds(await turn.read(9)) == ["b"]


async def test_who_has_the_turn_holds_back_no_reader(index: Index) -> None:
    async with take_turn(index, 1) as turn:
        assert turn is not None
        await append(index, "a")
        assert kinds(await read_events(index, 1, Position())) == ["a"]
        assert kinds(await turn.read(9)) == ["a"]


async def test_a_turn_that_ends_in_an_error_leaves_nothing(index: Index) -> None:
    async def die() -> None:
        async with take_turn(index, 1) as turn:
            assert turn is not None
            await turn.add(make_row(1, Position(1, 1), Position(1, 1)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await die()
    assert await last_segment(index, 1) is None
    async with take_turn(index, 1) as turn:
        assert turn is not None


async def test_a_number_is_given_once(index: Index) -> None:
    async def take() -> None:
        async with take_turn(index, 1) as turn:
            assert turn is not None
            await turn.add(make_row(1, Position(1, 1), Position(1, 1)))

    await take()
    with pytest.raises(Unavailable, match="faster"):
        await take()


async def test_the_time_between_seals_is_after_those_that_were_under_way(index: Index) -> None:
    async with take_turn(index, 1) as turn:
        assert turn is not None
        asked = asyncio.create_task(time_between_seals(index, 1))
        await asyncio.sleep(0.1)
        assert not asked.done()
        sealed_at = await turn.now()
    assert sealed_at < await asked


async def test_what_waits_and_for_how_long_is_known(index: Index) -> None:
    assert await tenants_waiting(index) == []
    assert await seal_lag(index) == 0
    assert await newest_position(index, 1) == Position()
    await append(index, "a", "b")
    await index.fetch("UPDATE event SET at = at - interval '50 s' WHERE kind = 'a'")
    assert await tenants_waiting(index) == [1]
    assert 50 <= await seal_lag(index) < 60
    events = await read_events(index, 1, Position())
    assert await newest_position(index, 1) == events[-1].position
    for number, event in enumerate(events, start=1):
        async with take_turn(index, 1) as turn:
            assert turn is not None
            await turn.add(make_row(number, event.position, event.position))
        assert await tenants_waiting(index) == [1] * (2 - number)
        assert await seal_lag(index) < 50


@pytest.mark.parametrize("statement", [WAITING, LAG])
async def test_what_is_asked_once_a_second_reads_the_end_of_the_log_alone(
    index: Index, statement: str
) -> None:
    await append(index, "a")
    plan = "\n".join(row[0] for row in await index.fetch(f"EXPLAIN {statement}"))
    (scan,) = plan.split("Index Scan using event_order")[1:]
    assert "Index Cond: (" in scan
    assert "ROW(xid, id) > ROW(" in scan
    assert "Sort" not in scan
    assert "Merge" not in plan
    assert "Join Filter" not in plan


def test_the_lag_is_known_where_no_event_loop_runs(database_url: str) -> None:
    assert seal_lag_of(database_url) == 0


async def test_a_segment_is_found_by_a_position_in_it(index: Index) -> None:
    rows = [
        make_row(1, Position(5, 1), Position(7, 3)),
        make_row(2, Position(7, 4), Position(7, 9)),
        make_row(3, Position(9, 10), Position(9, 10)),
    ]
    for row in rows:
        async with take_turn(index, 1) as turn:
            assert turn is not None
            await turn.add(row)
    for position, number in (
        (Position(5, 1), 1),
        (Position(7, 2), 1),
        (Position(7, 3), 1),
        (Position(7, 4), 2),
        (Position(9, 10), 3),
    ):
        found = await find_segment(index, 1, position)
        assert found is not None
        assert found.number == number
    assert await find_segment(index, 1, Position(9, 11)) is None
    assert await find_segment(index, 2, Position(7, 3)) is None
    assert [row async for row in list_segments(index, 1)] == rows
    between = (DAY + timedelta(seconds=2), DAY + timedelta(seconds=4))
    assert [row async for row in list_segments(index, 1, between)] == rows[1:]
    assert [row async for row in list_segments(index, 1, between, 2)] == rows[1:2]


async def test_long_lists_come_in_pages(index: Index) -> None:
    async with take_turn(index, 1) as turn:
        assert turn is not None
        for number in range(1, PAGE + 3):
            place = Position(number, 1)
            await turn.add(make_row(number, place, place))
    assert len([row async for row in list_segments(index, 1)]) == PAGE + 2
