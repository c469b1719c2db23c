"""The modality worklist over HTTP (PS3.18 chapter 14), and how it is fed."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from app.dicom.limits import Limits
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from app.index.engine import Index
from app.index.events import Position, read_events
from app.main import create_app
from app.settings import Settings
from tests.dicomweb.test_commitment import client_of
from tests.multipart import split_multipart
from tests.procedure_steps import Json, make_order, make_step

JSON, XML = "application/dicom+json", "application/dicom+xml"
STEPS = "/modality-scheduled-procedure-steps"
SPS = "ScheduledProcedureStepSequence"


async def feed(client: httpx.AsyncClient, *orders: Json) -> httpx.Response:
    """Put orders on the worklist."""
    answer = await client.post(STEPS, json=list(orders), headers={"content-type": JSON})
    assert answer.status_code in {200, 201}, answer.text
    return answer


async def found(client: httpx.AsyncClient, **params: Any) -> list[Dataset]:
    """Return what a search of the worklist finds; `__` is the dot of a path."""
    asked = {name.replace("__", "."): value for name, value in params.items()}
    answer = await client.get(STEPS, params=asked)
    assert answer.status_code in {200, 204}, answer.text
    return [Dataset.from_json(one) for one in answer.json()] if answer.content else []


def ids(datasets: list[Dataset]) -> list[str]:
    return [str(one[SPS].value[0].ScheduledProcedureStepID) for one in datasets]


async def test_a_search_answers_in_json_xml_and_multipart(client: httpx.AsyncClient) -> None:
    # L-01
    assert (await client.get(STEPS)).status_code == 204
    await feed(client, make_order(make_step(), make_step(ScheduledProcedureStepID="S2")))
    answer = await client.get(STEPS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    plain = answer.json()
    assert ids([Dataset.from_json(one) for one in plain]) == ["S1", "S2"]
    for media_type, read in (
        (XML, lambda part: read_xml(part, Limits())),
        (JSON, lambda part: json.loads(part)[0]),
    ):
        accept = f'multipart/related; type="{media_type}"'
        answer = await client.get(STEPS, headers={"accept": accept})
        parts = split_multipart(answer)
        assert [head["Content-Type"] for head, _ in parts] == [media_type] * 2
        assert [read(part) for _, part in parts] == plain
    one = await client.get(STEPS, params={"limit": 1}, headers={"accept": XML})
    assert one.headers["content-type"] == XML
    assert read_xml(one.content, Limits()) == plain[0]
    assert (await client.get(STEPS, headers={"accept": "image/png"})).status_code == 406


async def test_an_answer_has_what_the_information_model_requires(
    client: httpx.AsyncClient,
) -> None:  # L-02
    await feed(client, make_order(ReasonForTheRequestedProcedure="Husten", PatientWeight="70"))
    (one,) = await found(client)
    assert one.PatientName == "Müller^Änne=山田^花子"
    assert one.SpecificCharacterSet == "ISO_IR 192"
    assert (one.PatientWeight, one.RequestedProcedureID) == (70, "R1")
    assert one["PatientState"].is_empty
    assert one["ReferencedStudySequence"].value == []
    step = one[SPS].value[0]
    assert step.ScheduledProcedureStepStatus == "SCHEDULED"
    assert step["ScheduledStationName"].is_empty
    assert "ReasonForTheRequestedProcedure" not in one
    (one,) = await found(client, includefield="ReasonForTheRequestedProcedure")  # L-03
    assert one.ReasonForTheRequestedProcedure == "Husten"
    (one,) = await found(client, includefield="all")
    assert one.ReasonForTheRequestedProcedure == "Husten"


@pytest.fixture
async def fed(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a worklist with three steps: one of CT01 today, two of MR01 tomorrow."""
    await feed(
        client,
        make_order(
            make_step(ScheduledStationAETitle=["CT01", "CT02"], ScheduledProtocolCodeSequence=[])
        ),
        make_order(
            make_step(
                Modality="MR",
                ScheduledStationAETitle="MR01",
                ScheduledProcedureStepStartDate="20260201",
                ScheduledProcedureStepStartTime="0800",
                ScheduledProcedureStepID="S2",
                ScheduledPerformingPhysicianName="Curie^Marie",
            ),
            make_step(
                Modality="MR",
                ScheduledStationAETitle="MR01",
                ScheduledProcedureStepStartDate="20260201",
                ScheduledProcedureStepStartTime="143000",
                ScheduledProcedureStepID="S3",
            ),
            PatientName="Meier^Karl",
            PatientID="FR-0002",
            AccessionNumber="A0002",
            StudyInstanceUID="1.2.3.4",
            RequestedProcedureID="R2",
            PatientState="isolated",
        ),
    )
    return client


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({f"{SPS}__ScheduledStationAETitle": "MR01"}, ["S2", "S3"]),
        ({f"{SPS}__ScheduledStationAETitle": "CT02"}, ["S1"]),
        ({f"{SPS}__ScheduledStationAETitle": "*R0?"}, ["S2", "S3"]),
        ({f"{SPS}__Modality": "CT,MR"}, ["S1", "S2", "S3"]),
        ({f"{SPS}__Modality": "CT"}, ["S1"]),
        ({f"{SPS}__ScheduledProcedureStepStartDate": "20260201"}, ["S2", "S3"]),
        ({f"{SPS}__ScheduledProcedureStepStartDate": "20260131-20260201"}, ["S1", "S2", "S3"]),
        ({f"{SPS}__ScheduledProcedureStepStartDate": "-20260131"}, ["S1"]),
        ({f"{SPS}__ScheduledProcedureStepStartTime": "08-12"}, ["S1", "S2"]),
        (
            {
                f"{SPS}__ScheduledProcedureStepStartDate": "20260131-20260201",
                f"{SPS}__ScheduledProcedureStepStartTime": "1200-1000",
            },
            ["S2"],
        ),
        ({f"{SPS}__ScheduledPerformingPhysicianName": "curie*"}, ["S2"]),
        ({f"{SPS}__ScheduledProcedureStepID": "S3"}, ["S3"]),
        ({"PatientName": "muller^anne"}, ["S1"]),
        ({"PatientName": "山田*"}, ["S1"]),
        ({"PatientName": "M*", f"{SPS}__Modality": "MR"}, ["S2", "S3"]),
        ({"PatientID": "FR-0002"}, ["S2", "S3"]),
        ({"AccessionNumber": "A0001"}, ["S1"]),
        ({"StudyInstanceUID": "1.2.3.4,1.2.3.5"}, ["S2", "S3"]),
        ({"RequestedProcedureID": "R2", "limit": "1"}, ["S2"]),
        ({"limit": "2", "offset": "1"}, ["S2", "S3"]),
        ({"PatientSex": "F", "offset": "2"}, ["S3"]),
        ({"PatientState": "isol*", "limit": "1", "offset": "1"}, ["S3"]),
        ({"PatientName": "Mayer^Carl", "fuzzymatching": "true"}, ["S2", "S3"]),
        ({"PatientName": "Mayer^Carl"}, []),
        ({f"{SPS}__ScheduledProcedureStepDescription": "Thorax*"}, ["S1", "S2", "S3"]),
        ({f"{SPS}__ScheduledProcedureStepStatus": "SCHEDULED"}, ["S1", "S2", "S3"]),
        ({f"{SPS}__ScheduledProcedureStepStatus": "?*"}, ["S1", "S2", "S3"]),
        ({f"{SPS}__ScheduledProcedureStepStatus": "COMPLETED"}, []),
        ({f"{SPS}__ScheduledProcedureStepStatus": ""}, ["S1", "S2", "S3"]),
    ],
)
async def test_steps_are_matched_by_the_rules_of_searches(
    fed: httpx.AsyncClient, keys: dict[str, str], expected: list[str]
) -> None:  # L-02, L-03
    assert ids(await found(fed, **keys)) == expected


