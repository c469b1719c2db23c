"""What the archive does by itself: at its time, in one process, and at nobody's cost."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.archive import retention, upkeep
from app.archive.context import Archive
from app.archive.purge import purge_deleted
from app.archive.removal import delete
from app.archive.upkeep import kept_up
from app.dicom.uids import StudyRef
from app.errors import Unavailable
from app.index import purging
from app.index.engine import Index
from app.index.events import Position, read_events
from app.index.purging import forget_deleted
from app.index.upkeep import begin_upkeep, leave_upkeep, renew_upkeep
from app.objects.local import LocalStore
from app.rights import Principal
from tests.archive.test_retention import DELETE_OLD, live, make_rule, make_study
from tests.archive.test_store import store
from tests.archive.test_verify import files
from tests.factories import make_part10, new_uid
from tests.waiting import until


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for anything."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0)
    monkeypatch.setattr(upkeep, "READ_SECONDS", 0)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)


async def delete_one(archive: Archive) -> str:
    uid = new_uid()
    await store(archive, Principal("test"), make_part10(StudyInstanceUID=uid))
    await delete(archive, Principal("test"), StudyRef(uid))
    return uid


async def until_gone(tmp_path: Path, count: int = 0) -> None:
    async def gone() -> bool:
        return len(files(tmp_path)) <= count

    await until(gone)


async def test_what_was_deleted_is_purged_when_its_days_are_over(
    archive: Archive, tmp_path: Path
) -> None:
    old = await delete_one(archive)
    await archive.index.fetch("UPDATE removed_instance SET removed_at = now() - interval '8 days'")
    await delete_one(archive)
    async with kept_up(replace(archive, deleted_days=7), rules=True):
        await until_gone(tmp_path, 1)
        await asyncio.sleep(0.2)
    assert len(files(tmp_path)) == 1
    events = await read_events(archive.index, 1, Position())
    purged = [(event.actor, event.payload["study"]) for event in events if event.kind == "purged"]
    assert purged == [("retention", old)]


async def test_no_days_at_all_purge_at_once(archive: Archive, tmp_path: Path) -> None:
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await delete_one(archive)
        await until_gone(tmp_path)
    assert not await archive.index.fetch("SELECT FROM removed_instance")


async def test_what_may_still_be_read_is_not_purged_at_once(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "READ_SECONDS", 0.5)
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await delete_one(archive)
        await asyncio.sleep(0.3)
        assert len(files(tmp_path)) == 1
        await until_gone(tmp_path)


async def test_without_days_nothing_is_purged(archive: Archive, tmp_path: Path) -> None:
    await delete_one(archive)
    assert archive.deleted_days is None
    async with kept_up(archive, rules=True):
        await asyncio.sleep(0.3)
    assert len(files(tmp_path)) == 1


async def test_rules_act_once_a_day(archive: Archive) -> None:
    async def nothing_lives() -> bool:
        return not await live(archive)

    await make_rule(archive, DELETE_OLD)
    await make_study(archive)
    async with kept_up(archive, rules=True):
        await until(nothing_lives)
        again = await make_study(archive)
        await asyncio.sleep(0.3)
        assert await live(archive) == {again}
        await archive.index.fetch("UPDATE upkeep SET done_at = done_at - interval '25 hours'")
        await until(nothing_lives)


async def test_rules_that_are_switched_off_do_nothing(archive: Archive) -> None:
    await make_rule(archive, DELETE_OLD)
    study = await make_study(archive)
    async with kept_up(archive, rules=False):
        await asyncio.sleep(0.3)
    assert await live(archive) == {study}


@pytest.mark.parametrize("error", [Unavailable("no answer"), KeyError("a bug")])
async def test_a_fault_puts_it_off_and_no_more(
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    await delete_one(archive)
    failing = 3

    async def fails(*arguments: Any, **named: Any) -> None:
        nonlocal failing
        if failing:
            failing -= 1
            raise error
        await purge_deleted(*arguments, **named)

    monkeypatch.setattr(upkeep, "purge_deleted", fails)
    async with kept_up(replace(archive, deleted_days=0), rules=True):
        await until_gone(tmp_path)
    levels = [record.levelno for record in caplog.records if record.name == upkeep.__name__]
    expected = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
    assert levels.count(expected) == 3


async def test_a_store_that_does_not_answer_loses_no_row(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the object store does not answer")

    await delete_one(archive)
    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "check", fails)
        async with kept_up(replace(archive, deleted_days=0), rules=False):
            await asyncio.sleep(0.3)
        rows = await archive.index.fetch("SELECT FROM removed_instance")
        assert (len(rows), len(files(tmp_path))) == (1, 1)
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await until_gone(tmp_path)


async def test_it_stops_between_two_pages_and_leaves_nothing_half_done(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "PAGE", 2)
    for _ in range(6):
        await delete_one(archive)
    began = asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        began.set()
        await asyncio.sleep(0.2)
        return await forget_deleted(*arguments)

    monkeypatch.setattr("app.archive.purge.forget_deleted", slow)
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await began.wait()
    rows = await archive.index.fetch("SELECT object_key FROM removed_instance")
    assert len(rows) == len(files(tmp_path)) == 4
    assert not await archive.index.fetch(
        "SELECT FROM upkeep WHERE done_at IS NOT NULL AND name <> 'clock'"
    )


async def test_one_that_does_not_stop_is_stopped(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "STOP_SECONDS", 0.1)
    began = asyncio.Event()

    async def endless(*_: object, **__: object) -> None:
        began.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(upkeep, "purge_deleted", endless)
    async with asyncio.timeout(5), kept_up(replace(archive, deleted_days=0), rules=False):
        await began.wait()
    assert not await archive.index.fetch(
        "SELECT FROM upkeep WHERE done_at IS NOT NULL AND name <> 'clock'"
    )


async def test_one_process_is_at_it_until_its_lease_is_over(index: Index) -> None:
    assert await begin_upkeep(index, "purge", "one", 60)
    assert not await begin_upkeep(index, "purge", "two", 60)
    assert await begin_upkeep(index, "rules", "two", 60)
    assert await renew_upkeep(index, "purge", "one")
    assert not await renew_upkeep(index, "purge", "two")
    await index.fetch("UPDATE upkeep SET held_until = now() - interval '1 second'")
    assert await begin_upkeep(index, "purge", "two", 60)
    assert not await renew_upkeep(index, "purge", "one")
    await leave_upkeep(index, "purge", "one", done=True)  # which it is not any more
    assert not await begin_upkeep(index, "purge", "one", 0)
    await leave_upkeep(index, "purge", "two", done=False)
    assert await begin_upkeep(index, "purge", "one", 60)
    await leave_upkeep(index, "purge", "one", done=True)
    assert not await begin_upkeep(index, "purge", "one", 60)
    assert await begin_upkeep(index, "purge", "one", 0)
