"""Modality Performed Procedure Steps over HTTP (PS3.18 chapter 15)."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from app.archive.context import Archive
from app.archive.performed_steps import create_performed_step, retrieve_performed_step
from app.archive.worklist import schedule_steps
from app.dicom.limits import Limits
from app.dicom.performed_step import SOP_CLASS
from app.dicom.scheduled_step import read_scheduled_steps
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from app.errors import Forbidden, NotFound
from app.index.events import Position, read_events
from app.rights import Principal, Scope
from tests.dicomweb.test_worklist import JSON, SPS, XML, feed, found
from tests.factories import new_uid
from tests.procedure_steps import Json, make_end, make_order, make_performed, make_reason, make_step

PERFORMED = "/modality-performed-procedure-steps"
STATUS = f"{SPS}__ScheduledProcedureStepStatus"


async def send(
    client: httpx.AsyncClient, uid: str, body: Any, *, update: bool = False, **headers: str
) -> httpx.Response:
    """Create or update a step."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    query = "?update" if update else ""
    sent = {"content-type": JSON, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await client.post(f"{PERFORMED}/{uid}{query}", content=content, headers=sent)


async def begun(client: httpx.AsyncClient, **keywords: Any) -> str:
    """Create a step; return its UID."""
    uid = new_uid()
    answer = await send(client, uid, make_performed(**keywords))
    assert answer.status_code == 201, answer.text
    return uid


async def read(client: httpx.AsyncClient, uid: str) -> Dataset:
    """Retrieve a step."""
    answer = await client.get(f"{PERFORMED}/{uid}")
    assert answer.status_code == 200, answer.text
    (one,) = answer.json()
    return Dataset.from_json(one)


async def test_a_step_is_created_changed_and_completed(client: httpx.AsyncClient) -> None:
    # P-01, P-04, P-06
    uid = await begun(client)
    one = await read(client, uid)
    assert (one.SOPClassUID, one.SOPInstanceUID) == (SOP_CLASS, uid)
    assert (one.PatientName, one.PerformedProcedureStepStatus) == ("Müller^Änne", "IN PROGRESS")
    change = {"00400254": {"vr": "LO", "Value": ["Thorax mit KM"]}}
    answer = await send(client, uid, change, update=True)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await send(client, uid, make_end(), update=True)).status_code == 200
    one = await read(client, uid)
    assert one.PerformedProcedureStepStatus == "COMPLETED"
    assert one.PerformedProcedureStepDescription == "Thorax mit KM"
    assert one.PerformedSeriesSequence[0].ProtocolName == "Thorax"
    assert one.PatientID == "FR-0001"


async def test_a_step_is_created_once(client: httpx.AsyncClient) -> None:  # P-02
    uid = await begun(client)
    answer = await send(client, uid, make_performed())
    assert (answer.status_code, answer.json()["reason"]) == (409, "duplicate")
    both = await asyncio.gather(*[send(client, "1.2.3", make_performed()) for _ in range(4)])
    assert sorted(one.status_code for one in both) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (make_performed(PerformedProcedureStepStatus="COMPLETED"), "invalid-attribute"),
        (make_performed(PerformedProcedureStepStatus=None), "missing-attribute"),
        (make_performed(PerformedProcedureStepID=None), "missing-attribute"),
        (make_performed(PerformedStationAETitle=""), "missing-attribute"),
        (make_performed(Modality=None), "missing-attribute"),
        (make_performed(PerformedProcedureStepStartDate=None), "missing-attribute"),
        (make_performed(ScheduledStepAttributesSequence=[]), "missing-attribute"),
        (make_performed(ScheduledStepAttributesSequence=[Dataset()]), "missing-attribute"),
        ({**make_performed(), "00100010": {"vr": "PN", "Value": [1]}}, "invalid-attribute"),
        ({}, "missing-attribute"),
        ([make_performed(), make_performed()], None),
        (b"", None),
        (b"{", None),
    ],
)
async def test_a_bad_payload_is_400(client: httpx.AsyncClient, body: Any, reason: str) -> None:
    # P-03
    uid = new_uid()
    answer = await send(client, uid, body)
    assert (answer.status_code, answer.json().get("reason")) == (400, reason)
    assert (await client.get(f"{PERFORMED}/{uid}")).status_code == 404


