"""Purge on the real index and local objects."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage

from app.archive import verify
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.non_patient import delete_non_patient
from app.archive.purge import purge_deleted
from app.archive.removal import delete, reject, restore
from app.archive.store import store_instances
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Forbidden, Unavailable
from app.index import purging
from app.index.events import Position, read_events
from app.index.purging import Deleted
from app.objects.local import LocalStore
from app.rights import Principal, Verb
from tests.archive.test_store import parts, store
from tests.archive.test_verify import files, found
from tests.factories import make_non_patient, make_part10, new_uid


async def purge(
    archive: Archive, principal: Principal, before: datetime | None = None, *, really: bool = True
) -> list[Deleted]:
    told: list[Deleted] = []
    before = before or datetime.now(UTC) + timedelta(minutes=1)
    await purge_deleted(archive, principal, before, told.append, really=really)
    return told


@pytest.fixture
async def studies(archive: Archive, principal: Principal) -> list[str]:
    """Three Studies of two Instances: the first deleted, the second rejected, the third there."""
    uids = [new_uid() for _ in range(3)]
    for uid in uids:
        await store(archive, principal, *(make_part10(StudyInstanceUID=uid) for _ in range(2)))
    await delete(archive, principal, StudyRef(uids[0]))
    await reject(archive, principal, StudyRef(uids[1]), "113001^DCM")
    return uids


async def test_what_is_deleted_gives_back_its_bytes_and_nothing_else(
    archive: Archive,
    principal: Principal,
    studies: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(purging, "PAGE", 1)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    preview = await purge(archive, principal, really=False)
    assert {one.study for one in preview} == {studies[0]}
    assert len(files(tmp_path)) == 6
    assert await purge(archive, principal) == preview
    assert len(files(tmp_path)) == 4
    assert await purge(archive, principal) == []
    assert set(await found(archive)) == {State.WHOLE}
    events = await read_events(archive.index, 1, Position())
    purged = [event.payload for event in events if event.kind == "purged"]
    assert [one["study"] for one in purged] == [studies[0]] * 2
    assert await restore(archive, principal, StudyRef(studies[1])) == 2


async def test_what_was_deleted_lately_stays(
    archive: Archive, principal: Principal, studies: list[str]
) -> None:
    assert await purge(archive, principal, datetime.now(UTC) - timedelta(days=1)) == []


async def test_what_was_stored_anew_keeps_its_bytes(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    again = make_part10()
    await store(archive, principal, again)
    (uid,) = {path.parts[-3] for path in files(tmp_path)}
    await delete(archive, principal, StudyRef(uid))
    await store(archive, principal, again)
    assert len(files(tmp_path)) == 2
    assert len(await purge(archive, principal)) == 1
    assert [path.read_bytes() for path in files(tmp_path)] == [again]
    assert set(await found(archive)) == {State.WHOLE}


async def test_instances_of_no_patient_are_purged_too(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    dataset = make_non_patient(HangingProtocolStorage)
    category, uid = "hanging-protocols", str(dataset.SOPInstanceUID)
    stored = parts(make_part10(dataset))
    await store_instances(archive, principal, stored, NonPatientRef(category))
    await delete_non_patient(archive, principal, category, uid)
    assert [one.instance for one in await purge(archive, principal)] == [uid]
    assert files(tmp_path) == []


async def test_a_store_that_fails_leaves_bytes_without_a_row_never_the_reverse(
    archive: Archive, principal: Principal, studies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the object store does not answer")

    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "delete", fails)
        with pytest.raises(Unavailable):
            await purge(archive, principal)
    told = await found(archive)
    assert (len(told[State.UNNAMED]), len(told[State.WHOLE])) == (2, 4)
    assert State.MISSING not in told


async def test_only_administrators_purge(archive: Archive) -> None:
    clerk = Principal("clerk", verbs=frozenset({Verb.DELETE}))
    with pytest.raises(Forbidden):
        await purge(archive, clerk)
