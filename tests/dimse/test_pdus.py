"""PDUs are read however they are cut, and nothing is held by a length that a peer declares."""

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dimse.pdus import PduReader, ProtocolError, Receiver

RELEASE = b"\x05\0\0\0\0\4\0\0\0\0"


class _Seen:
    def __init__(self) -> None:
        self.pdus: list[tuple[int, bytes]] = []
        self.fragments: list[tuple[int, int, bytes]] = []
        self._pieces: list[bytes] = []

    def pdu(self, kind: int, whole: bytes) -> None:
        self.pdus.append((kind, whole))

    def fragment(self, context_id: int, control: int, piece: memoryview, ended: bool) -> None:
        self._pieces.append(bytes(piece))
        if ended:
            self.fragments.append((context_id, control, b"".join(self._pieces)))
            self._pieces.clear()


def _value(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context_id, control) + data


def _data_pdu(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BxL", 4, len(body)) + body


def _read(stream: bytes, sizes: list[int]) -> _Seen:
    seen = _Seen()
    reader = PduReader(Receiver(seen.pdu, seen.fragment))
    at = 0
    for size in sizes:
        reader.feed(memoryview(stream)[at : at + size])
        at += size
    reader.feed(memoryview(stream)[at:])
    return seen


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), max_size=4),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_fragments_come_whole_however_the_stream_is_cut(
    pdus: list[list[bytes]], sizes: list[int]
) -> None:
    stream = b"".join(_data_pdu(*(_value(3, 2, data) for data in pdu)) for pdu in pdus) + RELEASE
    seen = _read(stream, sizes)
    assert seen.fragments == [(3, 2, data) for pdu in pdus for data in pdu]
    assert seen.pdus == [(5, RELEASE)]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"\x09\0\0\0\0\4\0\0\0\0", id="unknown type"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"\x05\0\xff\xff\xff\xff", id="a release of 4 GB"),
        pytest.param(b"\x01\0\x7f\xff\xff\xff", id="a request of 2 GB"),
        pytest.param(b"\x05\0\0\0\0\0", id="a release of nothing"),
        pytest.param(b"\x04\0\0\0\0\2\0\0", id="data without a fragment"),
        pytest.param(b"\x04\0\0\0\0\x08" + struct.pack(">LBB", 1, 1, 0), id="fragment too short"),
        pytest.param(b"\x04\0\0\0\0\x08" + struct.pack(">LBB", 99, 1, 0), id="fragment too long"),
        pytest.param(b"\x04\0\0\0\0\x09" + _value(1, 0, b"a"), id="bytes left over"),
    ],
)
def test_what_is_no_pdu_is_refused(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        _read(stream, [])


def test_a_fragment_that_claims_four_gigabytes_takes_no_memory() -> None:
    seen: list[int] = []
    reader = PduReader(Receiver(lambda *_: None, lambda *given: seen.append(len(given[2]))))
    head = struct.pack(">BxLLBB", 4, 2**32 - 1, 2**32 - 5, 1, 0)
    block = bytes(2**16)
    tracemalloc.start()
    reader.feed(memoryview(head))
    for _ in range(200):
        reader.feed(memoryview(block))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(seen) == 200 * len(block)
    assert peak < 2**20
