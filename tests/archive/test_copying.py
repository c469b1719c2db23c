"""The queue of copies: what is stored reaches a copy that is filled later, whatever happens."""

import asyncio
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage

from app.archive import copying, repair
from app.archive.context import Archive, Place, open_archive
from app.archive.copying import copies_kept, work_on
from app.archive.examine import State
from app.archive.findings import count_safety
from app.archive.noted import Noted
from app.archive.removal import delete
from app.archive.store import store_instances
from app.archive.stores import stores_of
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Unavailable
from app.index.copies import add_tasks, claim_tasks, fill, is_filled, list_queues
from app.objects.base import new_attempt, object_key
from app.objects.bucket import CopyPlace
from app.objects.local import LocalStore
from app.objects.replicated import ReplicatedStore
from app.rights import Principal
from tests.archive.test_purge import purge
from tests.archive.test_repair import holdings, key_of, lose, stored
from tests.archive.test_store import parts, store
from tests.archive.test_verify import found
from tests.factories import make_dataset, make_non_patient, make_part10


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "LEASE_SECONDS", 0.0)


async def make_due(archive: Archive) -> None:
    await archive.index.fetch("UPDATE copy_task SET next_try = now()")


def silence(monkeypatch: pytest.MonkeyPatch, store: object) -> None:
    async def silent(*_: object) -> None:
        raise Unavailable("no answer")

    for name in ("put", "delete", "size", "check"):
        monkeypatch.setattr(store, name, silent)


async def test_what_is_stored_is_queued_with_its_row_and_then_copied(
    followed: Archive, principal: Principal
) -> None:
    data = make_part10()
    ref = await stored(followed, principal, data)
    (queue,) = await list_queues(followed.index)
    assert (queue.store, queue.waiting, queue.dead) == ("later", 1, 0)
    assert await holdings(followed, "later") == {}
    assert set(await found(followed)) == {State.WHOLE, State.WAITING}
    assert await work_on(followed, "later") == 1
    assert await holdings(followed, "later") == {await key_of(followed, ref): data}
    assert await list_queues(followed.index) == []
    assert set(await found(followed)) == {State.WHOLE}


async def test_instances_of_no_patient_are_copied_as_well(
    followed: Archive, principal: Principal
) -> None:
    data = make_part10(make_non_patient(HangingProtocolStorage))
    await store_instances(followed, principal, parts(data), NonPatientRef("hanging-protocols"))
    await work_on(followed, "later")
    assert list((await holdings(followed, "later")).values()) == [data]


async def test_without_such_a_copy_nothing_is_queued(
    archive: Archive, principal: Principal
) -> None:
    await store(archive, principal, make_part10())
    assert await list_queues(archive.index) == []