async def test_a_search_tells_what_it_did_not_return_or_heed(fed: httpx.AsyncClient) -> None:
    # L-03
    for params in ({"limit": "1"}, {"limit": "1", "PatientSex": "F"}):
        answer = await fed.get(STEPS, params=params)
        assert "There are 2 additional results" in answer.headers["warning"]
    answer = await fed.get(STEPS, params={"TimezoneOffsetFromUTC": "+0100", "nonsense": "1"})
    assert "nonsense parameter is not known" in answer.headers["warning"]
    assert "TimezoneOffsetFromUTC is not heeded" in answer.headers["warning"]
    assert (await fed.get(STEPS, params={"limit": "-1"})).status_code == 400


async def test_more_steps_than_may_be_looked_into_are_413(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, limits=Limits(looked_into=1))
    app = create_app(settings.with_database(database_url))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await feed(client, make_order(make_step(), make_step(ScheduledProcedureStepID="S2")))
        assert (await client.get(STEPS, params={"PatientSex": "F"})).status_code == 413
        keys = {"PatientSex": "F", f"{SPS}.ScheduledProcedureStepID": "S2"}
        assert (await client.get(STEPS, params=keys)).status_code == 200


async def test_feeding_puts_a_step_in_the_place_of_its_namesake(client: httpx.AsyncClient) -> None:
    order = make_order(StudyInstanceUID="1.2.3.4")
    answer = await feed(client, order)
    assert answer.status_code == 201
    assert answer.json() == {"steps": [{"study": "1.2.3.4", "step": "S1", "new": True}]}
    answer = await feed(client, order)
    assert (answer.status_code, answer.json()["steps"][0]["new"]) == (200, False)
    await feed(client, make_order(PatientName="Meier^Ida", StudyInstanceUID="1.2.3.4"))
    (one,) = await found(client)
    assert one.PatientName == "Meier^Ida"


