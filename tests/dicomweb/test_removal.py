"""DELETE and reject, over the whole application: what is gone, what stays, what comes back."""

from time import monotonic
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydicom.dataset import Dataset

from app.archive import removal
from app.archive.context import Archive
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, NotFound
from app.index.events import Position, read_events
from app.index.overview import Overview, count_everything
from app.index.reads import READS
from app.rights import Principal, Scope, Verb
from tests.factories import make_dataset, make_part10, make_series, new_uid

HEADERS = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.leases.LEASE_SECONDS", 0)


async def store(client: httpx.AsyncClient, *datasets: Dataset, status: int = 200) -> dict[str, Any]:
    for dataset in datasets:
        body = make_part10(dataset)
        answer = await client.post("/studies", content=body, headers=HEADERS)
        assert answer.status_code == status
    report: dict[str, Any] = answer.json()
    return report


async def study_row(client: httpx.AsyncClient, uid: str) -> dict[str, Any] | None:
    answer = await client.get("/studies", params={"StudyInstanceUID": uid})
    return answer.json()[0] if answer.status_code == 200 else None


def value(row: dict[str, Any] | None, tag: str) -> Any:
    assert row is not None
    return row[tag].get("Value", [None])[0]


def path_of(dataset: Dataset, level: int = 3) -> str:
    names = ("studies", "series", "instances")
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    return "".join(f"/{name}/{uid}" for name, uid in list(zip(names, uids, strict=True))[:level])


async def overview(app: FastAPI) -> Overview:
    return await count_everything(app.state.archive.index, Scope())


@pytest.mark.parametrize("level", [1, 2, 3])
async def test_what_is_deleted_is_gone_at_every_door(
    app: FastAPI, client: httpx.AsyncClient, level: int
) -> None:  # D-01, D-03, D-06, G-11
    dataset = make_dataset()
    await store(client, dataset)
    before = await client.get(f"{path_of(dataset)}/frames/1")
    assert before.status_code == 200
    answer = await client.delete(path_of(dataset, level))
    assert (answer.status_code, answer.content) == (204, b"")
    for door in ("", "/metadata", "/rendered", "/thumbnail"):
        for upper in range(level, 4):
            gone = await client.get(path_of(dataset, upper) + door)
            assert gone.status_code == 410, (upper, door)
            assert gone.json()["title"] == "Gone"
    assert (await client.get(f"{path_of(dataset)}/frames/1")).status_code == 410
    bulk = await client.get(f"{path_of(dataset)}/bulkdata/7FE00010")
    assert bulk.status_code == 410
    assert await study_row(client, dataset.StudyInstanceUID) is None
    assert (await client.get("/instances")).status_code == 204
    assert await overview(app) == Overview(0, 0, 0, 0)


async def test_counters_follow_and_empty_levels_vanish(
    app: FastAPI, client: httpx.AsyncClient
) -> None:  # D-03, Q-60
    study = new_uid()
    ct = list(make_series(3, StudyInstanceUID=study, SeriesInstanceUID=new_uid()))
    mr = make_dataset(StudyInstanceUID=study, SeriesInstanceUID=new_uid(), Modality="MR")
    await store(client, *ct, mr)
    size = (await overview(app)).bytes
    assert (await client.delete(path_of(ct[0]))).status_code == 204
    row = await study_row(client, study)
    assert (value(row, "00201206"), value(row, "00201208")) == (2, 3)
    series = (await client.get(f"/studies/{study}/series?Modality=CT")).json()
    assert value(series[0], "00201209") == 2
    assert (await client.delete(path_of(mr, 2))).status_code == 204
    row = await study_row(client, study)
    assert row is not None
    assert row["00080061"]["Value"] == ["CT"]
    assert (value(row, "00201206"), value(row, "00201208")) == (1, 2)
    counted = await overview(app)
    assert (counted.studies, counted.series, counted.instances) == (1, 1, 2)
    assert counted.bytes == size - len(make_part10(ct[0])) - len(make_part10(mr))


