"""Waiting for the log: everybody is woken, nothing is missed, and it costs one query."""

import asyncio
from typing import Any

import pytest

from app.archive import watching
from app.archive.changes import follow_changes, read_changes
from app.archive.context import Archive
from app.archive.watching import Watch
from app.errors import Forbidden, Unavailable
from app.index.engine import Index, open_index
from app.index.events import Event, Position, append_event, newest_final
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.waiting import until


async def append(index: Index, *kinds: str, tenant_id: int = 1) -> None:
    async with index.transaction() as session:
        for kind in kinds:
            await append_event(session, tenant_id, "tester", kind, {})


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are run, as they come."""
    statements: list[str] = []
    for name in ("fetch", "fetchrow"):
        real = getattr(Index, name)

        def told(index: Index, sql: str, *arguments: object, real: Any = real) -> Any:
            statements.append(sql)
            return real(index, sql, *arguments)

        monkeypatch.setattr(Index, name, told)
    return statements


async def test_another_process_wakes_all_who_wait(
    archive: Archive, principal: Principal, database_url: str
) -> None:
    waiting = [
        asyncio.create_task(read_changes(archive, principal, Position(), 10, 30)) for _ in range(20)
    ]

    async def all_wait() -> bool:
        return archive.watch.count == 20

    await until(all_wait)
    other = await open_index(database_url)
    await append(other, "elsewhere")
    await other.close()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert [kinds(events) for events, _ in answers] == [["elsewhere"]] * 20
    assert archive.watch.count == 0


async def test_many_who_wait_ask_as_often_as_one(
    archive: Archive, principal: Principal, asked: list[str]
) -> None:
    waiting = [
        asyncio.create_task(read_changes(archive, principal, Position(), 10, 1.2))
        for _ in range(50)
    ]
    await asyncio.gather(*waiting)
    assert 52 <= len(asked) <= 100  # each reads once when it comes, then all together
    before = len(asked)
    await asyncio.sleep(1.2)
    assert len(asked) == before  # nobody waits


async def test_nothing_is_missed_by_who_follows_while_many_write(
    archive: Archive, principal: Principal, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    count, seen = 120, list[str]()
    other = await open_index(database_url, pool_size=8)

    async def write(number: int) -> None:
        async with other.transaction() as session:
            await append_event(session, 1, "tester", f"{number}", {})
            await asyncio.sleep((number * 7 % 10) / 200)  # who began later may commit earlier

    async def follow() -> None:
        async for events, _ in await follow_changes(archive, principal, Position()):
            seen.extend(kinds(events))
            if len(seen) >= count:
                return

    following = asyncio.create_task(follow())
    await asyncio.gather(*map(write, range(count)))
    await asyncio.wait_for(following, 20)
    await other.close()
    assert sorted(seen, key=int) == [str(number) for number in range(count)]


async def test_what_others_do_wakes_nobody_for_good(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    mine = new_uid()
    site = Principal("site", scope=Scope(studies=frozenset({mine})))
    waiting = asyncio.create_task(read_changes(archive, site, Position(), 1, 20))
    for study in (new_uid(), new_uid(), mine):
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await store(archive, principal, make_part10(StudyInstanceUID=study))
    events, _ = await asyncio.wait_for(waiting, 10)
    assert [event.payload["study"] for event in events] == [mine]


async def test_a_wait_is_not_longer_than_asked(archive: Archive, principal: Principal) -> None:
    events, place = await asyncio.wait_for(read_changes(archive, principal, Position(), 10, 0.3), 5)
    assert (events, place) == ([], Position())


async def test_an_index_that_does_not_answer_ends_a_stream_and_no_wait(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    real, failing = newest_final, 3

    async def fails(index: Index) -> Position:
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise Unavailable("no answer")
        return await real(index)

    monkeypatch.setattr(watching, "newest_final", fails)
    waiting = asyncio.create_task(read_changes(archive, principal, Position(), 10, 20))
    await asyncio.sleep(0.03)
    await append(archive.index, "done")
    events, place = await asyncio.wait_for(waiting, 10)
    assert kinds(events) == ["done"]
    assert failing < 0

    async def never(*_: object) -> list[Event]:
        raise Unavailable("no answer")

    monkeypatch.setattr(watching, "read_events", never)
    assert [one async for one in await follow_changes(archive, principal, Position())] == []
    with pytest.raises(Unavailable):
        await read_changes(archive, principal, place, 10, 0.3)


async def test_there_is_room_for_so_many(archive: Archive, principal: Principal) -> None:
    watch = Watch(archive.index, 1)
    with watch.place(), pytest.raises(Unavailable, match="Too many"), watch.place():
        pass
    with watch.place():
        assert watch.count == 1
    await watch.close()
    nobody = Principal("nobody", verbs=frozenset({Verb.STORE}))
    with pytest.raises(Forbidden):
        await follow_changes(archive, nobody, Position())


async def test_who_waits_is_let_go_at_the_end(archive: Archive, principal: Principal) -> None:
    waiting = asyncio.create_task(read_changes(archive, principal, Position(), 10, 60))

    async def is_waiting() -> bool:
        return archive.watch.count == 1

    await until(is_waiting)
    archive.watch.end()
    assert await asyncio.wait_for(waiting, 5) == ([], Position())
    again = read_changes(archive, principal, Position(), 10, 60)
    assert await asyncio.wait_for(again, 5) == ([], Position())
    assert [one async for one in await follow_changes(archive, principal, Position())] == []