async def test_a_step_that_says_no_status_keeps_its_own(client: httpx.AsyncClient) -> None:
    arrived = make_step(ScheduledProcedureStepStatus="ARRIVED")
    await feed(client, make_order(arrived, StudyInstanceUID="1.2.3.4"))
    await feed(client, make_order(StudyInstanceUID="1.2.3.4"))
    (one,) = await found(client)
    assert one[SPS].value[0].ScheduledProcedureStepStatus == "ARRIVED"
    gone = make_step(ScheduledProcedureStepStatus="CANCELED")
    await feed(client, make_order(gone, StudyInstanceUID="1.2.3.4"))
    assert await found(client) == []
    assert len(await found(client, **{f"{SPS}__ScheduledProcedureStepStatus": "?*"})) == 1
    (one,) = await found(client, **{f"{SPS}__ScheduledProcedureStepStatus": "CANCELED"})
    assert one[SPS].value[0].ScheduledProcedureStepStatus == "CANCELED"


async def test_one_step_is_put_read_and_deleted_by_its_name(client: httpx.AsyncClient) -> None:
    step = make_step(ScheduledProcedureStepID="S/7 ä")
    order = make_order(step, StudyInstanceUID="1.2.3.4", ReasonForVisit="wichtig")
    path = f"{STEPS}/1.2.3.4/S%2F7%20%C3%A4"
    assert (await client.get(path)).status_code == 404
    answer = await client.put(path, json=order, headers={"content-type": JSON})
    assert answer.status_code == 201, answer.text
    answer = await client.put(path, content=write_xml(order), headers={"content-type": XML})
    assert (answer.status_code, answer.content) == (204, b"")
    (one,) = (await client.get(path)).json()
    assert Dataset.from_json(one).ReasonForVisit == "wichtig"
    other = await client.put(f"{STEPS}/1.2.3.4/S1", json=order, headers={"content-type": JSON})
    assert other.status_code == 400
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.get(f"{STEPS}/1.2.3.4/%00")).status_code == 404
    assert await found(client) == []


async def test_orders_come_in_json_xml_and_gzip(client: httpx.AsyncClient) -> None:
    order = make_order(StudyInstanceUID="1.2.3.4")
    sent: list[tuple[bytes, dict[str, str]]] = [
        (json.dumps(order).encode(), {"content-type": "application/json"}),
        (write_xml(order), {"content-type": XML}),
        (gzip.compress(json.dumps([order]).encode()), {"content-encoding": "gzip"}),
    ]
    for body, headers in sent:
        answer = await client.post(STEPS, content=body, headers={"content-type": JSON, **headers})
        assert answer.status_code in {200, 201}, answer.text
    assert len(await found(client)) == 1
    other = await client.post(STEPS, content=b"x", headers={"content-type": "text/plain"})
    assert other.status_code == 415


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (make_order(PatientID=None), "missing-attribute"),
        (make_order(PatientName=None), "missing-attribute"),
        (make_order(RequestedProcedureID=""), "missing-attribute"),
        (make_order(ScheduledProcedureStepSequence=[]), "missing-attribute"),
        (make_order(make_step(ScheduledStationAETitle=None)), "missing-attribute"),
        (make_order(make_step(Modality=None)), "missing-attribute"),
        (make_order(make_step(), make_step()), "invalid-attribute"),
        ({**make_order(), "00100020": {"vr": "LO", "Value": [{}]}}, "invalid-attribute"),
        ({**make_order(), "7FE00010": {"vr": "OW", "BulkDataURI": "x"}}, "invalid-attribute"),
        ({**make_order(), "nonsense": {}}, "invalid-attribute"),
        ({"00400100": {"vr": "SQ", "Value": ["x"]}}, "invalid-attribute"),
    ],
)
async def test_what_is_no_order_is_refused_and_none_of_its_request_is_put(
    client: httpx.AsyncClient, order: Json, reason: str
) -> None:
    good = make_order()
    answer = await client.post(STEPS, json=[good, order], headers={"content-type": JSON})
    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == reason
    assert await found(client) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 5000, b"3"])
async def test_what_is_malformed_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(STEPS, content=body, headers={"content-type": JSON})
    assert answer.status_code == 400
    twice = make_order()
    answer = await client.post(STEPS, json=[twice, twice], headers={"content-type": JSON})
    assert answer.status_code == 400


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[Index]:
    from app.index.engine import open_index  # noqa: PLC0415

    index = await open_index(database_url)
    yield index
    await index.close()


async def test_the_log_tells_of_steps_and_names_no_patient(
    client: httpx.AsyncClient, log: Index
) -> None:
    order = make_order(StudyInstanceUID="1.2.3.4")
    await feed(client, order)
    await feed(client, order)  # nothing new
    await client.delete(f"{STEPS}/1.2.3.4/S1")
    events = await read_events(log, 1, Position())
    assert [one.kind for one in events] == ["step-scheduled", "step-unscheduled"]
    assert events[0].payload.keys() == {"study", "status", "sha256"}
    assert all(one.payload["study"] == "1.2.3.4" for one in events)
    assert "FR-0001" not in str(events)