async def test_a_study_is_described_by_the_first_instance_that_is_left(
    client: httpx.AsyncClient,
) -> None:
    study, series = new_uid(), new_uid()
    uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    first = make_dataset(**uids, PatientID="WRONG", PatientName="Wrong^One", SeriesNumber=1)
    second = make_dataset(**uids, PatientID="RIGHT", PatientName="Right^One", SeriesNumber=2)
    other = make_dataset(PatientID="RIGHT")
    await store(client, first, second, other)
    assert value(await study_row(client, study), "00100020") == "WRONG"
    assert (await client.delete(path_of(first))).status_code == 204
    row = (await client.get(f"/studies?PatientID=RIGHT&StudyInstanceUID={study}")).json()[0]
    assert value(row, "00100010") == {"Alphabetic": "Right^One"}
    assert value((await client.get(f"/studies/{study}/series")).json()[0], "00200011") == 2
    assert (await client.get("/studies?PatientID=WRONG")).status_code == 204
    counts = "/studies?PatientID=RIGHT&includefield=NumberOfPatientRelatedStudies"
    assert [value(row, "00201200") for row in (await client.get(counts)).json()] == [2, 2]


async def test_what_was_deleted_may_be_stored_again(client: httpx.AsyncClient) -> None:  # D-04
    dataset = make_dataset()
    for _ in range(3):
        await store(client, dataset)
        assert (await client.get(f"{path_of(dataset)}/metadata")).status_code == 200
        assert (await client.delete(path_of(dataset, 1))).status_code == 204
    changed = make_dataset(
        StudyInstanceUID=dataset.StudyInstanceUID,
        SeriesInstanceUID=dataset.SeriesInstanceUID,
        SOPInstanceUID=dataset.SOPInstanceUID,
        StudyDescription="Another",
    )
    await store(client, changed)
    answer = await client.get(path_of(dataset), headers={"Accept": "application/dicom"})
    assert answer.content == make_part10(changed)


async def test_what_is_unknown_or_elsewhere_is_not_deleted(
    client: httpx.AsyncClient,
) -> None:  # D-02, D-05
    one, other = make_dataset(), make_dataset()
    await store(client, one, other)
    assert (await client.delete(f"/studies/{new_uid()}")).status_code == 404
    wrong = (
        f"{path_of(one, 2)}/instances/{other.SOPInstanceUID}",
        f"{path_of(one, 1)}/series/{other.SeriesInstanceUID}",
        f"{path_of(one, 1)}/series/{other.SeriesInstanceUID}/instances/{other.SOPInstanceUID}",
    )
    for path in wrong:
        assert (await client.delete(path)).status_code == 404
    assert (await client.delete("/studies/not-a-uid")).status_code == 400
    assert (await client.delete("/studies")).status_code == 405
    assert len((await client.get("/instances")).json()) == 2


async def test_what_is_rejected_stays_away_until_it_is_brought_back(
    app: FastAPI, client: httpx.AsyncClient
) -> None:  # D-07
    study = new_uid()
    datasets = list(make_series(3, StudyInstanceUID=study))
    await store(client, *datasets)
    before = await client.get(f"/studies/{study}/metadata")
    path = f"{path_of(datasets[0], 2)}/reject/113001%5EDCM"
    answer = await client.post(path)
    assert (answer.status_code, answer.content) == (204, b"")
    gone = await client.get(f"/studies/{study}/metadata")
    assert gone.status_code == 410
    assert "was rejected; DELETE" in gone.json()["detail"]
    assert await study_row(client, study) is None
    report = await store(client, datasets[0], status=409)
    failed = report["00081198"]["Value"][0]
    assert failed["00081197"]["Value"] == [0x0124]
    assert (await client.post(path)).status_code == 410

    back = await client.delete(f"{path_of(datasets[0])}/reject")
    assert back.status_code == 204
    assert value(await study_row(client, study), "00201208") == 1
    assert (await client.delete(f"/studies/{study}/reject")).status_code == 204
    after = await client.get(f"/studies/{study}/metadata")
    assert after.json() == before.json()
    whole = await client.get(path_of(datasets[1]), headers={"Accept": "application/dicom"})
    assert whole.content == make_part10(datasets[1])
    assert (await client.get(f"{path_of(datasets[1])}/frames/1")).status_code == 200
    assert (await client.delete(f"/studies/{study}/reject")).status_code == 404
    counted = await overview(app)
    assert (counted.studies, counted.series, counted.instances) == (1, 1, 3)


