"""Who is let in, how much one may take, and what hostile peers cannot do."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from app.dimse import commands
from app.dimse.pdus import ProtocolError
from app.dimse.peers import Peer
from app.dimse.upper_layer import Pace
from tests.bare_associations import (
    ABORT,
    ABORTED,
    ACCEPT,
    CT,
    CT_CONTEXT,
    DATA,
    FIND,
    RELEASE_REQUEST,
    association_request,
    next_pdu,
    store_bare,
)
from tests.bridges import RunningBridge, associated, bridge_to, called, dcmtk, send_bytes
from tests.bridges import data_set_of as data_set_of_file
from tests.factories import make_dataset, make_part10, make_series
from tests.killing.bridge import BridgeProcess
from tests.live_server import LiveServer


@contextmanager
def _connected(bridge: RunningBridge) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=30) as peer:
        yield peer


def _answer(peer: socket.socket) -> bytes:
    """Return the type of the PDU that comes, b'' if the connection was closed."""
    return next_pdu(peer)[0]


def _store_command() -> bytes:
    return commands.command_pdu(3, commands.store_request(1, CT, "1.2.3"))


def _echoes(bridge: RunningBridge) -> bool:
    return dcmtk("echoscu", *called(bridge), good=False).returncode == 0


def test_unknown_peers_are_refused_unless_the_bridge_is_open(archive: LiveServer) -> None:
    with bridge_to(archive, open=False, peers=(Peer("KNOWN"),)) as bridge:
        dcmtk("echoscu", *called(bridge, calling="KNOWN"))
        refused = dcmtk("echoscu", *called(bridge, calling="UNKNOWN"), good=False)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr + refused.stdout


def test_a_wrong_called_title_or_address_is_refused(archive: LiveServer) -> None:
    peers = (Peer("AWAY", "192.0.2.1"),)
    with bridge_to(archive, peers=peers) as bridge:
        port = str(bridge.port)
        wrong = dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", port, good=False)
        away = dcmtk("echoscu", *called(bridge, calling="AWAY"), good=False)
    assert "Called AE Title Not Recognized" in wrong.stderr + wrong.stdout
    assert "Calling AE Title Not Recognized" in away.stderr + away.stdout


def test_a_peer_uses_only_the_services_that_it_may(archive: LiveServer) -> None:
    peers = (Peer("VIEWER", services=frozenset({"find", "retrieve"})),)
    data = data_set_of_file(make_part10(dataset := make_dataset()))
    with bridge_to(archive, peers=peers) as bridge:
        pair = (CT, ExplicitVRLittleEndian)
        with associated(bridge, pair, calling="VIEWER") as association:
            code, _ = send_bytes(association, data, CT, dataset.SOPInstanceUID)
    assert code == 0x0124
    assert list((archive.data_dir / "objects").rglob(f"{dataset.SOPInstanceUID}.*")) == []


def test_associations_are_limited_for_each_peer_and_in_all(archive: LiveServer) -> None:
    with bridge_to(archive, associations=3, associations_per_peer=2) as bridge:

        def ask(calling: str) -> bool:
            entity = AE(calling)
            entity.add_requested_context(Verification)
            held.append(entity.associate("127.0.0.1", bridge.port, ae_title="FILEROOM"))
            return held[-1].is_established

        held: list[Association] = []
        try:
            assert [ask(title) for title in ("A", "A", "A", "B", "C")] == [
                True,
                True,
                False,
                True,
                False,
            ]
        finally:
            for association in held:
                association.release()


HOSTILE = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="another protocol"),
    pytest.param(b"\x01\0\xff\xff\xff\xff" + bytes(100), id="a request of 4 GB"),
    pytest.param(b"\x01\0\0\0\0\x46" + bytes(70), id="a request of nothing but zeros"),
    pytest.param(b"\x04\0\xff\xff\xff\xff" + bytes(100), id="data before an association"),
    pytest.param(association_request() + b"\x09\0\0\0\0\4\0\0\0\0", id="an unknown PDU"),
    pytest.param(association_request() + association_request(), id="a second request"),
]


@pytest.mark.parametrize("stream", HOSTILE)
def test_what_is_no_dicom_ends_its_own_association_alone(
    bridge: RunningBridge, stream: bytes
) -> None:
    with _connected(bridge) as peer:
        peer.sendall(stream)
        answers = [_answer(peer)]
        while answers[-1]:
            answers.append(_answer(peer))
    assert answers[-2:-1] in ([ABORT], [])
    assert _echoes(bridge)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\x04\0\xff\xff\xff\xff" + struct.pack(">LBB", 2**32 - 5, 3, 0), id="data"),
        pytest.param(
            b"\x04\0\xff\xff\xff\xff" + struct.pack(">LBB", 2**32 - 5, 3, 1), id="command"
        ),
        pytest.param(_store_command() + b"\x04\0\0\0\0\x08" + bytes(8), id="fragment of nothing"),
        pytest.param(_store_command() + _store_command(), id="command within a message"),
        pytest.param(commands.command_pdu(9, b""), id="unknown context"),
        pytest.param(commands.command_pdu(3, b"\xff" * 40), id="no command"),
        pytest.param(commands.command_pdu(3, b""), id="empty command"),
    ],
)
def test_hostile_data_is_answered_with_an_abort(bridge: RunningBridge, stream: bytes) -> None:
    with _connected(bridge) as peer:
        peer.sendall(association_request())
        assert _answer(peer) == b"\x02"
        peer.sendall(stream + bytes(2**17))
        peer.shutdown(socket.SHUT_WR)
        assert _answer(peer) in {ABORT, b""}
    assert _echoes(bridge)


def test_four_gigabytes_that_are_announced_take_no_memory(bridge: RunningBridge) -> None:
    process = psutil.Process()
    with _connected(bridge) as peer:
        peer.sendall(association_request())
        assert _answer(peer) == b"\x02"
        before = process.memory_info().rss
        peer.sendall(_store_command())
        peer.sendall(b"\x04\0\xff\xff\xff\xff" + struct.pack(">LBB", 2**32 - 5, 3, 0))
        for _ in range(64):
            peer.sendall(bytes(2**20))  # 64 MiB: 4 MiB stay in memory, the rest is on the disk
        assert process.memory_info().rss - before < 32 * 2**20
    assert _echoes(bridge)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(association_request()[:40], id="half a request"),
        pytest.param(association_request(), id="an association"),
        pytest.param(association_request() + _store_command()[:20], id="half a PDU"),
        pytest.param(
            association_request() + _store_command() + b"\x04\0\0\0\x40\0" + bytes(9),
            id="half a data set",
        ),
    ],
)
def test_who_stalls_is_let_go_and_nobody_else_waits(archive: LiveServer, stream: bytes) -> None:
    with (
        bridge_to(archive, idle_seconds=1, request_seconds=1) as bridge,
        _connected(bridge) as peer,
    ):
        peer.sendall(stream[: len(association_request())])
        if stream.startswith(association_request()):
            assert _answer(peer) == b"\x02"
        peer.sendall(stream[len(association_request()) :])
        assert _echoes(bridge)
        while _answer(peer):
            pass


_FINDS = commands.command_pdu(
    5,
    commands.written(
        {
            commands.AFFECTED_SOP_CLASS_UID: FIND.encode(),
            commands.COMMAND_FIELD: b"\x20\0",
            commands.MESSAGE_ID: b"\7\0",
            commands.PRIORITY: b"\0\0",
            commands.DATA_SET_TYPE: b"\1\0",
        }
    ),
)
_LEVEL = b"\x08\0\x52\0CS\6\0STUDY \x20\0\x0d\0UI\0\0"
STATES = {
    "nothing said": [],
    "half a request": [association_request()[:40]],
    "associated": [association_request()],
    "half a command": [association_request(), _store_command()[:30]],
    "a command": [association_request(), _store_command()],
    "half a data set": [
        association_request(),
        _store_command() + b"\x04\0\0\0\x40\0" + struct.pack(">LBB", 9999, 3, 0) + bytes(99),
    ],
    "a query under way": [
        association_request(),
        _FINDS + commands.data_header(5, len(_LEVEL), last=True) + _LEVEL,
    ],
    "release asked for": [association_request(), RELEASE_REQUEST],
}


def test_what_trickles_is_ended(archive: LiveServer) -> None:
    """Each byte comes before the peer is silent for too long, and the message never ends."""
    with bridge_to(archive, idle_seconds=1) as bridge, _connected(bridge) as peer:
        peer.sendall(association_request())
        assert next_pdu(peer)[0] == ACCEPT
        peer.sendall(DATA + struct.pack(">BLLBB", 0, 2**20, 2**20 - 4, CT_CONTEXT, 1))
        begun, answer = time.monotonic(), b""
        while not answer and time.monotonic() - begun < 60:
            with suppress(ConnectionError):
                peer.sendall(b"\0")
            peer.settimeout(0.1)
            with suppress(TimeoutError):
                answer = next_pdu(peer)[0] or b"closed"
        assert answer in {ABORT, b"closed"}


def test_a_pace_forgives_a_slow_start_and_counts_anew_after_a_rest() -> None:
    pace = Pace(60)
    pace.check(1, 0.0)
    pace.check(1, 60.0)
    pace.rest()
    pace.check(1, 100.0)
    pace.check(2**20, 161.0)
    pace.check(2**20, 1000.0)
    with pytest.raises(ProtocolError, match="2097154 bytes of a message"):
        pace.check(1, 3000.0)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("end", ["an abort", "a reset", "a close"])
def test_an_association_that_ends_in_any_state_harms_nobody(
    archive: LiveServer, state: str, end: str
) -> None:
    with bridge_to(archive) as bridge:
        with _connected(bridge) as peer:
            for step in STATES[state]:
                peer.sendall(step)
                if step == association_request():
                    assert _answer(peer) == b"\x02"
            if end == "an abort":
                peer.sendall(ABORTED)
            elif end == "a reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert _echoes(bridge)
        until = time.monotonic() + 30
        while bridge.bridge.associations:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_places_come_back_when_associations_break(archive: LiveServer) -> None:
    with bridge_to(archive, associations=2, associations_per_peer=2) as bridge:
        for _ in range(3):
            with _connected(bridge) as one, _connected(bridge) as other:
                for peer in (one, other):
                    peer.sendall(association_request())
                    assert _answer(peer) == b"\x02"
            _until_all_have_ended(bridge)
            assert _echoes(bridge)
            _until_all_have_ended(bridge)


def _until_all_have_ended(bridge: RunningBridge) -> None:
    end = time.monotonic() + 60
    while bridge.bridge.associations:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_hundred_associations_at_once_are_served(archive: LiveServer, tmp_path: Path) -> None:
    settings = {"ASSOCIATIONS": "101", "ASSOCIATIONS_PER_PEER": "101"}
    process = BridgeProcess(tmp_path, archive.url, None, settings)
    process.start()
    try:
        before = process.memory()
        datasets = make_series(200, Rows=256, Columns=256)
        together = threading.Barrier(100)

        def stored(peer: socket.socket, dataset: Dataset) -> int:
            data = data_set_of_file(make_part10(dataset))
            return store_bare(peer, data, str(dataset.SOPInstanceUID))

        def store(number: int) -> list[int]:
            with socket.create_connection(("127.0.0.1", process.port), timeout=60) as peer:
                peer.sendall(association_request())
                assert _answer(peer) == b"\x02"
                together.wait(60)
                return [stored(peer, dataset) for dataset in datasets[number::100]]

        with ThreadPoolExecutor(100) as pool:
            statuses = list(pool.map(store, range(100)))
        assert statuses == [[0, 0]] * 100
        assert process.memory() - before < 256 * 2**20
    finally:
        assert process.stop() == 0
    for dataset in datasets:
        assert archive.stored_object(dataset.SOPInstanceUID)
