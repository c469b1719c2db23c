"""Unknown items of an association request are skipped (PS3.8 §9.3.1)."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dimse.items import known_items
from tests.bare_associations import ACCEPT, association_request, next_pdu
from tests.bridges import RunningBridge

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


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_what_contradicts_itself_stays_as_it_is(cut: int) -> None:
    assert known_items(REQUEST[:-cut]) == REQUEST[:-cut]


@given(st.binary(max_size=200))
def test_whatever_comes_is_no_longer_afterwards(items: bytes) -> None:
    pdu = REQUEST[:74] + items
    assert len(known_items(pdu)) <= len(pdu)
