"""Reads in the log: one entry for what differs, in time, and nothing lost in silence."""

import asyncio
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.archive import trail as trail_module
from app.archive.changes import read_changes
from app.archive.context import Archive, Place, open_archive
from app.archive.sealed_log import verify_log
from app.archive.trail import Access, Trail, access_of
from app.errors import Unavailable
from app.index.engine import Index
from app.index.events import Event, Position, read_events
from app.index.reads import DOWNLOADED, READS, VIEWED, append_reads
from app.index.segments import last_segment, tenants_waiting
from app.rights import Principal
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.waiting import until

ONE = Principal("one", kind="key")


def seen(study: str = "1.2.3", **more: Any) -> Access:
    return access_of(ONE, VIEWED, study)._replace(**more)


async def reads(index: Index) -> list[Event]:
    return [one for one in await read_events(index, 1, Position(), 9999) if one.kind in READS]


async def test_a_read_is_in_the_log_before_the_wait_for_it_ends(archive: Archive) -> None:
    access = seen(address="192.0.2.7", asked=("PatientID",))
    assert await archive.trail.kept(archive.trail.note(access, "viewer/1 " + "x" * 500))
    (event,) = await reads(archive.index)
    assert (event.kind, event.actor) == ("viewed", "one")
    agent = event.payload["agent"]
    assert agent.startswith("viewer/1 ")
    assert len(agent) == trail_module.LONGEST
    assert {**event.payload, "agent": ""} == {
        "by": "key",
        "study": "1.2.3",
        "address": "192.0.2.7",
        "asked": ["PatientID"],
        "agent": "",
    }


