"""Verify on the real index and local objects: all that is wrong is found, and nothing else."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage
from sqlalchemy import text

from app.archive import verify
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.removal import delete
from app.archive.store import store_instances
from app.archive.verify import Verified, Wanted, verify_objects
from app.dicom.uids import NonPatientRef, StudyRef
from app.objects.base import attempted_at, new_attempt, non_patient_key, object_key
from app.rights import Principal
from tests.archive.test_store import parts, store
from tests.factories import make_non_patient, make_part10, new_uid

ALL = Wanted()


@pytest.fixture
async def study(archive: Archive, principal: Principal) -> str:
    uid = new_uid()
    await store(archive, principal, *(make_part10(StudyInstanceUID=uid) for _ in range(3)))
    return uid


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "objects" / "t").rglob("*.dcm"))


async def found(archive: Archive, wanted: Wanted = ALL) -> dict[State, list[Verified]]:
    told: dict[State, list[Verified]] = {}

    def tell(one: Verified) -> None:
        told.setdefault(one.state, []).append(one)

    await verify_objects(archive, wanted, tell)
    return told


async def test_what_is_whole_is_whole(archive: Archive, study: str) -> None:
    told = await found(archive)
    assert {state: len(all_) for state, all_ in told.items()} == {State.WHOLE: 3}
    assert {one.study for one in told[State.WHOLE]} == {study}


async def test_one_bit_is_enough(archive: Archive, study: str, tmp_path: Path) -> None:
    victim, *_ = files(tmp_path)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(data)
    told = await found(archive)
    (damaged,) = told[State.DAMAGED]
    assert damaged.object_key == str(victim.relative_to(tmp_path / "objects"))
    assert victim.name.startswith(damaged.instance)
    assert "SHA-256" in damaged.detail
    assert len(told[State.WHOLE]) == 2


@pytest.mark.parametrize("change", [-1, 1])
async def test_too_few_or_too_many_bytes_are_damage(
    archive: Archive, study: str, tmp_path: Path, change: int
) -> None:
    victim, *_ = files(tmp_path)
    data = victim.read_bytes()
    victim.chmod(0o600)
    victim.write_bytes(data + b"x" if change > 0 else data[:change])
    assert len((await found(archive))[State.DAMAGED]) == 1


async def test_what_is_missing_is_told(archive: Archive, study: str, tmp_path: Path) -> None:
    files(tmp_path)[0].unlink()
    told = await found(archive)
    assert len(told[State.MISSING]) == 1
    assert len(told[State.WHOLE]) == 2


async def test_what_was_removed_is_verified_and_named(
    archive: Archive,
    principal: Principal,
    study: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    await delete(archive, principal, StudyRef(study))
    files(tmp_path)[0].unlink()
    told = await found(archive)
    assert {state: len(all_) for state, all_ in told.items()} == {State.MISSING: 1, State.WHOLE: 2}


async def test_old_bytes_that_no_row_names_are_told(
    archive: Archive, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = object_key(1, study, "1.2", "1.2.3", new_attempt())
    stray = tmp_path / "objects" / key
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    (tmp_path / "objects" / "t" / "notes.txt").write_text("by hand")
    assert [one.object_key for one in (await found(archive))[State.UNNAMED]] == ["t/notes.txt"]
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    monkeypatch.setattr(verify, "_PAGE", 2)
    told = (await found(archive))[State.UNNAMED]
    assert {one.object_key for one in told} == {"t/notes.txt", key}
    assert {one.instance for one in told} == {"", "1.2.3"}
    assert State.UNNAMED not in await found(archive, Wanted(study=new_uid()))
    assert len((await found(archive, Wanted(study=study)))[State.UNNAMED]) == 1


async def test_an_older_description_is_told(archive: Archive, study: str) -> None:
    async with archive.transaction() as session:
        await session.execute(text("UPDATE instance SET derived_version = derived_version - 1"))
    assert len((await found(archive))[State.OUTDATED]) == 3


async def test_what_is_wanted_alone_is_read(
    archive: Archive, principal: Principal, study: str
) -> None:
    await store(archive, principal, make_part10())
    assert len((await found(archive, Wanted(study=study)))[State.WHOLE]) == 3
    now = datetime.now(UTC)
    assert await found(archive, Wanted(since=now + timedelta(minutes=1))) == {}
    assert len((await found(archive, Wanted(since=now - timedelta(hours=1))))[State.WHOLE]) == 4


async def test_a_rate_is_kept(archive: Archive, study: str, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in files(tmp_path))
    began = time.monotonic()
    await found(archive, Wanted(rate=size * 2))
    assert time.monotonic() - began > 0.4


def test_an_attempt_says_when_it_was() -> None:
    assert abs(attempted_at(new_attempt()) - time.time()) < 5


async def test_instances_of_no_patient_are_verified_and_named(
    archive: Archive, principal: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    made = [make_part10(make_non_patient(HangingProtocolStorage)) for _ in range(2)]
    await store_instances(archive, principal, parts(*made), NonPatientRef("hanging-protocols"))
    assert len((await found(archive))[State.WHOLE]) == 2
    stray = tmp_path / "objects" / non_patient_key(1, "hanging-protocols", "1.2", new_attempt())
    stray.write_bytes(b"stray")
    told = await found(archive)
    assert [one.instance for one in told[State.UNNAMED]] == ["1.2"]
    assert len(told[State.WHOLE]) == 2
