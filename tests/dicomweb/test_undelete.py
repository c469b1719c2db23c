"""What was deleted comes back over the whole application: all of it, or nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydicom.dataset import Dataset
from pydicom.uid import HangingProtocolStorage, ImplicitVRLittleEndian

from app.archive import restoring
from app.archive.context import Archive
from app.archive.purge import purge_deleted
from app.dicom.uids import StudyRef
from app.errors import Forbidden, NotFound
from app.index.events import Position, read_events
from app.index.purging import forget, list_deleted
from app.rights import Principal, Scope, Verb
from tests.dicomweb.test_removal import HEADERS, overview, path_of, store, study_row, value
from tests.factories import make_dataset, make_non_patient, make_part10, make_series, new_uid
from tests.index.test_instances_together import WRONG


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.leases.LEASE_SECONDS", 0)


async def bring_back(client: httpx.AsyncClient, path: str) -> tuple[int, dict[str, Any]]:
    answer = await client.post(f"{path}/restore")
    return answer.status_code, answer.json()


async def is_sound(app: FastAPI) -> bool:
    """Say whether all counters are those of the rows."""
    return not await app.state.archive.index.fetch(WRONG)


@pytest.mark.parametrize("level", [1, 2, 3])
async def test_what_was_deleted_is_back_at_every_door(
    app: FastAPI, client: httpx.AsyncClient, level: int
) -> None:  # D-08
    dataset = make_dataset()
    await store(client, dataset)
    before = await overview(app)
    metadata = (await client.get(f"{path_of(dataset)}/metadata")).json()
    assert (await client.delete(path_of(dataset, level))).status_code == 204
    answered = await bring_back(client, path_of(dataset, level))
    assert answered == (200, {"restored": 1, "present": 0})
    for door in ("/metadata", "/rendered", "/thumbnail", "/frames/1"):
        assert (await client.get(path_of(dataset) + door)).status_code == 200, door
    assert (await client.get(f"{path_of(dataset)}/metadata")).json() == metadata
    whole = await client.get(path_of(dataset), headers={"Accept": "application/dicom"})
    assert whole.content == make_part10(dataset)
    assert await overview(app) == before
    assert await is_sound(app)
    assert (await bring_back(client, path_of(dataset, level)))[0] == 404


async def test_a_series_or_an_instance_comes_back_alone(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    study = new_uid()
    one, two = (make_series(3, StudyInstanceUID=study) for _ in range(2))
    await store(client, *one, *two)
    assert (await client.delete(path_of(one[0], 1))).status_code == 204
    assert (await bring_back(client, path_of(one[0], 2)))[1]["restored"] == 3
    assert (await bring_back(client, path_of(two[0])))[1]["restored"] == 1
    row = await study_row(client, study)
    assert (value(row, "00201206"), value(row, "00201208")) == (2, 4)
    assert (await bring_back(client, path_of(one[0], 1)))[1]["restored"] == 2
    assert (await overview(app)).instances == 6
    assert await is_sound(app)


async def test_many_come_back_in_one_transaction_of_pages(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.restoring.PAGE", 2)
    series = make_series(5)
    await store(client, *series)
    assert (await client.delete(path_of(series[0], 1))).status_code == 204
    other = make_dataset(
        StudyInstanceUID=series[4].StudyInstanceUID,
        SeriesInstanceUID=series[4].SeriesInstanceUID,
        SOPInstanceUID=series[4].SOPInstanceUID,
    )
    await store(client, other)
    status, problem = await bring_back(client, path_of(series[0], 1))
    assert (status, series[4].SOPInstanceUID in problem["detail"]) == (409, True)
    assert (await overview(app)).instances == 1  # the first pages were rolled back, too
    kept = await client.get(path_of(other), headers={"Accept": "application/dicom"})
    assert kept.content == make_part10(other)
    assert (await client.delete(path_of(other))).status_code == 204
    assert (await bring_back(client, path_of(series[0], 1)))[1]["restored"] == 5
    back = await client.get(path_of(other), headers={"Accept": "application/dicom"})
    assert back.content == make_part10(other)  # the one that was deleted last
    events = await read_events(app.state.archive.index, 1, Position())
    assert [event.kind for event in events if event.kind == "restored"] == ["restored"] * 3
    assert await is_sound(app)


async def test_what_was_stored_again_with_the_same_content_needs_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    series = make_series(3)
    await store(client, *series)
    assert (await client.delete(path_of(series[0], 1))).status_code == 204
    await store(client, series[1])
    answered = await bring_back(client, path_of(series[0], 1))
    assert answered == (200, {"restored": 2, "present": 1})
    answered = await bring_back(client, path_of(series[0], 1))
    assert answered == (200, {"restored": 0, "present": 1})
    assert (await overview(app)).instances == 3
    assert await is_sound(app)


@pytest.mark.parametrize("elsewhere", ["encoding", "study"])
async def test_another_encoding_and_another_study_are_other_content(
    client: httpx.AsyncClient, elsewhere: str
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.delete(path_of(dataset))).status_code == 204
    body = make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian)
    if elsewhere == "study":
        body = make_part10(make_dataset(SOPInstanceUID=dataset.SOPInstanceUID))
    answer = await client.post("/studies", content=body, headers=HEADERS)
    assert answer.status_code == 200
    assert (await bring_back(client, path_of(dataset)))[0] == 409


async def test_what_was_rejected_meanwhile_is_in_the_way(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.delete(path_of(dataset))).status_code == 204
    await store(client, dataset)
    assert (await client.post(f"{path_of(dataset)}/reject/113001^DCM")).status_code == 204
    status, problem = await bring_back(client, path_of(dataset))
    assert (status, "was rejected" in problem["detail"]) == (409, True)
    assert (await client.delete(f"{path_of(dataset)}/reject")).status_code == 204
    assert (await bring_back(client, path_of(dataset)))[1] == {"restored": 0, "present": 1}


async def test_what_is_purged_or_was_never_here_does_not_come_back(
    app: FastAPI, client: httpx.AsyncClient, principal: Principal
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await bring_back(client, path_of(dataset)))[0] == 404
    assert (await client.delete(path_of(dataset))).status_code == 204
    before = datetime.now(UTC) + timedelta(minutes=1)
    await purge_deleted(app.state.archive, principal, before, print, really=True)
    assert (await bring_back(client, path_of(dataset)))[0] == 404
    assert (await bring_back(client, "/studies/1.2.3"))[0] == 404
    assert (await bring_back(client, "/studies/none"))[0] == 400


async def test_who_comes_back_during_a_purge_is_whole_or_gone(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    archive: Archive = app.state.archive
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.delete(path_of(dataset))).status_code == 204
    table, before = "removed_instance", datetime.now(UTC) + timedelta(minutes=1)
    page = await list_deleted(archive.index, table, before)
    async with archive.index.writing() as purging:
        assert await forget(purging, table, before, page, "x")
        back = asyncio.create_task(bring_back(client, path_of(dataset)))
        await asyncio.sleep(0.3)
        assert not back.done()
    assert (await back)[0] == 404
    await store(client, dataset)
    assert (await client.delete(path_of(dataset))).status_code == 204
    page = await list_deleted(archive.index, table, before)
    assert (await bring_back(client, path_of(dataset)))[0] == 200
    async with archive.index.writing() as purging:  # the page was listed before
        assert await forget(purging, table, before, page, "x") == []
    whole = await client.get(path_of(dataset), headers={"Accept": "application/dicom"})
    assert whole.content == make_part10(dataset)


async def test_who_may_not_delete_brings_nothing_back_and_learns_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    archive: Archive = app.state.archive
    dataset = make_dataset()
    await store(client, dataset)
    await client.delete(path_of(dataset))
    ref = StudyRef(dataset.StudyInstanceUID)
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW, Verb.SEARCH}))
    for doing in (
        restoring.restore_deleted(archive, viewer, ref),
        restoring.restore_deleted_non_patient(archive, viewer, "inventories", "1.2"),
        restoring.list_deleted(archive, viewer, "", 10),
        restoring.list_deleted_non_patient(archive, viewer, 0, 10),
    ):
        with pytest.raises(Forbidden):
            await doing
    stranger = Principal("stranger", Scope(studies=frozenset({"1.2.3"})))
    with pytest.raises(NotFound):
        await restoring.restore_deleted(archive, stranger, ref)
    with pytest.raises(Forbidden):
        await restoring.restore_deleted_non_patient(archive, stranger, "inventories", "1.2")
    assert await restoring.list_deleted(archive, stranger, "", 10) == []
    assert await restoring.list_deleted_non_patient(archive, stranger, 0, 10) == []


async def store_protocol(client: httpx.AsyncClient, dataset: Dataset) -> None:
    body = make_part10(dataset)
    answer = await client.post("/hanging-protocols", content=body, headers=HEADERS)
    assert answer.status_code == 200


async def test_instances_of_no_patient_come_back_too(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = make_non_patient(HangingProtocolStorage, HangingProtocolName="CHEST")
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    await store_protocol(client, dataset)
    assert (await bring_back(client, path))[0] == 404
    assert (await client.delete(path)).status_code == 204
    other_kind = f"/color-palettes/{dataset.SOPInstanceUID}"
    assert (await bring_back(client, other_kind))[0] == 404
    assert await bring_back(client, path) == (200, {"restored": 1, "present": 0})
    whole = await client.get(path, headers={"Accept": "application/dicom"})
    assert whole.content == make_part10(dataset)
    assert (await client.delete(path)).status_code == 204
    await store_protocol(client, dataset)
    assert await bring_back(client, path) == (200, {"restored": 0, "present": 1})
    assert (await client.delete(path)).status_code == 204
    dataset.HangingProtocolName = "OTHER"
    await store_protocol(client, dataset)
    assert (await bring_back(client, path))[0] == 409
    events = await read_events(app.state.archive.index, 1, Position())
    assert [event.kind for event in events[:4]] == ["accepted", "removed", "restored", "accepted"]
    assert events[3].payload == events[0].payload