@pytest.mark.parametrize("code", ["113001", "113001^", "^DCM", "1^2^3", "a b^DCM", "x" * 17 + "^D"])
async def test_a_reason_that_is_no_code_rejects_nothing(
    client: httpx.AsyncClient, code: str
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    answer = await client.post(f"{path_of(dataset, 1)}/reject/{code}")
    assert answer.status_code == 400
    assert "113001^DCM" in answer.json()["detail"]
    assert await study_row(client, dataset.StudyInstanceUID)


async def test_many_are_removed_and_restored_in_pages(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.removal.PAGE", 2)
    datasets = list(make_series(5))
    await store(client, *datasets)
    assert (await client.post(f"{path_of(datasets[0], 1)}/reject/113001^DCM")).status_code == 204
    assert (await overview(app)).instances == 0
    assert (await client.delete(f"{path_of(datasets[0], 1)}/reject")).status_code == 204
    assert (await overview(app)).instances == 5


async def test_each_removal_is_in_the_log_without_a_patients_name(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = make_dataset(PatientName="Secret^Name")
    await store(client, dataset)
    await client.post(f"{path_of(dataset)}/reject/113001^DCM")
    await client.delete(f"{path_of(dataset)}/reject")
    await client.delete(path_of(dataset))
    events = await read_events(app.state.archive.index, 1, Position())
    assert [event.kind for event in events] == [
        "accepted", "rejected", "restored", "accepted", "removed",
    ]  # fmt: skip
    assert events[1].payload["reason"] == "rejected 113001^DCM"
    assert "Secret" not in str([event.payload for event in events])


async def test_who_may_not_delete_is_refused_and_learns_nothing_of_other_studies(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    archive: Archive = app.state.archive
    dataset = make_dataset()
    await store(client, dataset)
    ref = InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW}))
    for doing in (
        removal.delete(archive, viewer, ref),
        removal.reject(archive, viewer, ref, "113001^DCM"),
        removal.restore(archive, viewer, ref),
    ):
        with pytest.raises(Forbidden):
            await doing
    stranger = Principal("stranger", Scope(studies=frozenset({"1.2.3"})))
    await client.delete(path_of(dataset))
    for hidden in (
        removal.delete(archive, stranger, ref),
        removal.restore(archive, stranger, ref),
    ):
        with pytest.raises(NotFound):
            await hidden
    with pytest.raises(NotFound):
        await archive.leases.locate(stranger.scope, ref, [1])


async def test_the_answer_waits_until_nobody_remembers(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may hold a lease that began just before the commit."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0.3)
    dataset = make_dataset()
    await store(client, dataset)
    begun = monotonic()
    assert (await client.delete(path_of(dataset))).status_code == 204
    assert monotonic() - begun >= 0.3


@pytest.mark.parametrize("level", [1, 2, 3])
async def test_what_was_rejected_can_be_deleted_and_then_stored_again(
    app: FastAPI, client: httpx.AsyncClient, level: int
) -> None:  # D-01, D-04, D-07
    dataset = make_dataset()
    await store(client, dataset)
    rejected = await client.post(f"{path_of(dataset)}/reject/113001^DCM")
    assert rejected.status_code == 204
    await store(client, dataset, status=409)
    assert (await client.delete(path_of(dataset, level))).status_code == 204
    gone = await client.get(path_of(dataset))
    assert (gone.status_code, "was deleted" in gone.json()["detail"]) == (410, True)
    assert (await client.delete(path_of(dataset, level))).status_code == 410
    assert (await client.delete(f"{path_of(dataset)}/reject")).status_code == 404
    await store(client, dataset)
    assert (await client.get(path_of(dataset))).status_code == 200
    log = await read_events(app.state.archive.index, 1, Position())
    events = [event for event in log if event.kind not in READS]
    assert [event.kind for event in events] == ["accepted", "rejected", "removed", "accepted"]
    assert events[2].payload["reason"] == "deleted"
    assert (await overview(app)).instances == 1


async def test_deleting_a_study_deletes_what_is_rejected_of_it_too(
    client: httpx.AsyncClient,
) -> None:
    series = list(make_series(3))
    other = make_dataset(StudyInstanceUID=series[0].StudyInstanceUID)
    await store(client, *series, other)
    assert (await client.post(f"{path_of(other)}/reject/113001^DCM")).status_code == 204
    assert (await client.post(f"{path_of(series[0])}/reject/113001^DCM")).status_code == 204
    assert (await client.delete(path_of(series[0], 2))).status_code == 204
    await store(client, other, status=409)  # another Series was deleted
    assert (await client.delete(path_of(series[0], 1))).status_code == 204
    await store(client, *series, other)


async def test_who_may_not_see_a_study_cannot_delete_what_is_rejected_of_it(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.post(f"{path_of(dataset)}/reject/113001^DCM")).status_code == 204
    ref = InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    with pytest.raises(NotFound):
        await removal.delete(
            app.state.archive, Principal("x", Scope(studies=frozenset({"1.2"}))), ref
        )
    await store(client, dataset, status=409)


@pytest.mark.parametrize("level", [1, 2, 3])
async def test_a_deletion_may_depend_on_the_version_that_the_caller_saw(
    client: httpx.AsyncClient, level: int
) -> None:  # D-01, G-16
    dataset = make_dataset()
    await store(client, dataset)
    url = path_of(dataset, level)
    zipped = await client.get(url, headers={"accept": "application/zip"})
    before = zipped.headers["etag"]
    if level < 3:
        await store(
            client,
            make_dataset(
                StudyInstanceUID=dataset.StudyInstanceUID,
                SeriesInstanceUID=dataset.SeriesInstanceUID,
            ),
        )
        changed = await client.delete(url, headers={"if-match": before})
        assert changed.status_code == 412
    etag = (await client.get(url, headers={"accept": "application/zip"})).headers["etag"]
    for headers in (
        {"if-match": '"other"'},
        {"if-match": f"W/{etag}"},
        {"if-none-match": "*"},
        {"if-none-match": etag},
        {"if-unmodified-since": "Sat, 29 Oct 1994 19:43:31 GMT"},
    ):
        kept = await client.delete(url, headers=headers)
        assert kept.status_code == 412, headers
        assert next(iter(headers)) in kept.json()["detail"].lower()
    assert (await client.get(url)).status_code == 200
    headers = {"if-match": etag, "if-unmodified-since": "Sat, 29 Oct 1994 19:43:31 GMT"}
    assert (await client.delete(url, headers=headers)).status_code == 204
    assert (await client.get(url)).status_code == 410


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("if-match", "*"),
        ("if-none-match", '"other"'),
        ("if-unmodified-since", "Sat, 29 Oct 2094 19:43:31 GMT"),
        ("if-unmodified-since", "29 October"),
    ],
)
async def test_a_condition_that_is_met_or_is_none_lets_a_deletion_pass(
    client: httpx.AsyncClient, name: str, value: str
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.delete(path_of(dataset), headers={name: value})).status_code == 204


async def test_nothing_that_is_there_matches_where_all_is_rejected(
    client: httpx.AsyncClient,
) -> None:
    dataset = make_dataset()
    await store(client, dataset)
    assert (await client.post(f"{path_of(dataset)}/reject/113001^DCM")).status_code == 204
    kept = await client.delete(path_of(dataset), headers={"if-match": "*"})
    assert kept.status_code == 412
    await store(client, dataset, status=409)
    assert (
        await client.delete(path_of(dataset), headers={"if-none-match": "*"})
    ).status_code == 204
