"""Verifying the sealed log and the objects that it tells of, on the real index and store."""

from collections import Counter
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage
from sqlalchemy import text

from app.archive.context import Archive
from app.archive.examine import State
from app.archive.non_patient import delete_non_patient
from app.archive.pace import Pace
from app.archive.removal import delete
from app.archive.sealed_log import objects_told_of, verify_log, verify_told
from app.archive.store import store_instances
from app.archive.verify import Verified
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Unavailable
from app.objects.local import LocalStore
from app.rights import Principal
from tests.archive.test_backup import spoil
from tests.archive.test_purge import purge
from tests.archive.test_sealing import append, path_of, segments
from tests.archive.test_store import parts, store
from tests.archive.test_verify import files
from tests.factories import make_non_patient, make_part10, new_uid


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


async def log_of(archive: Archive) -> list[Verified]:
    return [verified async for verified in verify_log(archive, 1)]


async def told_by_log(archive: Archive) -> Counter[State]:
    """Seal what waits, then read all objects that the log tells of."""
    await archive.sealer.seal_waiting()
    told: Counter[State] = Counter()
    objects = [one for segment in await segments(archive) for one in objects_told_of(segment)]

    def tell(verified: Verified) -> None:
        told[verified.state] += 1

    await verify_told(archive, 1, objects, Pace(float("inf")), tell)
    return told


@pytest.fixture
async def three(archive: Archive) -> Archive:
    """An archive with three segments."""
    for kind in ("one", "two", "three"):
        await append(archive, kind, "more")
        await archive.sealer.seal_waiting()
    return archive


async def test_a_log_that_is_as_it_was_sealed_is_so(three: Archive) -> None:
    assert [one.state for one in await log_of(three)] == [State.SEALED] * 3


async def test_a_segment_that_is_gone_is_told_and_those_behind_it_are_sound(
    three: Archive, tmp_path: Path
) -> None:
    path_of(tmp_path, 2).unlink()
    found = await log_of(three)
    assert [one.state for one in found] == [State.SEALED, State.MISSING, State.SEALED]
    assert found[1].object_key.endswith("000000000002.json")


@pytest.mark.parametrize("harm", ["bytes", "entry", "another"])
async def test_a_segment_that_was_changed_is_told(
    three: Archive, tmp_path: Path, harm: str
) -> None:
    path = path_of(tmp_path, 2)
    data = path.read_bytes()
    changed = {
        "bytes": data[:-2],
        "entry": data.replace(b"tester", b"nobody"),
        "another": path_of(tmp_path, 1).read_bytes(),
    }
    path.chmod(0o600)
    path.write_bytes(changed[harm])
    states = [one.state for one in await log_of(three)]
    assert states[:2] == [State.SEALED, State.DAMAGED]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET actor = 'nobody' WHERE kind = 'two'",
        """UPDATE event SET payload = '{"study": "1.3"}' WHERE kind = 'two'""",
        "DELETE FROM event WHERE kind = 'two'",
        "UPDATE segment SET hash = root WHERE number = 2",
    ],
)
async def test_an_index_that_says_otherwise_is_told(three: Archive, change: str) -> None:
    async with three.transaction() as session:
        await session.execute(text(change))
    assert [one.state for one in await log_of(three)] == [
        State.SEALED,
        State.DAMAGED,
        State.SEALED,
    ]


@pytest.mark.parametrize(
    ("changes", "states"),
    [
        (["DELETE FROM segment WHERE number > 1"], [State.SEALED]),
        (
            [
                "DELETE FROM segment WHERE number = 3",
                "UPDATE event SET actor = 'nobody' WHERE kind = 'three'",
            ],
            [State.SEALED, State.SEALED, State.DAMAGED],
        ),
        (
            [
                "DELETE FROM segment WHERE number > 1",
                "DELETE FROM event WHERE kind = 'three'",
            ],
            [State.SEALED, State.DAMAGED],
        ),
        (
            ["DELETE FROM segment", "UPDATE event SET actor = 'nobody' WHERE kind = 'one'"],
            [State.DAMAGED],
        ),
    ],
)
async def test_an_index_that_forgot_what_was_sealed_may_not_say_otherwise(
    three: Archive, changes: list[str], states: list[State]
) -> None:
    async with three.transaction() as session:
        for change in changes:
            await session.execute(text(change))
    found = await log_of(three)
    assert [one.state for one in found] == states
    assert all("the index does not know" in one.detail for one in found if one.detail)


