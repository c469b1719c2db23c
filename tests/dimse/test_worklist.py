"""The modality worklist by C-FIND (PS3.4 Annex K), as the archive has it (L-01, L-02)."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

from app.dimse.peers import Peer
from tests.bridges import RunningBridge, associated, bridge_to, called, dcmtk
from tests.factories import new_uid
from tests.live_server import LiveServer
from tests.procedure_steps import make_order, make_step

WORKLIST = str(ModalityWorklistInformationFind)
MARK = f"WL{new_uid()[-10:]}"
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.fixture(scope="module")
def scheduled(archive: LiveServer) -> list[str]:
    """Three steps: of two stations, on two days; return their Studies."""
    orders = [
        make_order(
            make_step(ScheduledStationAETitle="CT01", ScheduledProcedureStepID="S1"),
            PatientID=f"{MARK}-1",
            PatientName=YAMADA,
        ),
        make_order(
            make_step(ScheduledStationAETitle="MR01", Modality="MR", ScheduledProcedureStepID="S2"),
            PatientID=f"{MARK}-2",
            PatientName="Müller^Änne",
        ),
        make_order(
            make_step(ScheduledProcedureStepStartDate="20260201", ScheduledProcedureStepID="S3"),
            PatientID=f"{MARK}-3",
        ),
    ]
    answer = httpx.post(
        f"{archive.dicomweb}/modality-scheduled-procedure-steps",
        json=orders,
        headers={"Content-Type": "application/dicom+json"},
    )
    assert answer.status_code == 201, answer.text
    return [order["0020000D"]["Value"][0] for order in orders]


def _query(step: dict[str, Any], **keys: Any) -> Dataset:
    """Return what a modality asks: empty keys are asked for."""
    item = Dataset()
    for keyword, value in {"ScheduledProcedureStepID": "", "Modality": "", **step}.items():
        setattr(item, keyword, value)
    query = Dataset()
    wanted = {"PatientName": "", "PatientID": f"{MARK}-*", "StudyInstanceUID": "", **keys}
    for keyword, value in wanted.items():
        setattr(query, keyword, value)
    query.ScheduledProcedureStepSequence = [item]
    return query


def _found(
    bridge: RunningBridge, query: Dataset, syntax: str = ExplicitVRLittleEndian
) -> tuple[list[Dataset], int]:
    found: list[Dataset] = []
    with associated(bridge, (WORKLIST, syntax)) as association:
        for status, identifier in association.send_c_find(query, WORKLIST):
            if identifier is None:
                return found, int(status.Status)
            found.append(identifier)
    raise AssertionError("no last response")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_modality_is_told_what_it_asked_for_and_nothing_else(
    bridge: RunningBridge, scheduled: list[str], syntax: str
) -> None:
    query = _query({"ScheduledStationAETitle": "CT01"}, SpecificCharacterSet="ISO_IR 192")
    query.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate = "20260131"
    (one,), status = _found(bridge, query, syntax)
    assert status == 0
    assert (one.StudyInstanceUID, str(one.PatientName)) == (scheduled[0], YAMADA)
    assert {element.keyword for element in one} == {
        "SpecificCharacterSet",
        "PatientName",
        "PatientID",
        "StudyInstanceUID",
        "ScheduledProcedureStepSequence",
    }
    (step,) = one.ScheduledProcedureStepSequence
    assert {element.keyword: element.value for element in step} == {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT01",
        "ScheduledProcedureStepStartDate": "20260131",
        "ScheduledProcedureStepID": "S1",
    }


@pytest.mark.parametrize(
    ("step", "keys", "ids"),
    [
        ({}, {}, ["S1", "S2", "S3"]),
        ({"Modality": "MR"}, {}, ["S2"]),
        ({"ScheduledStationAETitle": "CT01"}, {}, ["S1", "S3"]),
        ({"ScheduledProcedureStepStartDate": "20260201-20260228"}, {}, ["S3"]),
        ({"ScheduledProcedureStepStartDate": "-20260131"}, {}, ["S1", "S2"]),
        ({}, {"PatientName": "yamada*"}, ["S1"]),
        ({}, {"PatientName": "Müller*", "SpecificCharacterSet": "ISO_IR 100"}, ["S2", "S3"]),
        ({}, {"PatientID": f"{MARK}-3"}, ["S3"]),
        ({}, {"PatientID": f"{MARK}-9"}, []),
        ({"ScheduledProcedureStepStatus": "STARTED"}, {}, []),
    ],
)
def test_keys_of_a_step_match_as_they_do_on_the_web(
    bridge: RunningBridge,
    scheduled: list[str],
    step: dict[str, str],
    keys: dict[str, str],
    ids: list[str],
) -> None:
    found, status = _found(bridge, _query(step, **{"SpecificCharacterSet": "ISO_IR 192", **keys}))
    steps = [one.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID for one in found]
    assert (sorted(steps), status) == (ids, 0)


def test_an_empty_sequence_asks_for_all_of_a_step(
    bridge: RunningBridge, scheduled: list[str]
) -> None:
    query = _query({}, PatientID=f"{MARK}-1")
    query.ScheduledProcedureStepSequence = []
    (one,), _ = _found(bridge, query)
    (step,) = one.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepDescription == "Thorax nativ"


def test_findscu_writes_the_worklist(
    bridge: RunningBridge, scheduled: list[str], tmp_path: Path
) -> None:
    keys = [
        f"PatientID={MARK}-2",
        "PatientName",
        "StudyInstanceUID",
        "ScheduledProcedureStepSequence[0].Modality=MR",
    ]
    options = [part for key in keys for part in ("-k", key)]
    dcmtk("findscu", "-W", "-X", "-od", tmp_path, *called(bridge), *options)
    (path,) = tmp_path.iterdir()
    found = dcmread(path, force=True)
    assert (found.StudyInstanceUID, str(found.PatientName)) == (scheduled[1], "Müller^Änne")


def test_who_may_not_see_the_worklist_is_offered_none(archive: LiveServer) -> None:
    peers = (Peer("MODALITY", services=frozenset({"store", "find"})),)
    with bridge_to(archive, peers=peers) as bridge:
        refused = dcmtk("findscu", "-W", *called(bridge), "-k", "PatientID", good=False)
    assert "No Acceptable Presentation Contexts" in refused.stdout + refused.stderr
