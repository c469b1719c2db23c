"""A bridge with the key of a `service`: all of it works, and the log knows which AE it was for."""

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
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

from app.dimse import claims, reporting
from app.dimse.claims import CLAIMS
from app.dimse.destinations import DESTINATIONS
from app.dimse.peers import Peer
from app.dimse.reporting import COMMITMENTS
from benchmarks.server import free_port
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
    environment = {"FILEROOM_AUTH__KEYS": "true", "FILEROOM_LOG__ACCESS": "true"}
    with serve(directory, environment=environment) as archive:
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


def test_a_key_that_may_not_claim_is_told_once_with_what_to_do_and_when_that_is_over(
    guarded: _Guarded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "REFUSED_PAUSE"):
        monkeypatch.setattr(claims, name, 0.05)
    for name in ("FIRST_LOOK", "LONGEST_LOOK"):
        monkeypatch.setattr(reporting, name, 0.05)
    caplog.set_level(logging.INFO, "app.dimse")
    viewer, service = _key(guarded.archive, "nurse", "--role", "viewer"), guarded.service
    keys = {"": viewer, "WS": viewer}
    peers = (Peer("WS", "127.0.0.1", free_port()),)
    with bridge_to(guarded.archive, keys=keys, peers=peers):
        _until(lambda: min(_refused(guarded, CLAIMS), _refused(guarded, COMMITMENTS) // 2) >= 6)
        told = _told(caplog)
        keys.update(dict.fromkeys(keys, service["Authorization"].removeprefix("Bearer ")))
        _until(lambda: len(_told(caplog)) >= 6)
        over = _told(caplog)[3:]
        keys[""] = viewer
        _until(lambda: len(_told(caplog)) >= 8)
        again = _told(caplog)[6:]
    of_bridge = sorted(map(_words, (claims.FORWARDING, reporting.TELLING)))
    of_ws = _words(f"{reporting.TELLING} to WS", "WS", "key_file of WS in FILEROOM_DIMSE__PEERS")
    assert sorted(told) == sorted([*of_bridge, of_ws])
    assert sorted(over) == sorted(f"{one.split(' waits')[0]} goes on" for one in told)
    assert sorted(again) == of_bridge


def _words(work: str, whose: str = "the bridge", where: str = "FILEROOM_DIMSE__KEY_FILE") -> str:
    return (
        f"{work} waits: the archive answers HTTP status 403. Give {whose} a key of role `service` "
        f"(fileroom keys create NAME --role service; its file as {where}), "
        "and start the bridge again"
    )


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("app.dimse")]


def _refused(guarded: _Guarded, path: str) -> int:
    lines = guarded.archive.log.read_text().splitlines()
    return sum(path in line and "403" in line for line in lines)


def _until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)
