"""Associations over bare sockets: what no library would send, and nothing that one would leave."""

import socket
import struct
from collections.abc import Sequence

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from app.dimse import commands

CT = str(CTImageStorage)
VERIFICATION, FIND = str(Verification), str(StudyRootQueryRetrieveInformationModelFind)
ACCEPT, DATA, ABORT = b"\x02", b"\x04", b"\x07"
CT_CONTEXT, FIND_CONTEXT = 3, 5
RELEASE_REQUEST = b"\x05\0\0\0\0\4\0\0\0\0"
ABORTED = b"\x07\0\0\0\0\4\0\0\0\0"


def association_request(
    calling: str = "MODALITY",
    called_title: str = "FILEROOM",
    more: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return an A-ASSOCIATE-RQ for verification, CT images and queries, and for `more`."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called_title
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    contexts = [
        build_context(VERIFICATION),
        build_context(CT, ExplicitVRLittleEndian),
        build_context(FIND, ExplicitVRLittleEndian),
        *(build_context(*pair) for pair in more),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def next_pdu(peer: socket.socket) -> tuple[bytes, bytes]:
    """Return type and content of the PDU that comes, b'' if the connection was closed."""
    try:
        head = peer.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            return b"", b""
        return head[:1], peer.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL)
    except ConnectionResetError:
        return b"", b""


def store_bare(peer: socket.socket, data_set: bytes, sop_instance_uid: str) -> int:
    """Store a CT image on an association; return the status.

    Raises:
        ConnectionError: the association has ended.
    """
    command = commands.store_request(1, CT, sop_instance_uid)
    header = commands.data_header(CT_CONTEXT, len(data_set), last=True)
    peer.sendall(commands.command_pdu(CT_CONTEXT, command) + header + data_set)
    kind, content = next_pdu(peer)
    if kind != DATA:
        raise ConnectionAbortedError("the association has ended")
    return commands.number(commands.read_command(content[6:]), commands.STATUS)
