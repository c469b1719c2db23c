"""What cannot be negotiated ends its association whole: an answer, the connection, both threads."""

import socket
import struct
import time

import pytest

from tests.bare_associations import ABORT, CT, association_request, next_pdu
from tests.bridges import bridge_to
from tests.live_server import LiveServer

REJECT = b"\x03"
_WHOLE = association_request()
_LENGTH = b"\x51\0\0\4\0\0\x40\0"


def _sized(pdu: bytes) -> bytes:
    return pdu[:2] + struct.pack(">L", len(pdu) - 6) + pdu[6:]


def _without_transfer_syntax() -> bytes:
    name = CT.encode()
    context = b"\x20\0" + struct.pack(">H", 8 + len(name)) + b"\x09\0\0\0"
    at = _WHOLE.index(b"\x50\0")
    return _sized(
        _WHOLE[:at] + context + b"\x30\0" + struct.pack(">H", len(name)) + name + _WHOLE[at:]
    )


def _with_user_item(item: bytes) -> bytes:
    at = _WHOLE.index(b"\x50\0")
    length = struct.pack(">H", len(_WHOLE) - at - 4 + len(item))
    return _sized(_WHOLE[: at + 2] + length + _WHOLE[at + 4 :] + item)


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [
        pytest.param(_without_transfer_syntax(), ABORT, id="no Transfer Syntax"),
        pytest.param(_with_user_item(b"\x58\0\0\7\x09\0\0\1x\0\0"), ABORT, id="no such identity"),
        *(
            pytest.param(
                _WHOLE.replace(_LENGTH, _LENGTH[:-4] + struct.pack(">L", n)),
                REJECT,
                id=f"PDUs of {n}",
            )
            for n in (1, 6)
        ),
    ],
)
def test_nothing_is_left_of_what_cannot_be_negotiated(
    archive: LiveServer, request_pdu: bytes, answer: bytes
) -> None:
    assert request_pdu != _WHOLE
    with (
        bridge_to(archive, forwardings=0) as bridge,
        socket.create_connection(("127.0.0.1", bridge.port), timeout=30) as peer,
    ):
        peer.sendall(request_pdu)
        assert next_pdu(peer)[0] == answer
        assert next_pdu(peer)[0] in {b"", ABORT}
        until = time.monotonic() + 30
        while bridge.bridge.associations:
            assert time.monotonic() < until
            time.sleep(0.02)
