"""What a rebuild finds nowhere whole is known as lost, and never given out as good."""

import asyncio
import time
from pathlib import Path

import pytest

from app.archive.context import Archive, Place, open_archive
from app.archive.copying import work_on
from app.archive.examine import State
from app.archive.findings import list_findings
from app.archive.rebuild import Outcome
from app.archive.removal import delete, reject
from app.archive.scrubbing import look_at_quarantine
from app.archive.sweep import Swept, sweep_unnamed
from app.archive.verify import Wanted
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Damaged, NotFound
from app.index.migrations import migrate
from app.index.stock import take_stock
from app.objects.base import new_attempt
from app.objects.bucket import CopyPlace
from app.rights import Principal, Scope
from tests.archive.test_backup import spoil
from tests.archive.test_purge import purge
from tests.archive.test_rebuild import content, outcomes, rebuilt
from tests.archive.test_store import store
from tests.archive.test_verify import files, found
from tests.factories import make_part10, new_uid


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("removal", "repair"):
        monkeypatch.setattr(f"app.archive.{module}.LEASE_SECONDS", 0)


async def test_what_is_lost_is_known_as_such_until_it_is_sent_again(
    archive: Archive,
    again: Archive,
    principal: Principal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.archive.sweep.SHORTEST_GRACE", -60)
    made = [make_part10() for _ in range(3)]
    await store(archive, principal, *made)
    deleted = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=deleted))
    await delete(archive, principal, StudyRef(deleted))
    await archive.sealer.seal_waiting()
    rows = await archive.index.fetch(
        "SELECT object_key, sop_instance_uid FROM instance ORDER BY id"
    )
    for row in rows[:2]:
        spoil(tmp_path / "objects" / row["object_key"])
    (removed,) = await archive.index.fetch("SELECT object_key FROM removed_instance")
    (tmp_path / "objects" / removed["object_key"]).unlink()
    assert outcomes(await rebuilt(again, principal)) == {Outcome.LIVE: 1, Outcome.LOST: 3}
    findings = await list_findings(again, principal, 0, 10)
    assert [(one.state, one.store, one.object_key, one.instance) for one in findings] == [
        ("lost", "", *row) for row in rows[:2]
    ]
    assert "first: its bytes are not those that were accepted" in findings[0].detail
    assert set(await found(again)) == {State.WHOLE, State.LOST}
    await look_at_quarantine(again)
    swept: list[Swept] = []
    await sweep_unnamed(again, principal, -60, swept.append, really=True)
    assert (len(await list_findings(again, principal, 0, 10)), swept) == (2, [])
    report = await store(again, principal, made[0])
    assert not report.failed
    await look_at_quarantine(again)
    (left,) = await list_findings(again, principal, 0, 10)
    assert left.object_key == rows[1]["object_key"]
    (still,) = (await found(again, Wanted(study=left.study)))[State.LOST]
    assert still.instance == rows[1]["sop_instance_uid"]
    ref = InstanceRef(left.study, left.object_key.split("/")[5], left.instance)
    for one in (ref, SeriesRef(ref.study, ref.series), StudyRef(ref.study)):
        with pytest.raises(Damaged, match="is lost; send it again, or delete it"):
            await take_stock(again.index, Scope(), one)
        with pytest.raises(NotFound):
            await take_stock(again.index, Scope(studies=frozenset({"1.2"})), one)
    assert await delete(again, principal, ref) == 1
    assert await list_findings(again, principal, 0, 10) == []
    with pytest.raises(NotFound):
        await delete(again, principal, ref)