async def test_what_was_not_created_is_404(client: httpx.AsyncClient) -> None:  # P-04, P-06
    uid = new_uid()
    assert (await client.get(f"{PERFORMED}/{uid}")).status_code == 404
    assert (await send(client, uid, make_end(), update=True)).status_code == 404
    assert (await client.get(f"{PERFORMED}/1..2")).status_code == 400
    assert (await send(client, "1..2", make_performed())).status_code == 400


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED"])
async def test_what_has_come_to_its_end_changes_no_more(  # P-05
    client: httpx.AsyncClient, status: str
) -> None:
    uid = await begun(client)
    assert (await send(client, uid, make_end(status), update=True)).status_code == 200
    before = await read(client, uid)
    for body in (make_end("COMPLETED"), make_end("IN PROGRESS"), {}):
        answer = await send(client, uid, body, update=True)
        assert (answer.status_code, answer.json()["reason"]) == (409, "final")
    assert await read(client, uid) == before


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (make_end("ABANDONED"), "invalid-attribute"),
        (make_end(PerformedProcedureStepEndDate=None), "missing-attribute"),
        (make_end(PerformedProcedureStepEndTime=None), "missing-attribute"),
        (make_end(PerformedSeriesSequence=[]), "missing-attribute"),
        (make_end("DISCONTINUED", PerformedSeriesSequence=[Dataset()]), "missing-attribute"),
        (make_end(PatientName="Another^Name"), "invalid-attribute"),
        (make_end(ScheduledStepAttributesSequence=[Dataset()]), "invalid-attribute"),
    ],
)
async def test_a_change_that_may_not_be_leaves_the_step_as_it_is(
    client: httpx.AsyncClient, body: Json, reason: str
) -> None:  # P-04
    uid = await begun(client)
    before = await read(client, uid)
    answer = await send(client, uid, body, update=True)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)
    assert await read(client, uid) == before


async def test_a_change_may_say_again_what_does_not_change(client: httpx.AsyncClient) -> None:
    uid = await begun(client)
    again = make_end(PatientName="Müller^Änne", PatientID="", SpecificCharacterSet="ISO_IR 192")
    assert (await send(client, uid, again, update=True)).status_code == 200
    assert (await read(client, uid)).PatientID == "FR-0001"


async def test_xml_is_taken_and_given_and_other_types_are_415(client: httpx.AsyncClient) -> None:
    uid = new_uid()
    answer = await send(client, uid, write_xml(make_performed()), content_type=XML)
    assert answer.status_code == 201, answer.text
    assert (
        await send(client, uid, write_xml(make_end()), update=True, content_type=XML)
    ).status_code == 200
    answer = await client.get(f"{PERFORMED}/{uid}", headers={"accept": XML})
    assert answer.headers["content-type"] == XML
    assert read_xml(answer.content, Limits()) == (await client.get(f"{PERFORMED}/{uid}")).json()[0]
    other = await send(client, new_uid(), b"x", content_type="application/dicom")
    assert other.status_code == 415


