"""A reader of PDUs (PS3.8 §9.3) that holds none of their data: bytes in, calls out, no socket.

Of a P-DATA-TF each piece of a fragment goes out as it comes, however long the PDU claims to be, so
nothing is ever held or allocated by a length that a peer declares. Other PDUs are held until they
are whole; they are short, and one that claims to be long is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

P_DATA = 4
ASSOCIATE = frozenset({1, 2})
_OTHERS = frozenset({3, 5, 6, 7})
_LONGEST_ASSOCIATE = 2**20
"""128 Presentation Contexts with as many Transfer Syntaxes as there are fit in well."""
_LONGEST_OTHER = 256
_PDU_HEADER = Struct(">BxL")
_ITEM_HEADER = Struct(">LBB")
_HEADER_BYTES = 6


class ProtocolError(Exception):
    """A peer does not speak as PS3.8 says; the association cannot go on."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who takes what was read.

    `pdu` gets type and bytes of a PDU that is no P-DATA-TF; `fragment` the Presentation Context ID,
    the Message Control Header, a piece of the fragment and whether it is the fragment's last one.
    A piece is valid only until the call returns.
    """

    pdu: Callable[[int, bytes], None]
    fragment: Callable[[int, int, memoryview, bool], None]


class PduReader:
    """Cuts a stream of bytes into PDUs and fragments."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._head = bytearray()
        self._type = 0
        self._left = 0  # of this PDU
        self._context_id = self._control = 0
        self._value_left = -1  # of this fragment; -1: its header comes next

    @property
    def is_between(self) -> bool:
        """Say whether no PDU has begun that has not ended."""
        return not self._type and not self._head

    def feed(self, data: memoryview) -> None:
        """Read the next bytes of the stream.

        Raises:
            ProtocolError: they are no PDUs, or lengths contradict one another.
        """
        while data:
            if self._value_left >= 0:
                data = self._read_value(data)
            elif self._type in {0, P_DATA}:
                data = self._read_header(data)
            else:
                data = self._read_whole(data)

    def _read_header(self, data: memoryview) -> memoryview:
        """Gather six bytes: a PDU's header, or that of a Presentation Data Value in one."""
        taken = _HEADER_BYTES - len(self._head)
        self._head += data[:taken]
        if len(self._head) == _HEADER_BYTES:
            if self._type == P_DATA:
                self._begin_value()
            else:
                self._begin_pdu()
        return data[taken:]

    def _begin_pdu(self) -> None:
        self._type, self._left = _PDU_HEADER.unpack(self._head)
        if self._type == P_DATA:
            if self._left < _HEADER_BYTES:
                raise ProtocolError(f"a P-DATA-TF of {self._left} bytes")
            self._head.clear()
            return
        longest = _LONGEST_ASSOCIATE if self._type in ASSOCIATE else _LONGEST_OTHER
        if self._type not in ASSOCIATE | _OTHERS:
            raise ProtocolError(f"a PDU of the unknown type {self._type}")
        if not 0 < self._left <= longest:
            raise ProtocolError(f"a PDU of type {self._type} of {self._left} bytes")

    def _read_whole(self, data: memoryview) -> memoryview:
        taken = data[: self._left]
        self._head += taken
        self._left -= len(taken)
        if not self._left:
            whole, kind = bytes(self._head), self._type
            self._head.clear()
            self._type = 0
            self._receiver.pdu(kind, whole)
        return data[len(taken) :]

    def _begin_value(self) -> None:
        length, self._context_id, self._control = _ITEM_HEADER.unpack(self._head)
        self._head.clear()
        if length < 2 or length + 4 > self._left:
            raise ProtocolError(f"a fragment of {length} bytes in a PDU that has {self._left} left")
        self._left -= length + 4
        if 0 < self._left < _HEADER_BYTES:
            raise ProtocolError(f"a P-DATA-TF with {self._left} bytes too many")
        self._value_left = length - 2
        if not self._value_left:
            self._end_value(memoryview(b""))

    def _read_value(self, data: memoryview) -> memoryview:
        piece = data[: self._value_left]
        self._value_left -= len(piece)
        if self._value_left:
            self._receiver.fragment(self._context_id, self._control, piece, False)
        else:
            self._end_value(piece)
        return data[len(piece) :]

    def _end_value(self, piece: memoryview) -> None:
        self._value_left = -1
        if not self._left:
            self._type = 0
        self._receiver.fragment(self._context_id, self._control, piece, True)
