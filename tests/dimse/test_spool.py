"""The spool: durable before it is acknowledged, forwarded in its order, never thrown away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.dimse import commands
from app.dimse.messages import StoreRequest
from app.dimse.peers import Peer
from app.dimse.received import ReceivedBytes
from app.dimse.spool import INCOMING, REFUSED, WAITING, Spool, SpoolError
from benchmarks.server import free_port
from tests.bridges import (
    associated,
    bridge_to,
    data_set_of,
    send_bytes,
    until_forwarded,
)
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer

CT = str(CTImageStorage)
MODALITY = Peer("MODALITY")


def _request(data: bytes = b"data", uid: str = "1.2.3") -> StoreRequest:
    received = ReceivedBytes(2**20, 2**30, None)
    received.write(memoryview(data))
    command = commands.read_command(commands.store_request(1, CT, uid))
    return StoreRequest(command, 1, ExplicitVRLittleEndian, received)


@contextmanager
def _spool(directory: Path, most_bytes: int = 2**30) -> Iterator[Spool]:
    spool = Spool(directory, most_bytes)
    try:
        yield spool
    finally:
        spool.close()


def test_what_is_kept_is_found_again_in_its_order(tmp_path: Path) -> None:
    made = [make_dataset() for _ in range(3)]
    uids = [dataset.SOPInstanceUID for dataset in made]
    whole = [data_set_of(make_part10(dataset)) for dataset in made]
    with _spool(tmp_path) as spool:
        for data, uid in zip(whole, uids, strict=True):
            assert spool.keep(MODALITY, _request(data, uid)) == (0, "")
        before = spool.figures()
    with _spool(tmp_path) as spool:
        entries = spool.oldest(10, 2**30)
        assert [entry.sop_instance_uid for entry in entries] == uids
        assert [data_set_of(b"".join(entry.chunks())) for entry in entries] == whole
        after = spool.figures()
    assert (after.instances, after.bytes) == (before.instances, before.bytes) == (3, before.bytes)
    assert after.oldest_seconds > 0


def test_what_may_be_another_instance_goes_alone_and_a_uid_twice_apart(tmp_path: Path) -> None:
    one, other = make_dataset(), make_dataset()
    whole = [data_set_of(make_part10(dataset)) for dataset in (one, other)]
    uids = [dataset.SOPInstanceUID for dataset in (one, other)]
    kept = [(0, uids[0]), (1, uids[1]), (1, new_uid()), (0, uids[0]), (0, uids[0])]
    with _spool(tmp_path) as spool:
        for number, uid in kept:
            assert spool.keep(MODALITY, _request(whole[number], uid)) == (0, "")
    with _spool(tmp_path) as spool:
        taken = []
        while entries := spool.oldest(10, 2**30):
            taken.append(len(entries))
            for entry in entries:
                spool.forget(entry)
    assert taken == [2, 1, 1, 1]


def test_what_was_being_written_is_gone_and_what_cannot_be_read_is_put_aside(
    tmp_path: Path,
) -> None:
    with _spool(tmp_path) as spool:
        spool.keep(MODALITY, _request())
    (tmp_path / INCOMING / "torn").write_bytes(b"half")
    (tmp_path / WAITING / "0-broken").write_bytes(b"no head of ours")
    with _spool(tmp_path) as spool:
        figures = spool.figures()
    assert (figures.instances, figures.refused) == (1, 1)
    assert list((tmp_path / INCOMING).iterdir()) == []
    assert [path.name for path in (tmp_path / REFUSED).iterdir()] == ["0-broken"]


def test_a_spool_belongs_to_one_process(tmp_path: Path) -> None:
    with _spool(tmp_path), pytest.raises(SpoolError, match="another process has the spool"):
        Spool(tmp_path, 2**30)
    with _spool(tmp_path):
        pass


def test_a_full_spool_refuses_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    with _spool(tmp_path, most_bytes=2**12) as spool:
        assert spool.keep(MODALITY, _request(b"x" * 2**11))[0] == 0
        code, comment = spool.keep(MODALITY, _request(b"x" * 2**11))
        assert (code, comment) == (0xA700, "the spool of the bridge is full")
        assert spool.figures().instances == 1
        spool.forget(spool.oldest(1, 1)[0])
        assert spool.keep(MODALITY, _request(b"x" * 2**11))[0] == 0


def test_a_spool_that_cannot_be_written_to_refuses(tmp_path: Path) -> None:
    with _spool(tmp_path) as spool:
        (tmp_path / INCOMING).rmdir()
        code, comment = spool.keep(MODALITY, _request())
        assert (code, "cannot be written to" in comment) == (0xA700, True)
        assert (spool.figures().instances, spool.figures().bytes) == (0, 0)


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be used"):
        Spool(tmp_path / "file", 2**30)


def test_instances_are_acknowledged_at_the_edge_and_forwarded(
    archive: LiveServer, tmp_path: Path
) -> None:
    series = make_series(8)
    with bridge_to(archive, spool=tmp_path) as bridge:
        with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
            for dataset in series:
                data = data_set_of(make_part10(dataset))
                assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
        until_forwarded(bridge)
    for dataset in series:
        stored = archive.stored_object(dataset.SOPInstanceUID)
        assert data_set_of(stored) == data_set_of(make_part10(dataset))
    assert list((tmp_path / WAITING).iterdir()) == []


def test_what_was_acknowledged_waits_for_an_archive_that_is_not_there(
    archive: LiveServer, tmp_path: Path
) -> None:
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        bridge_to(nowhere, spool=tmp_path, patience_seconds=0.1) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
    assert len(list((tmp_path / WAITING).iterdir())) == 1
    with bridge_to(archive, spool=tmp_path) as bridge:
        until_forwarded(bridge)
    assert data_set_of(archive.stored_object(dataset.SOPInstanceUID)) == data


def test_what_the_archive_refuses_is_put_aside_and_nothing_waits_behind_it(
    archive: LiveServer, tmp_path: Path
) -> None:
    uid = new_uid()
    first, other = (make_dataset(SOPInstanceUID=uid, PatientID=name) for name in ("A", "B"))
    later = make_dataset()
    with bridge_to(archive, spool=tmp_path) as bridge:
        with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
            for dataset in (first, other, later):
                data = data_set_of(make_part10(dataset))
                assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
            assert send_bytes(association, b"no DICOM" * 20, CT, new_uid()) == (0, "")
        until_forwarded(bridge)
        spool = bridge.bridge.spool
        assert spool is not None
        assert spool.figures().refused == 2
    assert data_set_of(archive.stored_object(uid)) == data_set_of(make_part10(first))
    assert archive.stored_object(later.SOPInstanceUID)
    assert len(list((tmp_path / REFUSED).iterdir())) == 2


def test_content_that_was_acknowledged_under_another_uid_is_put_aside_if_it_is_refused(
    archive: LiveServer, tmp_path: Path
) -> None:
    kept, named = make_dataset(PatientID="A"), make_dataset()
    other = make_dataset(SOPInstanceUID=kept.SOPInstanceUID, PatientID="B")
    sent = [(kept, kept.SOPInstanceUID), (other, named.SOPInstanceUID), (named, new_uid())]
    with bridge_to(archive, spool=tmp_path) as bridge:
        with associated(bridge, (CT, ExplicitVRLittleEndian)) as association:
            for dataset, uid in sent:
                data = data_set_of(make_part10(dataset))
                assert send_bytes(association, data, CT, uid) == (0, "")
        until_forwarded(bridge)
    (aside,) = (tmp_path / REFUSED).iterdir()
    assert data_set_of(make_part10(other)) in aside.read_bytes()
    for dataset in (kept, named):
        stored = archive.stored_object(dataset.SOPInstanceUID)
        assert data_set_of(stored) == data_set_of(make_part10(dataset))


def test_many_peers_are_forwarded_with_the_keys_of_each(
    archive: LiveServer, tmp_path: Path
) -> None:
    datasets = {title: make_dataset() for title in ("ONE", "TWO", "THREE")}
    with bridge_to(archive, spool=tmp_path, peers=(Peer("ONE"),)) as bridge:

        def store(title: str) -> None:
            data = data_set_of(make_part10(datasets[title]))
            with associated(bridge, (CT, ExplicitVRLittleEndian), calling=title) as association:
                uid = datasets[title].SOPInstanceUID
                assert send_bytes(association, data, CT, uid) == (0, "")

        threads = [threading.Thread(target=store, args=(title,)) for title in datasets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until_forwarded(bridge)
    for dataset in datasets.values():
        url = f"{archive.dicomweb}/instances?SOPInstanceUID={dataset.SOPInstanceUID}"
        assert len(httpx.get(url).json()) == 1


def test_what_waits_can_be_watched(archive: LiveServer, tmp_path: Path) -> None:
    port = free_port()
    dataset = make_dataset()
    data = data_set_of(make_part10(dataset))
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        bridge_to(nowhere, spool=tmp_path, patience_seconds=0.1, metrics_port=port) as bridge,
        associated(bridge, (CT, ExplicitVRLittleEndian)) as association,
    ):
        assert send_bytes(association, data, CT, dataset.SOPInstanceUID) == (0, "")
        told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'fileroom_dimse_stores_total{status="0000"} 1.0' in told
    assert "fileroom_dimse_associations 1.0" in told
    assert "fileroom_spool_instances 1.0" in told
    assert "fileroom_spool_refused 0.0" in told
