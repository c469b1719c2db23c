"""A message as P-DATA-TF PDUs (PS3.8 §9.3.5, Annex E), its data set in pieces as they come."""

from collections.abc import Iterable, Iterator

from app.dimse.commands import command_pdu, data_header

LONGEST_PDU = 2**18
_SENT_AT_ONCE = 2**18
_FRAGMENT_HEADER = 6


def payload_of(maximum_length: int) -> int:
    """Return how many bytes of data fit into a PDU of a peer that takes so many, 0 for any number.

    A fragment has an even number of bytes.
    """
    longest = min(maximum_length or LONGEST_PDU, LONGEST_PDU)
    return max(longest - _FRAGMENT_HEADER, 2) & ~1


def message_pdus(
    context_id: int, command: bytes, data_set: Iterable[bytes], payload: int
) -> Iterator[bytes]:
    """Yield a message in blocks that are sent at once; without a data set if that is empty."""
    block = [command_pdu(context_id, command)]
    size = len(block[0])
    for fragment, last in _fragments(data_set, payload):
        block += [data_header(context_id, len(fragment), last=last), fragment]
        size += len(fragment)
        if size >= _SENT_AT_ONCE:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _fragments(data_set: Iterable[bytes], payload: int) -> Iterator[tuple[bytes, bool]]:
    """Yield fragments of `payload` bytes, and a last one that may be shorter."""
    waiting = b""
    for piece in data_set:
        waiting = waiting + piece if waiting else piece
        at = 0
        while len(waiting) - at > payload:
            yield waiting[at : at + payload], False
            at += payload
        waiting = waiting[at:]
    if waiting:
        yield waiting, True