async def test_segments_of_a_store_that_does_not_answer_are_not_called_damaged(
    three: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("the object store does not answer")

    monkeypatch.setattr(LocalStore, "stream", fails)
    monkeypatch.setattr(LocalStore, "check", fails)
    with pytest.raises(Unavailable):
        await log_of(three)


async def test_all_objects_that_the_log_tells_of_are_read(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await store(archive, principal, *(make_part10() for _ in range(3)))
    dataset = make_non_patient(HangingProtocolStorage)
    stored = parts(make_part10(dataset))
    await store_instances(archive, principal, stored, NonPatientRef("hanging-protocols"))
    assert await told_by_log(archive) == {State.WHOLE: 4}
    first, second, *_ = files(tmp_path)
    first.unlink()
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.chmod(0o600)
    second.write_bytes(data)
    assert await told_by_log(archive) == {State.MISSING: 1, State.DAMAGED: 1, State.WHOLE: 2}


async def test_what_was_deleted_and_purged_is_not_missed(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.sealed_log._PAGE", 1)
    studies = [new_uid() for _ in range(3)]
    for study in studies:
        await store(archive, principal, make_part10(StudyInstanceUID=study))
    dataset = make_non_patient(HangingProtocolStorage)
    category = "hanging-protocols"
    await store_instances(archive, principal, parts(make_part10(dataset)), NonPatientRef(category))
    for study in studies[:2]:
        await delete(archive, principal, StudyRef(study))
    await delete_non_patient(archive, principal, category, str(dataset.SOPInstanceUID))
    assert await told_by_log(archive) == {State.WHOLE: 4}  # their bytes are kept
    assert len(await purge(archive, principal)) == 3
    assert await told_by_log(archive) == {State.WHOLE: 1}


async def test_a_purge_that_is_not_sealed_yet_excuses_nothing(
    archive: Archive, principal: Principal
) -> None:
    study = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=study))
    await delete(archive, principal, StudyRef(study))
    objects = [one for segment in await segments(archive) for one in objects_told_of(segment)]
    await purge(archive, principal)
    told: list[Verified] = []
    await verify_told(archive, 1, objects, Pace(float("inf")), told.append)
    assert [one.state for one in told] == [State.MISSING]


async def test_what_was_stored_again_and_lost_is_missed_in_spite_of_a_purge(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    again = make_part10()
    await store(archive, principal, again)
    (uid,) = {path.parts[-3] for path in files(tmp_path)}
    await delete(archive, principal, StudyRef(uid))
    await store(archive, principal, again)
    await purge(archive, principal)
    (left,) = files(tmp_path)
    left.unlink()
    assert await told_by_log(archive) == {State.MISSING: 1}


async def test_what_was_lost_and_came_again_is_not_missed(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    data = make_part10()
    await store(archive, principal, data)
    (lost,) = files(tmp_path)
    lost.unlink()
    assert await told_by_log(archive) == {State.MISSING: 1}
    await store(archive, principal, data)
    assert await told_by_log(archive) == {State.WHOLE: 1}


@pytest.mark.parametrize("then", ["gone", "bit"])
async def test_what_took_the_place_of_a_lost_one_is_read_in_its_stead(
    archive: Archive, principal: Principal, tmp_path: Path, then: str
) -> None:
    data = make_part10()
    await store(archive, principal, data)
    (first,) = files(tmp_path)
    first.unlink()
    await store(archive, principal, data)
    (second,) = files(tmp_path)
    if then == "gone":
        second.unlink()
    else:
        spoil(second)
    assert await told_by_log(archive) == {State.MISSING if then == "gone" else State.DAMAGED: 1}
