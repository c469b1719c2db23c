"""Turns are shared out in rotation, waited for in bounds, and never lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from app.errors import Busy
from app.turns import Asker, Shares, Turns, Work, asked, asker, asks, site_of

Log = list[str]


async def settle() -> None:
    """Let all tasks go on as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def begin(who: Asker, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
    async def run() -> None:
        await work()

    token = asks(who)
    try:
        return asyncio.create_task(run())
    finally:
        asked(token)


def work_of(turns: Turns, log: Log, name: str, end: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        async with turns.turn():
            log.append(name)
            await end.wait()

    return work


async def test_no_more_than_its_size_goes_on_at_once() -> None:
    turns, log, end = Turns("things", 2, 5), Log(), asyncio.Event()
    tasks = [begin(Asker("a"), work_of(turns, log, str(n), end)) for n in range(4)]
    await settle()
    assert (log, turns.used, turns.waiting) == (["0", "1"], 2, 2)
    end.set()
    await asyncio.gather(*tasks)
    assert (log, turns.used, turns.waiting) == (["0", "1", "2", "3"], 0, 0)


async def test_who_asks_for_one_waits_for_one_of_who_asks_for_many() -> None:
    turns, log = Turns("things", 1, 5), Log()
    end = asyncio.Event()
    end.set()
    await turns.take()
    many = [begin(Asker("many"), work_of(turns, log, f"m{n}", end)) for n in range(5)]
    await settle()
    one = begin(Asker("one"), work_of(turns, log, "one", end))
    await settle()
    turns.give_back("")
    await asyncio.gather(*many, one)
    assert log.index("one") == 1


async def test_nobody_has_more_than_a_share_and_others_find_room() -> None:
    turns, log, end = Turns("things", 4, 5, most_each=3), Log(), asyncio.Event()
    greedy = [begin(Asker("greedy"), work_of(turns, log, "g", end)) for _ in range(6)]
    await settle()
    assert (turns.used, turns.waiting) == (3, 3)
    other = begin(Asker("other"), work_of(turns, log, "other", end))
    await settle()
    assert log == ["g", "g", "g", "other"]
    end.set()
    await asyncio.gather(*greedy, other)
    assert (turns.used, turns.waiting) == (0, 0)


async def test_the_one_too_many_is_told_at_once_and_one_asker_fills_half_the_line() -> None:
    turns, end = Turns("things", 1, 60, most_waiting=4), asyncio.Event()
    await turns.take()
    first = [begin(Asker("a"), work_of(turns, [], "", end)) for _ in range(3)]
    await settle()
    assert (turns.waiting, turns.refused) == (2, 1)
    others = [begin(Asker(name), work_of(turns, [], "", end)) for name in "bcd"]
    await settle()
    assert (turns.waiting, turns.refused) == (4, 2)
    turns.give_back("")
    end.set()
    results = await asyncio.gather(*first, *others, return_exceptions=True)
    assert sum(isinstance(result, Busy) for result in results) == 2
    assert (turns.used, turns.waiting) == (0, 0)


async def test_who_waits_too_long_is_told() -> None:
    turns = Turns("things", 1, 0.05, most_waiting=4)
    await turns.take()
    with pytest.raises(Busy, match="as many things as it can do"):
        await asyncio.wait_for(begin(Asker("a"), lambda: _take(turns)), 20)
    assert (turns.used, turns.waiting, turns.refused) == (1, 0, 1)


async def _take(turns: Turns) -> None:
    await turns.take()


async def test_a_request_that_had_a_turn_waits_for_the_next_as_long_as_it_takes() -> None:
    turns, who = Turns("things", 1, 0.05, most_waiting=1), Asker("a")
    await begin(who, lambda: _take(turns))
    again = begin(who, lambda: _take(turns))
    await asyncio.sleep(0.2)
    assert not again.done()
    turns.give_back("a")
    await asyncio.wait_for(again, 20)
    assert (turns.used, turns.refused) == (1, 0)


async def test_a_turn_that_comes_to_who_has_gone_goes_on() -> None:
    turns, log, end = Turns("things", 1, 5), Log(), asyncio.Event()
    end.set()
    key = await turns.take()
    gone = begin(Asker("gone"), work_of(turns, log, "gone", end))
    next_one = begin(Asker("next"), work_of(turns, log, "next", end))
    await settle()
    turns.give_back(key)  # `gone` has it now, and is cancelled before it knows
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    await asyncio.wait_for(next_one, 20)
    assert (log, turns.used, turns.waiting) == (["next"], 0, 0)


async def test_who_has_gone_is_passed_over() -> None:
    turns, log, end = Turns("things", 1, 5), Log(), asyncio.Event()
    end.set()
    key = await turns.take()
    gone = begin(Asker("gone"), work_of(turns, log, "gone", end))
    next_one = begin(Asker("next"), work_of(turns, log, "next", end))
    await settle()
    gone.cancel()
    turns.give_back(key)  # before `gone` could take its place away
    with suppress(asyncio.CancelledError):
        await gone
    await asyncio.wait_for(next_one, 20)
    assert (log, turns.used, turns.waiting) == (["next"], 0, 0)


async def test_what_a_request_holds_it_holds_once_and_gives_back_at_its_end() -> None:
    turns, who = Turns("things", 3, 5), Asker("a")
    await who.hold(turns)
    await who.hold(turns)
    assert turns.used == 1
    who.end()
    who.end()
    assert turns.used == 0


async def test_the_archive_itself_holds_nothing() -> None:
    turns = Turns("things", 1, 5)
    await asker().hold(turns)
    assert turns.used == 0
    asker().turn_to(Work.STORE)
    assert asker().work is Work.READ


async def test_each_kind_of_work_has_turns_of_its_own() -> None:
    shares = Shares("things", 8, 5)
    for work in Work:
        token = asks(Asker(work=work))
        for _ in range(shares.of[work].size):
            await asyncio.wait_for(shares.mine().take(), 1)
        asked(token)
    assert shares.size == sum(turns.used for turns in shares.of.values()) == 16


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_of_ipv6_counts_as_its_network(address: str, site: str) -> None:
    assert site_of(address) == site
