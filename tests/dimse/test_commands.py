"""Command Sets of C-STORE, held against pynetdicom's."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from app.dimse import commands
from app.dimse.pdus import ProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"


def _request() -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 0
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3"
    primitive.DataSet = BytesIO(b"\0\0")
    return primitive


def test_a_request_is_written_as_pynetdicom_writes_it() -> None:
    primitive = _request()
    primitive.MoveOriginatorApplicationEntityTitle = "OTHER"
    primitive.MoveOriginatorMessageID = 4
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    written = encode(message.command_set, True, True)
    assert commands.store_request(7, CT, "1.2.3", ("OTHER", 4)) == written


def test_a_request_of_pynetdicoms_is_read() -> None:
    message = C_STORE_RQ()
    message.primitive_to_message(_request())
    values = commands.read_command(encode(message.command_set, True, True) or b"")
    assert commands.text(values, commands.AFFECTED_SOP_CLASS_UID) == CT
    assert commands.text(values, commands.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert commands.number(values, commands.MESSAGE_ID) == 7
    assert commands.number(values, commands.COMMAND_FIELD) == commands.C_STORE_RQ


def test_a_response_is_read_by_pynetdicom() -> None:
    request = commands.read_command(commands.store_request(7, CT, "1.2.3"))
    response = commands.status_response(request, 0xA700, "kein Platz " + "ü" * 80)
    message = C_STORE_RSP()
    message.command_set = decode(BytesIO(response), True, True)
    assert message.command_set.CommandGroupLength == len(response) - 12
    assert message.command_set.Status == 0xA700
    assert message.command_set.MessageIDBeingRespondedTo == 7
    assert message.command_set.AffectedSOPInstanceUID == "1.2.3"
    assert len(message.command_set.ErrorComment) == 64


@pytest.mark.parametrize(
    "data", [b"\0", b"\0" * 9, b"\x08\0\0\0\0\0\0\0", b"\0\0\0\0\xff\xff\xff\xff"]
)
def test_what_is_no_command_set_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        commands.number(commands.read_command(data), commands.COMMAND_FIELD)
