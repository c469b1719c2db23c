"""Storage commitment: asked by N-ACTION, told by N-EVENT-REPORT, by what the archive has."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from app.dimse.commit import PUSH_INSTANCE
from app.dimse.peers import Peer
from benchmarks.server import free_port
from tests.bridges import PATIENCE, associated, bridge_to, data_set_of, send_bytes
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import LiveServer

PUSH = str(StorageCommitmentPushModel)
PAIR = (PUSH, ExplicitVRLittleEndian)


def _stored(archive: LiveServer) -> Dataset:
    dataset = make_dataset()
    sent = httpx.post(
        f"{archive.dicomweb}/studies",
        content=make_part10(dataset),
        headers={"Content-Type": "application/dicom"},
    )
    assert sent.status_code == 200
    return dataset


def _request(*references: tuple[str, str], transaction: str | None = None) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction or new_uid()
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    request.ReferencedSOPSequence = items
    return request


def _without_references() -> Dataset:
    request = Dataset()
    request.TransactionUID = new_uid()
    return request


class _Told:
    """Takes N-EVENT-REPORTs."""

    def __init__(self) -> None:
        self.reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()

    def __call__(self, event: Any) -> tuple[int, None]:
        self.reports.put((event.event_type, event.event_information))
        return 0, None

    def next(self) -> tuple[int, Dataset]:
        return self.reports.get(timeout=PATIENCE)


def _untold(archive: LiveServer, ae_title: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{archive.url}/api/v1/commitments", params={"ae_title": ae_title})
    listed: list[dict[str, Any]] = answer.json()["commitments"]
    return listed


@contextmanager
def _listening(told: _Told, title: str = "MODALITY") -> Iterator[Peer]:
    entity = AE(title)
    entity.add_supported_context(PUSH, scu_role=False, scp_role=True)
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, told)]
    server = entity.start_server(("127.0.0.1", 0), False, evt_handlers=handlers)
    assert server is not None
    try:
        yield Peer(title, "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def test_what_is_stored_is_committed_and_told_on_the_same_association(
    archive: LiveServer,
) -> None:
    dataset = _stored(archive)
    missing = new_uid()
    request = _request(
        (dataset.SOPClassUID, dataset.SOPInstanceUID), (dataset.SOPClassUID, missing)
    )
    told = _Told()
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, told)]
    with (
        bridge_to(archive) as bridge,
        associated(bridge, PAIR, evt_handlers=handlers) as association,
    ):
        status, _ = association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
        assert status.Status == 0
        kind, report = told.next()
    assert kind == 2
    assert report.TransactionUID == request.TransactionUID
    committed = [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence]
    failed = [
        (item.ReferencedSOPInstanceUID, item.FailureReason) for item in report.FailedSOPSequence
    ]
    assert (committed, failed) == ([dataset.SOPInstanceUID], [(missing, 0x0112)])


def test_a_peer_that_has_gone_is_told_on_a_new_association(archive: LiveServer) -> None:
    dataset = _stored(archive)
    request = _request((dataset.SOPClassUID, dataset.SOPInstanceUID))
    told = _Told()
    with _listening(told) as peer, bridge_to(archive, peers=(peer,)) as bridge:
        with associated(bridge, PAIR) as association:
            association.bind(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))
            status, _ = association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
            assert status.Status == 0
        kind, report = told.next()
    assert kind == 1
    assert report.TransactionUID == request.TransactionUID
    assert "FailedSOPSequence" not in report


def test_who_was_not_told_is_told_by_the_bridge_that_starts_next(archive: LiveServer) -> None:
    dataset = _stored(archive)
    request = _request((dataset.SOPClassUID, dataset.SOPInstanceUID))
    calling = f"CT{new_uid()[-12:]}"
    told = _Told()
    with bridge_to(archive) as bridge, associated(bridge, PAIR, calling=calling) as association:
        association.bind(evt.EVT_N_EVENT_REPORT, lambda _: (0x0110, None))
        status, _ = association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
        assert status.Status == 0
    assert [one["transaction"] for one in _untold(archive, calling)] == [request.TransactionUID]
    with _listening(told, calling) as peer, bridge_to(archive, peers=(peer,)):
        kind, report = told.next()
        assert (kind, report.TransactionUID) == (1, request.TransactionUID)
        end = time.monotonic() + PATIENCE
        while _untold(archive, calling):
            assert time.monotonic() < end
            time.sleep(0.02)
    with bridge_to(archive, peers=(peer,)):
        assert told.reports.empty()


def test_who_was_told_on_the_same_association_is_listed_no_more(archive: LiveServer) -> None:
    dataset = _stored(archive)
    request = _request((dataset.SOPClassUID, dataset.SOPInstanceUID))
    calling = f"CT{new_uid()[-12:]}"
    told = _Told()
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, told)]
    with (
        bridge_to(archive) as bridge,
        associated(bridge, PAIR, calling=calling, evt_handlers=handlers) as association,
    ):
        association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
        assert told.next()[0] == 1
        end = time.monotonic() + 60
        while _untold(archive, calling):  # until the bridge has what the peer answers
            assert time.monotonic() < end
            time.sleep(0.05)


def test_what_is_only_spooled_is_not_committed(archive: LiveServer, tmp_path: Path) -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    sop_class, uid = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
    nowhere = f"http://127.0.0.1:{free_port()}"
    pair = (sop_class, ExplicitVRLittleEndian)
    with (
        bridge_to(nowhere, spool=tmp_path, patience_seconds=0.1) as bridge,
        associated(bridge, pair, PAIR) as association,
    ):
        assert send_bytes(association, data, sop_class, uid) == (0, "")
        status, _ = association.send_n_action(_request((sop_class, uid)), 1, PUSH, PUSH_INSTANCE)
    assert status.Status == 0x0213


@pytest.mark.parametrize(
    ("request_", "action", "instance", "code", "comment"),
    [
        (_request(), 1, PUSH_INSTANCE, 0x0115, "Referenced SOP Sequence"),
        (_without_references(), 1, PUSH_INSTANCE, 0x0115, "Transaction UID and references"),
        (_request(("1.2", "1.3")), 2, PUSH_INSTANCE, 0x0123, "Action Type 1"),
        (_request(("1.2", "1.3")), 1, "1.2.3", 0x0112, PUSH_INSTANCE),
    ],
)
def test_what_is_no_request_is_refused(
    archive: LiveServer, request_: Dataset, action: int, instance: str, code: int, comment: str
) -> None:
    with bridge_to(archive) as bridge, associated(bridge, PAIR) as association:
        status, _ = association.send_n_action(request_, action, PUSH, instance)
    assert status.Status == code
    assert comment in status.ErrorComment


def test_a_transaction_uid_that_was_used_is_refused_with_the_reason(archive: LiveServer) -> None:
    request, told = _request(("1.2", "1.3")), _Told()
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, told)]
    with (
        bridge_to(archive) as bridge,
        associated(bridge, PAIR, evt_handlers=handlers) as association,
    ):
        first, _ = association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
        told.next()
        again, _ = association.send_n_action(request, 1, PUSH, PUSH_INSTANCE)
    assert (first.Status, again.Status) == (0, 0x0110)
    assert "Transaction" in again.ErrorComment
