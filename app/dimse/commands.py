"""Command Sets (PS3.7 §6.3.1) of C-STORE, as bytes: read and written once for each Instance.

They are Implicit VR Little Endian and short. Other messages are pynetdicom's to read and write.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct, error

from app.dimse.pdus import ProtocolError

GROUP_LENGTH = 0x0000
AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID = 0x0002, 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
RESPONDED_TO = 0x0120
PRIORITY = 0x0700
DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID = 0x1000, 0x1001
MOVE_ORIGINATOR = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID = 0x1031

RESPONSE = 0x8000
C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_FIND_RSP, C_GET_RSP, C_MOVE_RSP = 0x8020, 0x8010, 0x8021
REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023
NO_DATA_SET, WITH_DATA_SET = 0x0101, 0x0001
_ECHOED = {
    AFFECTED_SOP_CLASS_UID: AFFECTED_SOP_CLASS_UID,
    REQUESTED_SOP_CLASS_UID: AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID: AFFECTED_SOP_INSTANCE_UID,
    REQUESTED_SOP_INSTANCE_UID: AFFECTED_SOP_INSTANCE_UID,
}
_COMMENT_LENGTH = 64  # LO
_HEADER = Struct("<HHL")
_US = Struct("<H")
_UL = Struct("<L")
_PDU = Struct(">BxLLBB")
_LAST_COMMAND = 3


@dataclass(frozen=True, slots=True)
class Said:
    """What a response says; `counts` are the numbers of sub-operations by their element."""

    status: int
    comment: str = ""
    counts: Mapping[int, int] = field(default_factory=dict)


def read_command(data: bytes | bytearray) -> Mapping[int, bytes]:
    """Return the values of a Command Set by element number, as they are.

    Raises:
        ProtocolError: this is none.
    """
    values: dict[int, bytes] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            group, element, length = _HEADER.unpack_from(data, at)
            at += 8 + length
            if group or at > end:
                raise ProtocolError("a Command Set that is none")
            values[element] = bytes(data[at - length : at])
    except error:
        raise ProtocolError("a Command Set that is cut short") from None
    return values


def number(values: Mapping[int, bytes], element: int) -> int:
    """Return a value of VR US.

    Raises:
        ProtocolError: it is absent, or no such value.
    """
    value = values.get(element, b"")
    if len(value) != 2:
        raise ProtocolError(f"a Command Set without (0000,{element:04X})")
    return int(_US.unpack(value)[0])


def text(values: Mapping[int, bytes], element: int) -> str:
    """Return a UID or an AE title without its padding, '' where it is absent."""
    return values.get(element, b"").decode("ascii", "replace").strip("\0 ")


def status_response(request: Mapping[int, bytes], status: int, comment: str = "") -> bytes:
    """Return the Command Set of a response that says no more than a status (PS3.7 §9.3, §10.3)."""
    values = {there: request[here] for here, there in _ECHOED.items() if here in request}
    values[COMMAND_FIELD] = _US.pack(number(request, COMMAND_FIELD) | RESPONSE)
    values[RESPONDED_TO] = request.get(MESSAGE_ID, b"\0\0")
    values[DATA_SET_TYPE] = _US.pack(NO_DATA_SET)
    values[STATUS] = _US.pack(status)
    if comment:
        values[ERROR_COMMENT] = _comment(comment)
    return written(values)


def response(
    field: int,
    message_id: int,
    sop_class_uid: str,
    said: Said,
    *,
    has_data_set: bool = False,
) -> bytes:
    """Return the Command Set of a C-FIND, C-GET or C-MOVE response (PS3.7 §9.3)."""
    values = {element: _US.pack(count) for element, count in said.counts.items()}
    values[AFFECTED_SOP_CLASS_UID] = _padded(sop_class_uid.encode("ascii"), b"\0")
    values[COMMAND_FIELD] = _US.pack(field)
    values[RESPONDED_TO] = _US.pack(message_id)
    values[DATA_SET_TYPE] = _US.pack(WITH_DATA_SET if has_data_set else NO_DATA_SET)
    values[STATUS] = _US.pack(said.status)
    if said.comment:
        values[ERROR_COMMENT] = _comment(said.comment)
    return written(values)


def store_request(
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    originator: tuple[str, int] | None = None,
) -> bytes:
    """Return the Command Set of a C-STORE request (PS3.7 Table 9.3-1).

    `originator` is who asked by C-MOVE for it, and by which message.
    """
    values = {
        AFFECTED_SOP_CLASS_UID: _padded(sop_class_uid.encode("ascii"), b"\0"),
        COMMAND_FIELD: _US.pack(C_STORE_RQ),
        MESSAGE_ID: _US.pack(message_id),
        PRIORITY: _US.pack(0),
        DATA_SET_TYPE: _US.pack(WITH_DATA_SET),
        AFFECTED_SOP_INSTANCE_UID: _padded(sop_instance_uid.encode("ascii"), b"\0"),
    }
    if originator is not None:
        values[MOVE_ORIGINATOR] = _padded(originator[0].encode("ascii", "replace"), b" ")
        values[MOVE_ORIGINATOR_MESSAGE_ID] = _US.pack(originator[1])
    return written(values)


def command_pdu(context_id: int, command: bytes) -> bytes:
    """Return a P-DATA-TF with a whole Command Set (PS3.8 §9.3.5, Annex E)."""
    length = len(command) + 2
    return _PDU.pack(4, length + 4, length, context_id, _LAST_COMMAND) + command


def data_header(context_id: int, length: int, *, last: bool) -> bytes:
    """Return what stands before `length` bytes of a data set in a P-DATA-TF of their own."""
    return _PDU.pack(4, length + 6, length + 2, context_id, 2 if last else 0)


def written(values: Mapping[int, bytes]) -> bytes:
    """Return a Command Set of values by element number."""
    body = b"".join(
        _HEADER.pack(0, element, len(value)) + value for element, value in sorted(values.items())
    )
    return _HEADER.pack(0, GROUP_LENGTH, 4) + _UL.pack(len(body)) + body


def error_comment(text: str) -> str:
    """Return what an Error Comment can say of a text (LO, PS3.7 Table E.1-1)."""
    plain = text.encode("ascii", "replace").decode().replace("\\", "/")
    return plain[:_COMMENT_LENGTH].strip()


def _comment(text: str) -> bytes:
    return _padded(error_comment(text).encode(), b" ")


def _padded(value: bytes, by: bytes) -> bytes:
    return value + by * (len(value) % 2)
