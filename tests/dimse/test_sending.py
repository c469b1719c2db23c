"""Messages as PDUs: no longer than the peer takes, and whole when they are read again."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dimse.pdus import PduReader, Receiver
from app.dimse.sending import LONGEST_PDU, message_pdus, payload_of


@pytest.mark.parametrize(
    ("maximum", "payload"),
    [(0, LONGEST_PDU - 6), (16384, 16378), (16383, 16376), (2**31, LONGEST_PDU - 6), (7, 2)],
)
def test_a_fragment_and_its_header_fit_into_what_the_peer_takes(maximum: int, payload: int) -> None:
    assert payload_of(maximum) == payload


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 10).map(lambda half: 2 * half))
def test_a_message_is_whole_when_it_is_read_again(pieces: list[bytes], payload: int) -> None:
    values: list[tuple[int, bytes]] = []
    begun: list[bytes] = []

    def fragment(context_id: int, control: int, piece: memoryview, ended: bool) -> None:
        assert context_id == 5
        begun.append(bytes(piece))
        if ended:
            values.append((control, b"".join(begun)))
            begun.clear()

    reader = PduReader(Receiver(lambda *_: None, fragment))
    for block in message_pdus(5, b"command!", pieces, payload):
        reader.feed(memoryview(block))
    assert values[0] == (3, b"command!")
    assert b"".join(data for _, data in values[1:]) == b"".join(pieces)
    assert [control for control, _ in values[1:]] == [0] * (len(values) - 2) + [2] * (
        len(values) > 1
    )
    assert all(len(data) <= payload for _, data in values[1:])


def test_pdus_are_as_long_as_they_say() -> None:
    (block,) = message_pdus(1, b"co", [b"1234", b"56"], 4)
    at, lengths = 0, []
    while at < len(block):
        kind, length = struct.unpack_from(">BxL", block, at)
        assert kind == 4
        lengths.append(length)
        at += 6 + length
    assert (at, lengths) == (len(block), [8, 10, 8])
