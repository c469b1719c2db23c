"""Storage commitment on the real index and stores: it is said from what was just seen."""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import HangingProtocolStorage

from app.archive import committing
from app.archive.commitment import check_commitment, request_commitment
from app.archive.committing import commitments_kept
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.removal import delete, reject
from app.archive.repair import repair_object
from app.archive.store import store_instances
from app.dicom.commitment import COMMITTED, Reference
from app.dicom.store_report import Outcome
from app.dicom.uids import InstanceRef, NonPatientRef
from app.errors import Conflict, Forbidden, NotFound, StorageFull
from app.index.events import Position, read_events
from app.index.segments import last_segment
from app.rights import Principal, Scope, Verb
from tests.archive.test_repair import key_of, lose
from tests.archive.test_store import parts, store
from tests.factories import make_dataset, make_non_patient, make_part10, make_series, new_uid
from tests.waiting import until

DAMAGED, ABSENT, OTHER_CLASS, NO_ROOM = 0x0110, 0x0112, 0x0119, 0x0213
OTHER = "1.2.840.10008.5.1.4.1.1.481.3"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.repair.LEASE_SECONDS", 0)
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.05)


async def stored(archive: Archive, principal: Principal, count: int = 1) -> list[Dataset]:
    datasets = make_series(count)
    report = await store(archive, principal, *map(make_part10, datasets))
    assert report.outcome is Outcome.ALL_STORED
    return datasets


def alone(dataset: Dataset) -> Reference:
    return Reference(dataset.SOPClassUID, dataset.SOPInstanceUID)


def in_study(dataset: Dataset) -> Reference:
    return replace(alone(dataset), study=dataset.StudyInstanceUID, series=dataset.SeriesInstanceUID)


def ref_of(dataset: Dataset) -> InstanceRef:
    return InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


def verdicts(result: bytes | None) -> dict[str, int]:
    """Return what a result says of each Instance."""
    assert result is not None
    found: dict[str, int] = {}
    waiting = [json.loads(result)]
    while waiting:
        for element in (item := waiting.pop()).values():
            waiting += element["Value"] if element["vr"] == "SQ" else ()
        if "00081155" in item:
            reason = item.get("00081197", {"Value": [COMMITTED]})
            found[item["00081155"]["Value"][0]] = reason["Value"][0]
    return found


async def ask(archive: Archive, principal: Principal, *references: Reference) -> dict[str, int]:
    return verdicts(await request_commitment(archive, principal, new_uid(), references))


async def committed_events(archive: Archive) -> list[Any]:
    events = await read_events(archive.index, 1, Position())
    return [event for event in events if event.kind == "committed"]


async def test_what_is_stored_is_committed(archive: Archive, principal: Principal) -> None:  # K-02
    first, second = await stored(archive, principal, 2)
    assert await ask(archive, principal, alone(first), in_study(second)) == {
        first.SOPInstanceUID: COMMITTED,
        second.SOPInstanceUID: COMMITTED,
    }


async def test_an_instance_of_no_patient_is_committed(
    archive: Archive, principal: Principal
) -> None:
    protocol = make_non_patient(HangingProtocolStorage)
    into = NonPatientRef("hanging-protocols", None)
    await store_instances(archive, principal, parts(make_part10(protocol)), into)
    uid = protocol.SOPInstanceUID
    assert await ask(archive, principal, alone(protocol)) == {uid: COMMITTED}
    named = replace(alone(protocol), study="1.2", series="1.3")
    assert await ask(archive, principal, named) == {uid: ABSENT}


@pytest.mark.parametrize("loss", ["bit", "cut", "gone"])
async def test_what_has_lost_bytes_is_not_committed(
    archive: Archive, principal: Principal, loss: str
) -> None:
    whole, lost = await stored(archive, principal, 2)
    await lose(archive, "first", await key_of(archive, ref_of(lost)), loss)
    expected = {whole.SOPInstanceUID: COMMITTED, lost.SOPInstanceUID: DAMAGED}
    for _ in range(2):  # the second time it is in quarantine
        assert await ask(archive, principal, alone(whole), alone(lost)) == expected
    await store(archive, principal, make_part10(lost))  # which mends it
    assert set((await ask(archive, principal, alone(lost))).values()) == {COMMITTED}


async def test_what_was_removed_or_never_came_is_not_there(
    archive: Archive, principal: Principal
) -> None:
    deleted, rejected, kept = await stored(archive, principal, 3)
    await delete(archive, principal, ref_of(deleted))
    await reject(archive, principal, ref_of(rejected), "113001^DCM")
    never = make_dataset()
    elsewhere = replace(in_study(kept), series=new_uid())
    assert await ask(
        archive, principal, alone(deleted), alone(rejected), alone(never), elsewhere
    ) == dict.fromkeys((one.SOPInstanceUID for one in (deleted, rejected, never, kept)), ABSENT)


async def test_an_instance_of_another_class_is_a_conflict(  # K-05
    archive: Archive, principal: Principal
) -> None:
    (dataset,) = await stored(archive, principal)
    named = replace(alone(dataset), sop_class_uid=OTHER)
    assert await ask(archive, principal, named) == {dataset.SOPInstanceUID: OTHER_CLASS}


