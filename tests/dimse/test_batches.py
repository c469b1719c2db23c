"""Instances that wait together go together, and each gets its own answer."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.dimse import commands
from app.dimse.archive import Archive
from app.dimse.batches import Batches
from app.dimse.connections import Connections
from app.dimse.messages import Answer, StoreRequest
from app.dimse.peers import Peer
from app.dimse.received import ReceivedBytes
from benchmarks.server import free_port
from tests.bridges import data_set_of
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer

CT = str(CTImageStorage)


def _request(data: bytes, uid: str) -> StoreRequest:
    received = ReceivedBytes(2**24, 2**30, None)
    received.write(memoryview(data))
    command = commands.read_command(commands.store_request(1, CT, uid))
    return StoreRequest(command, 1, ExplicitVRLittleEndian, received)


def _requested(dataset: Dataset) -> StoreRequest:
    return _request(data_set_of(make_part10(dataset)), dataset.SOPInstanceUID)


@contextmanager
def _batches(url: str, at_once: int) -> Iterator[Batches]:
    with closing(Connections(url, 8)) as connections:
        yield Batches(Archive(connections, {}, 0.1), at_once)


def _stored(
    batches: Batches, requests: Sequence[StoreRequest], peers: Sequence[str] = ("MODALITY",)
) -> list[Answer]:
    """Store all of them at once, each in a thread of its own."""
    answers: list[Answer | None] = [None] * len(requests)
    together = threading.Barrier(len(requests))

    def store(number: int) -> None:
        together.wait(60)
        peer = Peer(peers[number % len(peers)])
        answers[number] = batches.store(peer, requests[number])

    threads = [threading.Thread(target=store, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [answer for answer in answers if answer is not None]


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("peers", [("ONE",), ("ONE", "TWO", "THREE")])
def test_each_of_many_at_once_gets_its_answer(
    archive: LiveServer, at_once: int, peers: tuple[str, ...]
) -> None:
    series = make_series(40)
    requests = [_requested(dataset) for dataset in series]
    requests.insert(7, _request(b"no DICOM" * 9, new_uid()))
    with _batches(archive.url, at_once) as batches:
        answers = _stored(batches, requests, peers)
        assert len(answers) == 41
        assert [code for number, (code, _) in enumerate(answers) if number != 7] == [0] * 40
        assert answers[7][0] >= 0xA900
        again = make_dataset()
        assert _stored(batches, [_requested(again)]) == [(0, "")]
    for dataset in series:
        assert archive.stored_object(dataset.SOPInstanceUID)


def test_one_uid_twice_at_once_is_answered_twice(archive: LiveServer) -> None:
    uid = new_uid()
    one, other = (make_dataset(SOPInstanceUID=uid, PatientID=name) for name in ("A", "B"))
    with _batches(archive.url, 1) as batches:
        answers = _stored(batches, [_requested(one), _requested(other)] * 4)
    assert sorted({code for code, _ in answers}) == [0, 0xC111]
    assert len(answers) == 8


def test_nobody_is_left_waiting_when_the_archive_is_not_there() -> None:
    requests = [_requested(make_dataset()) for _ in range(12)]
    with _batches(f"http://127.0.0.1:{free_port()}", 1) as batches:
        answers = _stored(batches, requests)
        assert answers == [(0xA700, "the archive does not answer")] * 12
        assert _stored(batches, requests[:1]) == answers[:1]


def test_what_is_large_goes_alone(archive: LiveServer) -> None:
    dataset = make_dataset(Rows=1600, Columns=1600)
    with _batches(archive.url, 1) as batches:
        assert _stored(batches, [_requested(dataset)]) == [(0, "")]
    assert archive.stored_object(dataset.SOPInstanceUID)


def test_what_names_itself_otherwise_is_answered_for_itself(archive: LiveServer) -> None:
    kept, named = make_dataset(PatientID="A"), make_dataset()
    other = make_dataset(SOPInstanceUID=kept.SOPInstanceUID, PatientID="B")
    uid = named.SOPInstanceUID
    mistaken = _request(data_set_of(make_part10(other)), uid)
    mixed = _request(data_set_of(make_part10(named)), new_uid())
    with _batches(archive.url, 1) as batches:
        assert _stored(batches, [_requested(kept)]) == [(0, "")]
        for _ in range(6):
            others = [_requested(dataset) for dataset in make_series(4)]
            answers = _stored(batches, [mistaken, mixed, *others])
            assert [code for code, _ in answers] == [0xC111, 0xB007, 0, 0, 0, 0]