async def test_a_copy_that_does_not_answer_loses_nothing(
    followed: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_part10()
    await stored(followed, principal, data)
    with monkeypatch.context() as down:
        silence(down, stores_of(followed.objects)["later"])
        for _ in range(3):
            await make_due(followed)
            with pytest.raises(Unavailable):
                await work_on(followed, "later")
    safety = await count_safety(followed)
    (queue,) = safety.queues
    assert (queue.waiting, queue.dead, queue.last_error) == (1, 0, "no answer")
    assert queue.lag >= 0
    assert await work_on(followed, "later") == 0  # its time has not come
    await make_due(followed)
    assert await work_on(followed, "later") == 1
    assert list((await holdings(followed, "later")).values()) == [data]


async def test_a_task_that_failed_often_is_told_of_and_still_tried(
    followed: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(followed, principal, make_part10())
    await followed.index.fetch("UPDATE copy_task SET tries = 11")

    async def bug(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(copying, "_do", bug)
        assert await work_on(followed, "later") == 1
    (queue,) = await list_queues(followed.index)
    assert (queue.dead, queue.last_error) == (1, "KeyError")
    await make_due(followed)
    await work_on(followed, "later")
    assert await list_queues(followed.index) == []


async def test_a_claimed_task_is_nobody_elses_until_the_claim_runs_out(
    followed: Archive, principal: Principal
) -> None:
    await stored(followed, principal, make_part10())
    assert len(await claim_tasks(followed.index, "later", 5)) == 1
    assert await claim_tasks(followed.index, "later", 5) == []
    await make_due(followed)  # its holder was killed
    assert await work_on(followed, "later") == 1


async def test_what_is_there_already_is_not_put_again(
    followed: Archive, principal: Principal
) -> None:
    ref = await stored(followed, principal, make_part10())
    await work_on(followed, "later")
    await add_tasks(followed.index, [("copy", "later", await key_of(followed, ref))])
    await work_on(followed, "later")
    assert await list_queues(followed.index) == []
    assert set(await found(followed)) == {State.WHOLE}


async def test_an_object_that_is_purged_meanwhile_leaves_nothing(
    followed: Archive, principal: Principal
) -> None:
    dataset = make_dataset()
    await stored(followed, principal, make_part10(dataset))
    await delete(followed, principal, StudyRef(dataset.StudyInstanceUID))
    assert len(await purge(followed, principal)) == 1
    await work_on(followed, "later")
    assert await holdings(followed, "later") == {}
    assert await list_queues(followed.index) == []


async def test_purge_takes_an_object_from_all_stores(
    followed: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = [make_dataset(), make_dataset()]
    for dataset in datasets:
        await stored(followed, principal, make_part10(dataset))
    await work_on(followed, "later")
    await delete(followed, principal, StudyRef(datasets[0].StudyInstanceUID))
    await purge(followed, principal)
    assert len(await holdings(followed, "later")) == 1
    await delete(followed, principal, StudyRef(datasets[1].StudyInstanceUID))
    with monkeypatch.context() as down:
        silence(down, stores_of(followed.objects)["later"])
        await purge(followed, principal)
    assert isinstance(followed.objects, ReplicatedStore)
    assert isinstance(followed.objects._notes, Noted)
    await followed.objects._notes.flush()
    assert len(await holdings(followed, "later")) == 1
    await work_on(followed, "later")
    assert await holdings(followed, "later") == {}


async def test_what_a_row_names_is_never_removed(followed: Archive, principal: Principal) -> None:
    ref = await stored(followed, principal, make_part10())
    await work_on(followed, "later")
    await add_tasks(followed.index, [("remove", "later", await key_of(followed, ref))])
    await work_on(followed, "later")
    assert set(await found(followed)) == {State.WHOLE}


async def test_the_copy_repairs_the_first_store(followed: Archive, principal: Principal) -> None:
    data = make_part10()
    ref = await stored(followed, principal, data)
    await work_on(followed, "later")
    key = await key_of(followed, ref)
    await lose(followed, "first", key, "bit")
    await add_tasks(followed.index, [("repair", "first", key)])
    await work_on(followed, "first")
    await work_on(followed, "later")  # the new object is to be copied, too
    again = await key_of(followed, ref)
    assert (await holdings(followed, "first"))[again] == data
    assert await holdings(followed, "later") == {key: data, again: data}  # one is the sweeper's


async def test_what_is_lost_before_it_was_copied_is_quarantined(
    followed: Archive, principal: Principal
) -> None:
    ref = await stored(followed, principal, make_part10())
    await lose(followed, "first", await key_of(followed, ref), "bit")
    await work_on(followed, "later")
    assert set(await found(followed)) == {State.QUARANTINED}
    assert await holdings(followed, "later") == {}


async def test_a_new_copy_of_an_old_archive_is_filled_by_itself(
    database_url: str, tmp_path: Path, later: CopyPlace, principal: Principal
) -> None:
    made = [make_part10() for _ in range(9)]
    places = [
        Place(database_url, tmp_path / "objects", tmp_path / "cache", copies=copies)
        for copies in ((), (later,))
    ]
    async with open_archive(places[0]) as archive:
        await store(archive, principal, *made)
    async with open_archive(places[1]) as archive, copies_kept(archive):
        await store(archive, principal, make_part10())
        for _ in range(200):
            if await is_filled(archive.index, "later") and not await list_queues(archive.index):
                break
            await asyncio.sleep(0.05)
        assert set(await found(archive)) == {State.WHOLE}
        assert len(await holdings(archive, "later")) == 10
        assert await fill(archive.index, "later") == 10  # again, by hand


async def test_the_keeper_of_a_store_survives_errors(
    followed: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "SHORT_PAUSE", 0.01)
    monkeypatch.setattr(copying, "LONG_PAUSE", 0.02)
    faults: list[Exception] = [Unavailable("no answer"), KeyError("a bug")]
    work = work_on

    async def faulty(archive: Archive, name: str) -> int:
        if faults:
            raise faults.pop()
        return await work(archive, name)

    monkeypatch.setattr(copying, "work_on", faulty)
    await stored(followed, principal, make_part10())
    async with copies_kept(followed):
        for _ in range(200):
            if not await list_queues(followed.index):
                break
            await asyncio.sleep(0.02)
    assert faults == []
    assert set(await found(followed)) == {State.WHOLE}


async def test_a_copy_beside_a_damaged_one_ends_in_a_repair(
    followed: Archive, principal: Principal, tmp_path: Path
) -> None:
    data = make_part10()
    ref = await stored(followed, principal, data)
    key = await key_of(followed, ref)
    path = tmp_path / "later" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(data[:-1])
    await work_on(followed, "later")
    (queue,) = await list_queues(followed.index)
    assert "cannot be read as a whole" in queue.last_error
    assert set(await found(followed)) == {State.WHOLE, State.WAITING}


async def test_notes_wait_for_an_index_that_does_not_answer(
    followed: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = object_key(1, "1.2", "1.2.3", "1.2.3.4", new_attempt())
    faults = [Unavailable("no answer")]
    add = add_tasks

    async def faulty(*arguments: object) -> None:
        if faults:
            raise faults.pop()
        await add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("app.archive.noted.add_tasks", faulty)
    monkeypatch.setattr("app.archive.noted.PAUSE_SECONDS", 0.01)
    async with Noted(followed.index) as noted:
        noted.repair("first", key)
        noted.repair("first", key)
        await asyncio.sleep(0.3)
        (queue,) = await list_queues(followed.index)
        assert queue.waiting == 1
    await work_on(followed, "first")  # nothing is kept under this key
    assert await list_queues(followed.index) == []
    assert isinstance(stores_of(followed.objects)["later"], LocalStore)