async def test_what_a_caller_may_not_see_is_not_there(
    archive: Archive, principal: Principal
) -> None:
    (mine,), (other,) = [await stored(archive, principal) for _ in range(2)]
    site = Principal("site", scope=Scope(studies=frozenset({mine.StudyInstanceUID})))
    uid = new_uid()
    result = await request_commitment(archive, site, uid, [alone(mine), alone(other)])
    assert verdicts(result) == {mine.SOPInstanceUID: COMMITTED, other.SOPInstanceUID: ABSENT}
    assert await check_commitment(archive, site, uid) == result
    assert await check_commitment(archive, principal, uid) == result  # who sees all
    elsewhere = Principal("else", scope=Scope(studies=frozenset({other.StudyInstanceUID})))
    whole = new_uid()
    await request_commitment(archive, principal, whole, [alone(mine)])
    for who, asked in ((elsewhere, uid), (site, whole)):
        with pytest.raises(NotFound):
            await check_commitment(archive, who, asked)


async def test_who_may_not_store_may_not_ask(archive: Archive, principal: Principal) -> None:
    (dataset,) = await stored(archive, principal)
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW, Verb.SEARCH}))
    with pytest.raises(Forbidden):
        await request_commitment(archive, viewer, new_uid(), [alone(dataset)])
    with pytest.raises(Forbidden):
        await check_commitment(archive, viewer, new_uid())


async def test_a_transaction_uid_is_used_once(  # K-03
    archive: Archive, principal: Principal
) -> None:
    (dataset,) = await stored(archive, principal)
    uid = new_uid()
    asking = [request_commitment(archive, principal, uid, [alone(dataset)]) for _ in range(4)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(one, Conflict) for one in answers) == 3
    (result,) = [one for one in answers if isinstance(one, bytes)]
    assert await check_commitment(archive, principal, uid) == result


async def test_a_result_is_kept_for_its_days(archive: Archive, principal: Principal) -> None:
    (dataset,) = await stored(archive, principal)
    uid = new_uid()
    await request_commitment(archive, principal, uid, [alone(dataset)])
    await age(archive, "finished_at", 29)
    assert verdicts(await check_commitment(archive, principal, uid))
    await age(archive, "finished_at", 2)
    with pytest.raises(NotFound):
        await check_commitment(archive, principal, uid)
    await request_commitment(archive, principal, uid, [alone(dataset)])  # nobody knows it any more
    await age(archive, "finished_at", 31)
    async with commitments_kept(archive):
        await until(lambda: _has_none(archive))


async def age(archive: Archive, column: str, days: int) -> None:
    statement = f"UPDATE commitment SET {column} = {column} - make_interval(days => $1)"  # noqa: S608
    await archive.index.fetch(statement, days)


async def _has_none(archive: Archive) -> bool:
    return not await archive.index.fetch("SELECT FROM commitment")


async def test_it_is_in_the_log_by_its_digest(archive: Archive, principal: Principal) -> None:
    (dataset,) = await stored(archive, principal)
    uid = new_uid()
    result = await request_commitment(
        archive, principal, uid, [alone(dataset), alone(make_dataset())]
    )
    assert result is not None
    (event,) = await committed_events(archive)
    assert event.actor == principal.name
    assert event.payload == {
        "transaction": uid,
        "committed": 1,
        "failed": 1,
        "sha256": hashlib.sha256(result).hexdigest(),
    }
    assert not await archive.index.fetch("SELECT FROM commitment_item")


async def test_what_accepted_it_is_sealed_by_then(archive: Archive, principal: Principal) -> None:
    (dataset,) = await stored(archive, principal)
    (accepted,) = await read_events(archive.index, 1, Position())
    assert await last_segment(archive.index, 1) is None
    await ask(archive, principal, alone(dataset))
    segment = await last_segment(archive.index, 1)
    assert segment is not None
    assert segment.last >= accepted.position


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("loss", ["bit", "gone"])
async def test_what_one_store_has_lost_is_repaired_before_it_is_committed(
    replicated: Archive, principal: Principal, name: str, loss: str
) -> None:
    (dataset,) = await stored(replicated, principal)
    await lose(replicated, name, await key_of(replicated, ref_of(dataset)), loss)
    assert set((await ask(replicated, principal, in_study(dataset))).values()) == {COMMITTED}
    key = await key_of(replicated, ref_of(dataset))
    assert await repair_object(replicated, key) is State.WHOLE


async def test_a_copy_that_no_store_waits_for_is_not_waited_for(
    followed: Archive, principal: Principal
) -> None:
    (dataset,) = await stored(followed, principal)
    assert set((await ask(followed, principal, alone(dataset))).values()) == {COMMITTED}


async def test_no_room_for_a_repair_is_a_lack_of_resources(
    replicated: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> State:
        raise StorageFull("no room")

    (dataset,) = await stored(replicated, principal)
    await lose(replicated, "second", await key_of(replicated, ref_of(dataset)), "gone")
    monkeypatch.setattr(committing, "repair_object", full)
    assert set((await ask(replicated, principal, alone(dataset))).values()) == {NO_ROOM}
