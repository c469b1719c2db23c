"""Performed procedure steps by N-CREATE and N-SET (PS3.4 Annex F; P-01 to P-06)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityPerformedProcedureStep  # type: ignore[attr-defined]

from benchmarks.server import free_port
from tests.bridges import RunningBridge, associated, bridge_to
from tests.factories import new_uid
from tests.live_server import LiveServer
from tests.procedure_steps import make_end, make_order, make_performed

MPPS = str(ModalityPerformedProcedureStep)
PAIR = (MPPS, ExplicitVRLittleEndian)


@pytest.fixture
def association(bridge: RunningBridge) -> Iterator[Association]:
    """An association for performed steps."""
    with associated(bridge, PAIR) as made:
        yield made


def _dataset(json: dict[str, Any]) -> Dataset:
    return Dataset.from_json(json)


def _status(answer: tuple[Dataset, Any]) -> int:
    return int(answer[0].Status)


def _kept(archive: LiveServer, uid: str) -> Dataset:
    path = f"{archive.dicomweb}/modality-performed-procedure-steps/{uid}"
    answer = httpx.get(path, headers={"Accept": "application/dicom+json"})
    assert answer.status_code == 200
    return Dataset.from_json(answer.json()[0])


def _scheduled(archive: LiveServer, study: str) -> str:
    path = f"{archive.dicomweb}/modality-scheduled-procedure-steps/{study}/S1"
    (step,) = httpx.get(path).json()
    status: str = step["00400100"]["Value"][0]["00400020"]["Value"][0]
    return status


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_a_modality_performs_shows_on_the_worklist(
    archive: LiveServer, bridge: RunningBridge, syntax: str
) -> None:
    study, uid = new_uid(), new_uid()
    order = make_order(StudyInstanceUID=study)
    sent = httpx.post(f"{archive.dicomweb}/modality-scheduled-procedure-steps", json=order)
    assert sent.status_code == 201
    with associated(bridge, (MPPS, syntax)) as association:
        begun = _dataset(make_performed(study))
        assert _status(association.send_n_create(begun, MPPS, uid)) == 0
        assert _scheduled(archive, study) == "STARTED"
        assert _status(association.send_n_set(_dataset(make_end()), MPPS, uid)) == 0
    assert _scheduled(archive, study) == "COMPLETED"
    kept = _kept(archive, uid)
    assert (kept.PerformedProcedureStepStatus, str(kept.PatientName)) == (
        "COMPLETED",
        "Müller^Änne",
    )
    assert kept.PerformedSeriesSequence[0].ProtocolName == "Thorax"


def test_a_step_without_a_uid_gets_one(archive: LiveServer, association: Association) -> None:
    uids: list[str] = []

    def look(event: Any) -> None:
        uids.append(event.message.command_set.AffectedSOPInstanceUID)

    association.bind(evt.EVT_DIMSE_RECV, look)
    assert _status(association.send_n_create(_dataset(make_performed()), MPPS)) == 0
    assert _kept(archive, uids[0]).Modality == "CT"


def test_what_is_wrong_with_a_step_has_its_status(association: Association) -> None:
    uid = new_uid()
    create, change = association.send_n_create, association.send_n_set
    good, end = _dataset(make_performed()), _dataset(make_end())
    late = _dataset(make_performed(PerformedProcedureStepStatus="COMPLETED"))
    nameless = _dataset(make_performed(PerformedStationAETitle=None))
    other = _dataset(make_end(Modality="MR"))
    assert _status(create(nameless, MPPS, uid)) == 0x0120
    assert _status(create(late, MPPS, uid)) == 0x0106
    assert _status(change(end, MPPS, uid)) == 0x0112
    assert _status(create(good, MPPS, uid)) == 0
    assert _status(create(good, MPPS, uid)) == 0x0111
    assert _status(change(other, MPPS, uid)) == 0x0106
    assert _status(change(end, MPPS, uid)) == 0
    final, _ = change(end, MPPS, uid)
    assert (final.Status, final.ErrorID) == (0x0110, 0xA710)
    assert "COMPLETED: it may no longer be" in final.ErrorComment


def test_an_archive_that_is_not_there_is_no_success() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        bridge_to(nowhere, patience_seconds=0.2) as bridge,
        associated(bridge, PAIR) as association,
    ):
        answer = association.send_n_create(_dataset(make_performed()), MPPS, new_uid())
    assert _status(answer) == 0x0213