@pytest.mark.parametrize(
    ("end", "status", "listed"),
    [
        (None, "STARTED", True),
        (make_end("COMPLETED"), "COMPLETED", False),
        (make_end("DISCONTINUED"), "DISCONTINUED", False),
        (
            make_end(
                "DISCONTINUED",
                PerformedProcedureStepDiscontinuationReasonCodeSequence=[make_reason("110514")],
            ),
            "SCHEDULED",
            True,
        ),
    ],
)
async def test_the_worklist_shows_how_far_a_step_is(
    client: httpx.AsyncClient, end: Json | None, status: str, listed: bool
) -> None:  # P-01, P-04
    other = make_step(ScheduledProcedureStepID="S2")
    await feed(client, make_order(make_step(), other, StudyInstanceUID="1.2.3.4"))
    uid = await begun(client, study="1.2.3.4")
    if end is not None:
        assert (await send(client, uid, end, update=True)).status_code == 200
    states = {
        one[SPS].value[0].ScheduledProcedureStepID: one[SPS].value[0].ScheduledProcedureStepStatus
        for one in await found(client, **{STATUS: "SCHEDULED,STARTED,COMPLETED,DISCONTINUED"})
    }
    assert states == {"S1": status, "S2": "SCHEDULED"}
    assert len(await found(client)) == 1 + listed


async def test_a_step_that_was_cancelled_is_not_begun_again_by_the_modality(
    client: httpx.AsyncClient,
) -> None:
    gone = make_step(ScheduledProcedureStepStatus="CANCELED")
    await feed(client, make_order(gone, StudyInstanceUID="1.2.3.4"))
    uid = await begun(client, study="1.2.3.4")
    assert len(await found(client, **{STATUS: "CANCELED"})) == 1
    assert (await send(client, uid, make_end(), update=True)).status_code == 200
    assert len(await found(client, **{STATUS: "COMPLETED"})) == 1


async def test_changes_at_once_are_all_kept(client: httpx.AsyncClient) -> None:
    uid = await begun(client)
    tags = [f"0040{number:04X}" for number in (0x0254, 0x0255, 0x0280)]
    bodies = [{tag: {"vr": "LO", "Value": [tag]}} for tag in tags]
    bodies[2]["00400280"]["vr"] = "ST"
    answers = await asyncio.gather(*[send(client, uid, one, update=True) for one in bodies])
    assert {one.status_code for one in answers} == {200}
    one = (await client.get(f"{PERFORMED}/{uid}")).json()[0]
    assert [one[tag]["Value"] for tag in tags] == [[tag] for tag in tags]


async def test_steps_of_studies_out_of_scope_are_not_there(
    archive: Archive, principal: Principal
) -> None:
    mine, other = Principal("mine", Scope(studies=frozenset({"1.2.3"}))), make_performed("1.2.4")
    await create_performed_step(archive, mine, "1.1", make_performed("1.2.3"))
    with pytest.raises(Forbidden):
        await create_performed_step(archive, mine, "1.2", other)
    await create_performed_step(archive, principal, "1.2", other)
    await retrieve_performed_step(archive, mine, "1.1")
    with pytest.raises(NotFound):
        await retrieve_performed_step(archive, mine, "1.2")
    steps = read_scheduled_steps(make_order(StudyInstanceUID="1.2.4"), Limits())
    with pytest.raises(Forbidden):
        await schedule_steps(archive, mine, steps)


async def test_who_may_only_see_tells_nothing_and_who_may_do_nothing_sees_nothing(
    archive: Archive, principal: Principal
) -> None:
    await create_performed_step(archive, principal, "1.1", make_performed())
    nobody = Principal("nobody", verbs=frozenset())
    with pytest.raises(Forbidden):
        await create_performed_step(archive, nobody, "1.2", make_performed())
    with pytest.raises(Forbidden):
        await retrieve_performed_step(archive, nobody, "1.1")


async def test_the_log_tells_how_far_a_step_is_and_names_no_patient(
    archive: Archive, principal: Principal
) -> None:
    await create_performed_step(archive, principal, "1.1", make_performed("1.2.3"))
    (event,) = await read_events(archive.index, 1, Position())
    assert (event.kind, event.actor) == ("step-performed", principal.name)
    assert event.payload["study"] == "1.2.3"
    assert (event.payload["step"], event.payload["status"]) == ("1.1", "IN PROGRESS")
    assert "FR-0001" not in str(event)