async def test_many_frames_of_a_minute_are_one_entry_and_its_sum(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Trail(index) as trail:
        assert await trail.kept(trail.note(seen()))
        for _ in range(99):
            assert trail.note(seen()) is None  # nothing to wait for
        assert [one.payload.get("count") for one in await reads(index)] == [None]
    first, total = await reads(index)
    assert total.payload["count"] == 100
    assert datetime.fromisoformat(total.payload["first"]) == first.at
    last = datetime.fromisoformat(total.payload["last"])
    assert first.at <= last <= total.at + timedelta(seconds=1)


async def test_reads_that_follow_at_hand_are_counted_until_the_interval_is_over(
    index: Index,
) -> None:
    async with Trail(index) as trail:
        noted = trail.note(seen())
        interval = trail.interval(seen())
        assert interval is not None
        assert not interval.again()  # the first one is not in the log yet
        assert await trail.kept(noted)
        assert all(interval.again() for _ in range(9))
    assert not interval.again()
    assert [one.payload.get("count") for one in await reads(index)] == [None, 10]


async def test_what_differs_has_an_entry_of_its_own(archive: Archive) -> None:
    different = [
        seen(),
        seen(study="1.2.4"),
        seen(address="192.0.2.1"),
        seen(principal="two"),
        seen(action=DOWNLOADED),
        seen(tenant_id=1, asked=("Modality",)),
    ]
    written = [archive.trail.note(one) for one in different]
    assert all([await archive.trail.kept(one) for one in written])
    assert len(await reads(archive.index)) == len(different)


async def test_an_interval_that_is_over_is_summed_up_while_the_archive_runs(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "INTERVAL_SECONDS", 1.0)
    monkeypatch.setattr(trail_module, "LOOK_SECONDS", 0.02)
    trail = archive.trail
    await trail.kept(trail.note(seen()))
    trail.note(seen())

    async def is_summed() -> bool:
        return len(await reads(archive.index)) == 2

    await until(is_summed)
    assert [one.payload.get("count", 1) for one in await reads(archive.index)] == [1, 2]
    assert await trail.kept(trail.note(seen()))  # a new one begins
    assert len(await reads(archive.index)) == 3


async def test_no_number_of_different_reads_fills_the_memory(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "MOST", 10)
    async with Trail(index) as trail:
        for number in range(30):
            trail.note(seen(study=f"1.{number}"))
            trail.note(seen(study=f"1.{number}"))
            assert len(trail._open) <= 10
    counts = [one.payload.get("count", 1) for one in await reads(index)]
    assert sorted(counts) == [1] * 30 + [2] * 30


async def test_reads_that_come_together_share_a_statement(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    append = append_reads

    async def counted(to: Index, group: Any) -> datetime:
        sizes.append(len(group))
        return await append(to, group)

    monkeypatch.setattr(trail_module, "append_reads", counted)
    async with Trail(index) as trail:
        written = [trail.note(seen(study=f"1.{number}")) for number in range(700)]
        assert all(await asyncio.gather(*map(trail.kept, written)))
    assert len(sizes) <= 3
    assert len(await reads(index)) == 700


async def test_what_cannot_be_written_is_counted_and_loud_and_then_written_anew(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[int] = []

    async def fail(*_: object) -> datetime:
        raise Unavailable("the index does not answer")

    async with Trail(index) as trail:
        trail.on_lost = lost.append
        with monkeypatch.context() as patch:
            patch.setattr(trail_module, "append_reads", fail)
            both = [trail.note(seen()), trail.note(seen())]
            assert [await trail.kept(one) for one in both] == [False, False]
            with pytest.raises(Unavailable, match="audit trail"):
                await trail.write(seen())
        assert lost == [2, 1]
        assert "2 reads are not in the audit trail" in caplog.text
        await trail.write(seen())
    assert len(await reads(index)) == 1


async def test_a_sum_that_cannot_be_written_is_counted(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> datetime:
        raise Unavailable("the index does not answer")

    lost: list[int] = []
    async with Trail(index) as trail:
        trail.on_lost = lost.append
        await trail.write(seen())
        for _ in range(3):
            await trail.write(seen())
        monkeypatch.setattr(trail_module, "append_reads", fail)
    assert lost == [3]
    assert len(await reads(index)) == 1


async def test_nobody_waits_for_ever(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail_module, "WAIT_SECONDS", 0.05)
    go, append = asyncio.Event(), append_reads

    async def slow(to: Index, group: Any) -> datetime:
        await go.wait()
        return await append(to, group)

    monkeypatch.setattr(trail_module, "append_reads", slow)
    lost: list[int] = []
    async with Trail(index) as trail:
        trail.on_lost = lost.append
        waiting = [trail.note(seen()) for _ in range(3)]
        assert await asyncio.gather(*map(trail.kept, waiting)) == [False] * 3
        assert sum(lost) == 3
        go.set()
    assert [one.payload.get("count", 1) for one in await reads(index)] == [1, 3]


async def test_a_fault_of_ours_ends_no_other_entry(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with Trail(index) as trail:
            odd = seen(address="\ud800")  # no text that can be sent
            assert not await trail.kept(trail.note(odd))
            assert await trail.kept(trail.note(seen()))
    assert "could not be logged" in caplog.text


async def test_reads_are_sealed_with_all_else_and_verified(
    archive: Archive, principal: Principal
) -> None:
    study = new_uid()
    await archive.trail.write(seen(study=study))
    await store(archive, principal, make_part10(StudyInstanceUID=study))
    await archive.trail.write(seen(study=study, action=DOWNLOADED))
    assert await archive.sealer.seal_waiting() == 1
    last = await last_segment(archive.index, 1)
    assert last is not None
    assert last.entries == 3
    found = [one async for one in verify_log(archive, 1)]
    assert [(one.state, one.detail) for one in found] == [("sealed", "")]
    await archive.index.fetch("UPDATE event SET actor = 'nobody' WHERE kind = 'viewed'")
    found = [one async for one in verify_log(archive, 1)]
    assert "entries are not those of the index" in found[0].detail


async def test_reads_alone_are_sealed_once_a_minute(archive: Archive) -> None:
    await archive.trail.write(seen())
    assert await tenants_waiting(archive.index) == []
    assert await archive.sealer.seal_waiting() == 0
    await archive.index.fetch("UPDATE event SET at = at - interval '61 s'")
    assert await archive.sealer.seal_waiting() == 1


async def test_who_follows_changes_learns_of_no_read(
    archive: Archive, principal: Principal
) -> None:
    for number in range(7):
        await archive.trail.write(seen(study=f"1.{number}"))
    await store(archive, principal, make_part10())
    await archive.trail.write(seen(action=DOWNLOADED))
    for limit in (1, 2, 1000):
        events, place = await read_changes(archive, principal, Position(), limit, 0)
        assert [event.kind for event in events] == ["accepted"]
        assert (await read_changes(archive, principal, place, limit, 0))[0] == []


async def test_what_was_read_is_known_to_a_process_that_starts_later(
    database_url: str, tmp_path: Path
) -> None:
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache")
    async with open_archive(place) as archive:
        archive.trail.note(seen())
        archive.trail.note(seen())
    async with open_archive(place) as archive:
        assert [one.payload.get("count", 1) for one in await reads(archive.index)] == [1, 2]
