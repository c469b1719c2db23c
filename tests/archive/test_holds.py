"""Legal holds: what is held stays, however it was to go, and no race slips by."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.archive.context import Archive
from app.archive.holds import find_hold, hold_study, list_holds, release_study
from app.archive.purge import purge_deleted
from app.archive.removal import delete, reject, restore, unconditional
from app.archive.restoring import list_deleted, restore_deleted
from app.dicom.uids import StudyRef
from app.errors import Conflict, Forbidden, Gone, InvalidRequest, NotFound
from app.index import holds, purging, removal
from app.index.events import Position, read_events
from app.index.purging import Deleted, forget
from app.index.purging import list_deleted as list_waiting
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

LATER = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


@pytest.fixture
async def study(archive: Archive, principal: Principal) -> str:
    uid = new_uid()
    await store(archive, principal, *(make_part10(StudyInstanceUID=uid) for _ in range(2)))
    return uid


async def purge(archive: Archive, principal: Principal) -> list[Deleted]:
    told: list[Deleted] = []
    before = datetime.now(UTC) + LATER
    await purge_deleted(archive, principal, before, told.append, really=True)
    return told


async def kinds(archive: Archive) -> list[str]:
    return [event.kind for event in await read_events(archive.index, 1, Position())]


async def is_waiting(task: "asyncio.Task[Any]") -> bool:
    await asyncio.sleep(0.3)
    return not task.done()


async def test_what_is_held_is_neither_deleted_nor_rejected_until_it_is_released(
    archive: Archive, principal: Principal, study: str
) -> None:  # D-09
    ref = StudyRef(study)
    await hold_study(archive, principal, study, "case 17")
    for doing in (
        delete(archive, principal, ref),
        reject(archive, principal, ref, "113001^DCM"),
    ):
        with pytest.raises(Conflict, match="under legal hold") as refused:
            await doing
        assert "case 17" not in str(refused.value)
    await release_study(archive, principal, study)
    assert await delete(archive, principal, ref) == 2
    assert await kinds(archive) == ["accepted", "held", "released", "removed"]


async def test_what_was_rejected_before_is_not_deleted_but_may_come_back(
    archive: Archive, principal: Principal, study: str
) -> None:
    await reject(archive, principal, StudyRef(study), "113001^DCM")
    await hold_study(archive, principal, study, "case 17")
    with pytest.raises(Conflict):
        await delete(archive, principal, StudyRef(study))
    assert await restore(archive, principal, StudyRef(study)) == 2


async def test_what_was_deleted_before_is_not_purged(
    archive: Archive, principal: Principal, study: str
) -> None:
    other = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=other))
    for uid in (study, other):
        await delete(archive, principal, StudyRef(uid))
    await hold_study(archive, principal, study, "case 17")
    assert {one.study for one in await purge(archive, principal)} == {other}
    (kept,) = await list_deleted(archive, principal, "", 10)
    assert (kept.study, kept.instances, kept.held) == (study, 2, True)
    assert (await restore_deleted(archive, principal, StudyRef(study))).instances == 2
    await release_study(archive, principal, study)
    await delete(archive, principal, StudyRef(study))
    assert len(await purge(archive, principal)) == 2


async def test_another_reason_takes_the_place_of_the_first_and_the_same_does_nothing(
    archive: Archive, principal: Principal, study: str
) -> None:
    first = await hold_study(archive, principal, study, " case 17 ")
    assert await hold_study(archive, principal, study, "case 17") == first
    second = await hold_study(archive, Principal("judge"), study, "case 18")
    assert (second.reason, second.by) == ("case 18", "judge")
    assert await list_holds(archive, principal, "", 10) == [second]
    assert await list_holds(archive, principal, study, 10) == []
    assert await kinds(archive) == ["accepted", "held", "held"]


async def test_who_may_not_administer_puts_none_and_sees_no_reason(
    archive: Archive, principal: Principal, study: str
) -> None:
    await hold_study(archive, principal, study, "case 17")
    clerk = Principal("clerk", verbs=frozenset({Verb.DELETE}))
    seen = await find_hold(archive, clerk, study)
    assert (seen.study, seen.reason, seen.by) == (study, "", "")
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW}))
    for doing in (
        hold_study(archive, clerk, study, "mine"),
        release_study(archive, clerk, study),
        list_holds(archive, clerk, "", 10),
        find_hold(archive, viewer, study),
    ):
        with pytest.raises(Forbidden):
            await doing
    stranger = Principal("stranger", Scope(studies=frozenset({"1.2"})))
    for hidden in (
        hold_study(archive, stranger, study, "mine"),
        release_study(archive, stranger, study),
        find_hold(archive, stranger, study),
        delete(archive, stranger, StudyRef(study)),
    ):
        with pytest.raises(NotFound):
            await hidden
    assert await list_holds(archive, stranger, "", 10) == []


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "a\0b"])
async def test_a_hold_has_a_reason_of_some_length(
    archive: Archive, principal: Principal, study: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest):
        await hold_study(archive, principal, study, reason)
    with pytest.raises(NotFound):
        await release_study(archive, principal, study)


async def test_what_was_never_here_is_not_held_and_what_was_purged_neither(
    archive: Archive, principal: Principal, study: str
) -> None:
    with pytest.raises(NotFound):
        await hold_study(archive, principal, new_uid(), "case 17")
    await delete(archive, principal, StudyRef(study))
    await purge(archive, principal)
    with pytest.raises(NotFound):
        await hold_study(archive, principal, study, "case 17")


async def test_a_deletion_waits_for_a_hold_that_is_being_put_on_and_is_refused(
    archive: Archive, principal: Principal, study: str
) -> None:
    async with archive.index.writing() as holding:
        await holding.fetchval(holds.LOCK, 1, study)
        await holding.fetchval(holds.PUT, 1, study, "case 17", "judge")
        deleting = asyncio.create_task(delete(archive, principal, StudyRef(study)))
        assert await is_waiting(deleting)
    with pytest.raises(Conflict, match="under legal hold"):
        await deleting


async def test_a_hold_waits_for_a_deletion_under_way_and_keeps_what_it_deleted(
    archive: Archive, principal: Principal, study: str
) -> None:
    async with archive.index.writing() as deleting:
        ref = StudyRef(study)
        assert await removal.remove(deleting, Scope(), ref, "x", removal.DELETED, unconditional)
        holding = asyncio.create_task(hold_study(archive, principal, study, "case 17"))
        assert await is_waiting(holding)
    await holding
    assert await purge(archive, principal) == []
    with pytest.raises((Conflict, Gone)):
        await delete(archive, principal, StudyRef(study))


async def test_a_purge_waits_for_a_hold_that_is_being_put_on_and_leaves_it_alone(
    archive: Archive, principal: Principal, study: str
) -> None:
    await delete(archive, principal, StudyRef(study))
    async with archive.index.writing() as holding:
        await holding.fetchval(holds.LOCK, 1, study)
        await holding.fetchval(holds.PUT, 1, study, "case 17", "judge")
        purging_ = asyncio.create_task(purge(archive, principal))
        assert await is_waiting(purging_)
    assert await purging_ == []


async def test_a_hold_waits_for_a_purge_under_way_and_then_there_is_nothing_to_hold(
    archive: Archive, principal: Principal, study: str
) -> None:
    await delete(archive, principal, StudyRef(study))
    table, before = "removed_instance", datetime.now(UTC) + LATER
    page = await list_waiting(archive.index, table, before)
    async with archive.index.writing() as connection:
        assert len(await forget(connection, table, before, page, "x")) == 2
        holding = asyncio.create_task(hold_study(archive, principal, study, "case 17"))
        assert await is_waiting(holding)
    with pytest.raises(NotFound):
        await holding


async def test_a_page_of_a_purge_has_held_and_free_studies(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "PAGE", 2)
    uids = [new_uid() for _ in range(5)]
    for uid in uids:
        await store(archive, principal, make_part10(StudyInstanceUID=uid))
        await delete(archive, principal, StudyRef(uid))
    for uid in uids[1::2]:
        await hold_study(archive, principal, uid, "case 17")
    assert [one.study for one in await purge(archive, principal)] == uids[::2]
