"""Unknown items of an association request are skipped (PS3.8 §9.3.1)."""

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage

from app.dimse.items import known_items
from tests.bare_associations import ACCEPT, association_request, next_pdu
from tests.bridges import RunningBridge
from tests.killing.bridge import BridgeProcess
from tests.live_server import LiveServer

REQUEST = association_request()
UNKNOWN = struct.pack(">BxH", 0x77, 3) + b"abc"


def _with(items: bytes, *, sub_items: bytes = b"") -> bytes:
    """Return the request with more items before its own, and more in its user information."""
    at = REQUEST.index(b"\x50\0", 74)
    (length,) = struct.unpack_from(">H", REQUEST, at + 2)
    user = struct.pack(">BxH", 0x50, length + len(sub_items)) + sub_items + REQUEST[at + 4 :]
    body = REQUEST[6:74] + items + REQUEST[74:at] + user
    return struct.pack(">BxL", 1, len(body)) + body


def test_what_is_known_stays() -> None:
    assert known_items(REQUEST) == REQUEST


@pytest.mark.parametrize(
    ("items", "sub_items"), [(UNKNOWN, b""), (b"", UNKNOWN * 2), (UNKNOWN,) * 2]
)
def test_what_is_unknown_is_left_out_and_the_peer_accepted(
    bridge: RunningBridge, items: bytes, sub_items: bytes
) -> None:
    request = _with(items, sub_items=sub_items)
    assert known_items(request) == REQUEST
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=30) as peer:
        peer.sendall(request)
        assert next_pdu(peer)[0] == ACCEPT


def test_titles_filled_up_with_zeros_are_titles(bridge: RunningBridge) -> None:
    titles = b"FILEROOM".ljust(16, b"\0") + b"CT 1".ljust(16, b"\0")
    request = REQUEST[:10] + titles + REQUEST[42:]
    assert known_items(request)[10:42] == b"FILEROOM        CT 1            "
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=30) as peer:
        peer.sendall(request)
        assert next_pdu(peer)[0] == ACCEPT


@pytest.mark.slow
def test_what_cannot_be_negotiated_is_a_line_in_the_log(
    archive: LiveServer, tmp_path: Path
) -> None:
    bad = REQUEST.replace(str(CTImageStorage).encode(), b"A.B".ljust(len(CTImageStorage), b"x"))
    process = BridgeProcess(tmp_path, archive.url, None)
    process.start()
    try:
        log = tmp_path / "bridge.log"
        before = len(log.read_bytes().splitlines())
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", process.port), timeout=30) as peer:
                peer.sendall(bad)
                next_pdu(peer)
        said = log.read_bytes().splitlines()[before:]
    finally:
        process.kill()
    assert len(said) <= 20, said


@pytest.mark.parametrize("cut", [1, 5, 30, len(REQUEST) - 50])
def test_what_contradicts_itself_stays_as_it_is(cut: int) -> None:
    assert known_items(REQUEST[:-cut]) == REQUEST[:-cut]


@given(st.binary(max_size=200))
def test_whatever_comes_is_no_longer_afterwards(items: bytes) -> None:
    pdu = REQUEST[:74] + items
    assert len(known_items(pdu)) <= len(pdu)
