"""What the archive wants sent on is claimed, sent and told; destinations of its registry."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove,
)

from app.archive.forwarding import LEASE_SECONDS
from app.dimse import claims
from app.dimse.archive import Archive
from app.dimse.connections import Connections
from app.dimse.destinations import Destinations
from app.dimse.peers import Peer
from app.dimse.sending_out import send_study
from app.dimse.server import Speaker
from benchmarks.server import free_port
from tests.bridges import PATIENCE, RunningBridge, associated, bridge_to, data_set_of, send_bytes
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer

CT = str(CTImageStorage)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)


class _Workstation:
    """Keeps what is sent to it, and answers with a status."""

    def __init__(self) -> None:
        self.came: dict[str, bytes] = {}
        self.status, self.port, self.asked, self.seconds = 0, 0, 0, 0.0
        self.aborts_at: Callable[[str], bool] = lambda _: False

    def __call__(self, event: Any) -> int:
        self.asked += 1
        if self.aborts_at(event.request.AffectedSOPInstanceUID):
            event.assoc.abort()
            return 0
        time.sleep(self.seconds)
        if self.status == 0:
            data = event.request.DataSet.getvalue()
            self.came[str(event.request.AffectedSOPInstanceUID)] = data
        return self.status


@contextmanager
def _listening(title: str) -> Iterator[_Workstation]:
    workstation = _Workstation()
    entity = AE(title)
    entity.supported_contexts = StoragePresentationContexts
    handlers: list[Any] = [(evt.EVT_C_STORE, workstation)]
    server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=handlers)
    assert server is not None
    workstation.port = server.server_address[1]
    try:
        yield workstation
    finally:
        server.shutdown()


def _title() -> str:
    return f"WS{new_uid()[-12:]}"


def _registered(archive: LiveServer, title: str, port: int) -> None:
    address = {"host": "127.0.0.1", "port": port}
    kept = httpx.put(f"{archive.url}/api/v1/destinations/{title}", json=address)
    assert kept.status_code in {201, 204}


def _ruled(archive: LiveServer, title: str, source: str) -> None:
    rule = {"destination": title, "sources": [source]}
    assert httpx.post(f"{archive.url}/api/v1/forwarding-rules", json=rule).status_code == 201


def _queue(archive: LiveServer, title: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{archive.url}/api/v1/forwardings", params={"destination": title})
    queue: list[dict[str, Any]] = answer.json()["forwardings"]
    return queue


def _until(met: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def _store(bridge: RunningBridge, calling: str, *datasets: Dataset) -> dict[str, bytes]:
    sent = {str(one.SOPInstanceUID): data_set_of(make_part10(one)) for one in datasets}
    with associated(bridge, (CT, ExplicitVRLittleEndian), calling=calling) as association:
        for uid, data in sent.items():
            assert send_bytes(association, data, CT, uid) == (0, "")
    return sent


@pytest.mark.parametrize("spooled", [False, True])
def test_what_meets_a_rule_is_sent_on_and_leaves_the_queue(
    archive: LiveServer, tmp_path: Path, spooled: bool
) -> None:
    title, source = _title(), _title()
    spool = tmp_path / "spool" if spooled else None
    with _listening(title) as workstation, bridge_to(archive, spool=spool) as bridge:
        _registered(archive, title, workstation.port)
        _ruled(archive, title, source)
        sent = _store(bridge, source, *make_series(25, Rows=4, Columns=4))
        _store(bridge, "OTHER", make_dataset())
        _until(lambda: len(workstation.came) == len(sent) and not _queue(archive, title))
    assert workstation.came == sent


def test_what_is_refused_waits_with_the_reason(archive: LiveServer) -> None:
    title, source = _title(), _title()
    with _listening(title) as workstation, bridge_to(archive) as bridge:
        workstation.status = 0xA700
        _registered(archive, title, workstation.port)
        _ruled(archive, title, source)
        sent = _store(bridge, source, make_dataset())
        _until(lambda: [one for one in _queue(archive, title) if one["reason"]])
        (waiting,) = _queue(archive, title)
        assert (waiting["state"], waiting["reason"]) == ("waiting", "refused with status A700")
        workstation.status = 0
        chosen = {"destination": title}
        assert httpx.post(f"{archive.url}/api/v1/forwardings/retry", json=chosen).json()
        _until(lambda: not _queue(archive, title))
    assert workstation.came == sent


@pytest.mark.parametrize("poisonous", [2, 8])
def test_what_ends_each_association_keeps_nothing_behind_it_waiting(
    archive: LiveServer, poisonous: int
) -> None:
    title, source = _title(), _title()
    series = make_series(12, Rows=4, Columns=4)
    poison = {str(one.SOPInstanceUID) for one in series[:poisonous]}
    with _listening(title) as workstation, bridge_to(archive) as bridge:
        workstation.aborts_at = poison.__contains__
        _registered(archive, title, workstation.port)
        _ruled(archive, title, source)
        sent = _store(bridge, source, *series)
        _until(lambda: workstation.came.keys() == sent.keys() - poison)
        _until(
            lambda: [one["reason"] for one in _queue(archive, title)] == ["no answer"] * poisonous
        )
    assert {one["instance"] for one in _queue(archive, title)} == poison


def test_a_study_is_sent_but_for_what_ends_its_associations(
    archive: LiveServer, ours: Speaker
) -> None:
    series = make_series(6, Rows=4, Columns=4)
    for dataset in series:
        part = make_part10(dataset)
        headers = {"Content-Type": "application/dicom"}
        httpx.post(f"{archive.dicomweb}/studies", content=part, headers=headers)
    study, (poison, *sound) = series[0].StudyInstanceUID, [str(it.SOPInstanceUID) for it in series]
    with _listening("SICK") as workstation:
        peer = Peer("SICK", "127.0.0.1", workstation.port)
        workstation.aborts_at = poison.__eq__
        outcomes = {one.instance: one.why for one in send_study(ours, peer, study)}
        assert outcomes == {poison: "no answer"} | dict.fromkeys(sound, "")
        workstation.aborts_at = lambda _: True
        reasons = Counter(one.why for one in send_study(ours, peer, study))
    assert reasons == {"no answer": 3, "SICK ends one association after the other": 3}


def test_a_destination_that_is_down_keeps_no_other_waiting(archive: LiveServer) -> None:
    down, title, source = _title(), _title(), _title()
    with _listening(title) as workstation, bridge_to(archive) as bridge:
        _registered(archive, down, free_port())
        _registered(archive, title, workstation.port)
        for one in (down, title):
            _ruled(archive, one, source)
        sent = _store(bridge, source, make_dataset())
        _until(lambda: workstation.came and not _queue(archive, title))
        _until(lambda: [one for one in _queue(archive, down) if one["reason"]])
        (waiting,) = _queue(archive, down)
    assert workstation.came == sent
    assert waiting["reason"] == f"{down} takes no association"
    chosen = {"destination": down}
    assert httpx.post(f"{archive.url}/api/v1/forwardings/discard", json=chosen).json()


@pytest.mark.slow
def test_what_takes_long_is_held_and_sent_once(
    archive: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortest, _ = LEASE_SECONDS
    monkeypatch.setattr(claims, "SECONDS", shortest)
    title = _title()
    with _listening(title) as workstation:
        workstation.seconds = 1.5 * shortest
        _registered(archive, title, workstation.port)
        with bridge_to(archive) as bridge:
            sent = _store(bridge, "MODALITY", dataset := make_dataset())
            wanted = {"destination": title, "study": dataset.StudyInstanceUID}
            assert httpx.post(f"{archive.url}/api/v1/forwardings", json=wanted).status_code == 201
            _until(lambda: not _queue(archive, title))
    assert (workstation.came, workstation.asked) == (sent, 1)


def test_for_an_ae_that_both_know_the_settings_count() -> None:
    ours = Peer("WS", "10.0.0.9", 104, tls=True)
    nowhere = Archive(Connections(f"http://127.0.0.1:{free_port()}", 1), {}, 0.0)
    destinations = Destinations(nowhere, {"WS": ours, "CT": Peer("CT", "10.0.0.5")})
    described = {"host": "10.0.0.7", "port": 11112, "tls": False}
    assert destinations.find("WS") == destinations.of({"ae_title": "WS", **described}) == ours
    theirs = Peer("CT", "10.0.0.7", 11112)
    assert destinations.of({"ae_title": "CT", **described}) == theirs
    assert destinations.find("") is None


def test_a_bridge_that_stops_lets_go_of_what_it_has_not_sent(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    title = _title()
    datasets = make_series(5, Rows=4, Columns=4)
    with _listening(title) as workstation:
        workstation.seconds = 0.5
        _registered(archive, title, workstation.port)
        sent = _store(bridge, "MODALITY", *datasets)
        wanted = {"destination": title, "study": datasets[0].StudyInstanceUID}
        assert httpx.post(f"{archive.url}/api/v1/forwardings", json=wanted).status_code == 201
        with bridge_to(archive):
            _until(lambda: workstation.came)
        left = _queue(archive, title)
        assert [one["state"] for one in left] == ["waiting"] * (5 - workstation.asked)
        assert left
        with bridge_to(archive):
            _until(lambda: not _queue(archive, title))
    assert (workstation.came, workstation.asked) == (sent, 5)


def test_a_c_move_finds_destinations_in_the_registry_of_the_archive(
    archive: LiveServer, bridge: RunningBridge
) -> None:
    title = _title()
    dataset = make_dataset()
    sent = _store(bridge, "MODALITY", dataset)
    level = Dataset()
    level.QueryRetrieveLevel, level.StudyInstanceUID = "STUDY", dataset.StudyInstanceUID
    with (
        _listening(title) as workstation,
        associated(bridge, (MOVE, ExplicitVRLittleEndian)) as association,
    ):
        *_, (unknown, _) = association.send_c_move(level, title, MOVE)
        assert unknown.Status == 0xA801
        _registered(archive, title, workstation.port)
        *_, (last, _) = association.send_c_move(level, title, MOVE)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
    assert workstation.came == sent