async def test_what_was_lost_and_came_again_is_live_in_the_next_index(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path
) -> None:
    data = make_part10()
    await store(archive, principal, data)
    (lost,) = files(tmp_path)
    async with archive.index.writing() as connection:  # as a rebuild without it would have it
        for table in ("instance", "series", "study"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608
    archive.index.known.clear()
    await store(archive, principal, data)
    lost.unlink()
    await archive.sealer.seal_waiting()
    assert outcomes(await rebuilt(again, principal)) == {Outcome.LIVE: 1}
    assert await list_findings(again, principal, 0, 10) == []


@pytest.mark.parametrize("then", ["stays", "deleted", "lost", "deleted and lost"])
async def test_an_object_that_another_one_took_the_place_of_is_never_admitted(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path, then: str
) -> None:
    study = new_uid()
    data = make_part10(StudyInstanceUID=study)
    await store(archive, principal, data)
    (damaged,) = files(tmp_path)
    spoil(damaged)
    assert set(await found(archive, Wanted(repair=True))) == {State.QUARANTINED}
    assert not (await store(archive, principal, data)).failed
    (good,) = set(files(tmp_path)) - {damaged}
    if "deleted" in then:
        await delete(archive, principal, StudyRef(study))
    await archive.sealer.seal_waiting()
    before = await content(archive)
    if "lost" in then:
        good.unlink()
    expected = {"stays": Outcome.LIVE, "deleted": Outcome.REMOVED}.get(then, Outcome.LOST)
    assert outcomes(await rebuilt(again, principal)) == {expected: 1}
    if "lost" not in then:
        assert await content(again) == before
    else:
        assert not await again.index.fetch("SELECT FROM instance")


async def test_what_was_mended_after_its_deletion_comes_back_as_deleted(
    replicated: Archive, again: Archive, principal: Principal, tmp_path: Path
) -> None:
    study = new_uid()
    await store(replicated, principal, make_part10(StudyInstanceUID=study))
    await delete(replicated, principal, StudyRef(study))
    (damaged,) = files(tmp_path)
    spoil(damaged)
    assert set(await found(replicated, Wanted(repair=True))) == {State.REPAIRED}
    await replicated.sealer.seal_waiting()
    assert outcomes(await rebuilt(again, principal)) == {Outcome.REMOVED: 1}


async def test_what_one_store_has_damaged_comes_from_another(
    followed: Archive,
    principal: Principal,
    later: CopyPlace,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    await store(followed, principal, *(make_part10() for _ in range(2)))
    while await work_on(followed, "later"):
        pass
    await followed.sealer.seal_waiting()
    damaged, missing = files(tmp_path)
    spoil(damaged)
    missing.unlink()
    await asyncio.to_thread(migrate, empty_database_url)
    place = Place(
        empty_database_url, tmp_path / "objects", tmp_path / "cache-again", copies=[later]
    )
    async with open_archive(place) as again:
        assert outcomes(await rebuilt(again, principal)) == {Outcome.LIVE: 2}
        assert await list_findings(again, principal, 0, 10) == []


def left_behind(first: Path, data: bytes) -> None:
    """Leave what a store leaves that is killed between its put and its commit."""
    uid = first.name.rpartition(".")[0].rpartition(".")[0]
    other = first.with_name(f"{uid}.{new_attempt()}.dcm")
    other.write_bytes(data)


@pytest.mark.parametrize("how", ["deleted", "purged", "rejected"])
async def test_what_a_killed_store_left_of_what_was_removed_later_stays_removed(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path, how: str
) -> None:
    study = new_uid()
    data = make_part10(StudyInstanceUID=study)
    await store(archive, principal, data)
    (first,) = files(tmp_path)
    left_behind(first, data)
    if how == "rejected":
        await reject(archive, principal, StudyRef(study), "113001^DCM")
    else:
        await delete(archive, principal, StudyRef(study))
    if how == "purged":
        assert len(await purge(archive, principal)) == 1
        assert not first.exists()
    await archive.sealer.seal_waiting()
    told = await rebuilt(again, principal)
    assert outcomes(told)[Outcome.LEFT_OUT] == 1
    assert Outcome.ADMITTED not in outcomes(told)
    assert not await again.index.fetch("SELECT FROM instance")


async def test_what_was_stored_again_after_its_deletion_and_is_not_sealed_is_admitted(
    archive: Archive, again: Archive, principal: Principal
) -> None:
    study = new_uid()
    data = make_part10(StudyInstanceUID=study)
    await store(archive, principal, data)
    await delete(archive, principal, StudyRef(study))
    await archive.sealer.seal_waiting()
    await store(archive, principal, data)
    assert outcomes(await rebuilt(again, principal)) == {Outcome.REMOVED: 1, Outcome.ADMITTED: 1}
    assert len(await again.index.fetch("SELECT FROM instance")) == 1


async def test_an_object_of_a_time_to_come_is_left_out(
    archive: Archive, again: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(archive, principal, make_part10())
    await archive.sealer.seal_waiting()
    now = time.time_ns()
    with monkeypatch.context() as patch:
        patch.setattr("app.objects.base.time.time_ns", lambda: now + 2 * 3600 * 10**9)
        await store(archive, principal, make_part10())
    told = await rebuilt(again, principal)
    assert outcomes(told) == {Outcome.LIVE: 1, Outcome.LEFT_OUT: 1}
    assert "its name is of a time to come" in {one.detail for one in told}


async def test_a_clock_that_was_set_back_leaves_nothing_out(
    archive: Archive, again: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(archive, principal, make_part10())
    await archive.sealer.seal_waiting()
    await store(archive, principal, make_part10())
    now = time.time()
    monkeypatch.setattr("app.archive.rebuild.time.time", lambda: now - 10 * 3600)
    assert outcomes(await rebuilt(again, principal)) == {Outcome.LIVE: 1, Outcome.ADMITTED: 1}


@pytest.mark.parametrize("same", [True, False])
async def test_only_the_bytes_that_were_accepted_come_for_a_lost_object(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path, same: bool
) -> None:
    study, series, uid = new_uid(), new_uid(), new_uid()
    one, other = (
        make_part10(
            StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid, PatientName=name
        )
        for name in ("One^One", "Other^One")
    )
    await store(archive, principal, one)
    await archive.sealer.seal_waiting()
    (first,) = files(tmp_path)
    left_behind(first, one if same else other)
    first.unlink()
    expected = Outcome.ADMITTED if same else Outcome.LEFT_OUT
    assert outcomes(await rebuilt(again, principal)) == {Outcome.LOST: 1, expected: 1}
    await look_at_quarantine(again)
    findings = await list_findings(again, principal, 0, 10)
    assert [one.state for one in findings] == ([] if same else ["lost"])
