"""A bridge with the key of a `service`: all of it works, and the log knows which AE it was for."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
)

from app.dimse.claims import CLAIMS
from app.dimse.destinations import DESTINATIONS
from tests.bridges import PATIENCE, RunningBridge, associated, bridge_to, data_set_of, send_bytes
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve
from tests.procedure_steps import make_performed

pytestmark = pytest.mark.slow

CT, MPPS = str(CTImageStorage), str(ModalityPerformedProcedureStep)
WORKLIST = str(ModalityWorklistInformationFind)
PATIENTS = str(PatientRootQueryRetrieveInformationModelFind)


@dataclass(frozen=True)
class _Guarded:
    """An archive that wants keys, and the keys of a bridge and of an administrator."""

    archive: LiveServer
    service: dict[str, str]
    admin: dict[str, str]
    bridge: RunningBridge


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Guarded]:
    """Such an archive, and a bridge to it."""
    directory = tmp_path_factory.mktemp("guarded")
    with serve(directory, environment={"FILEROOM_AUTH__KEYS": "true"}) as archive:
        service = _key(archive, "bridge-1", "--role", "service")
        admin = _key(archive, "boss", "--admin")
        with bridge_to(archive, keys={"": service}) as bridge:
            headers = [{"Authorization": f"Bearer {key}"} for key in (service, admin)]
            yield _Guarded(archive, headers[0], headers[1], bridge)


def _key(archive: LiveServer, name: str, *role: str) -> str:
    arguments = [FILEROOM, "keys", "create", name, *role, "--data-dir", str(archive.data_dir)]
    done = subprocess.run(
        arguments, env=clean_environment(), check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_log_knows_which_ae_has_stored_and_asked(guarded: _Guarded) -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientID, query.PatientName = "PATIENT", "", ""
    pairs = (CT, ExplicitVRLittleEndian), (PATIENTS, ExplicitVRLittleEndian)
    with associated(guarded.bridge, *pairs, calling="CT1") as association:
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
        found = [one for _, one in association.send_c_find(query, PATIENTS) if one]
    assert [one.PatientID for one in found] == [dataset.PatientID]
    end = time.monotonic() + PATIENCE
    wanted = {"accepted", "searched"}
    while not wanted <= (actions := _actions_of(guarded, "bridge-1 (AE CT1)")):
        assert time.monotonic() < end, actions
        time.sleep(0.1)


def _actions_of(guarded: _Guarded, principal: str) -> set[str]:
    answer = httpx.get(f"{guarded.archive.url}/api/v1/audit", headers=guarded.admin)
    entries = answer.raise_for_status().json()["entries"]
    return {one["action"] for one in entries if one["principal"] == principal}


def test_a_service_may_do_all_that_the_bridge_does(guarded: _Guarded) -> None:
    pairs = (MPPS, ExplicitVRLittleEndian), (WORKLIST, ExplicitVRLittleEndian)
    query = Dataset()
    query.PatientID = ""
    with associated(guarded.bridge, *pairs, calling="CT1") as association:
        performed = Dataset.from_json(make_performed())
        status, _ = association.send_n_create(performed, MPPS, new_uid())
        assert status.Status == 0
        *_, (last, _) = association.send_c_find(query, WORKLIST)
        assert last.Status == 0
    with httpx.Client(base_url=guarded.archive.url, headers=guarded.service) as client:
        assert client.post(CLAIMS, json={"limit": 1}).status_code == 204
        assert client.get(f"{DESTINATIONS}/NOBODY").status_code == 404
        assert client.get("/api/v1/commitments").status_code == 200


def test_without_its_key_the_bridge_may_nothing(guarded: _Guarded) -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    with (
        bridge_to(guarded.archive) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        code, _ = send_bytes(association, data, CT, dataset.SOPInstanceUID)
    assert code == 0x0124
