"""A message is served in a context of its service alone, for a peer that may use it (PS3.7 §9)."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from app.dimse import commands
from app.dimse.allowed import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_EVENT_REPORT_RQ,
    N_SET_RQ,
)
from app.dimse.commit import PUSH_MODEL
from app.dimse.contexts import WORKLIST_FIND
from app.dimse.peers import Peer
from tests.bare_associations import (
    ACCEPT,
    CT,
    CT_CONTEXT,
    DATA,
    FIND,
    FIND_CONTEXT,
    VERIFICATION,
    association_request,
    next_pdu,
)
from tests.bridges import RunningBridge, bridge_to
from tests.live_server import LiveServer

MOVE, GET = FIND[:-1] + "2", FIND[:-1] + "3"
MPPS = "1.2.840.10008.3.1.2.3.3"
ECHO_CONTEXT = 1
WRONG_CONTEXT, WRONG_CLASS, NOT_AUTHORIZED = 0x0122, 0x0118, 0x0124


@pytest.fixture(scope="module")
def narrow(archive: LiveServer) -> Iterator[RunningBridge]:
    peers = (
        Peer("CT1", services=frozenset({"store"})),
        Peer("VIEWER", services=frozenset({"retrieve"})),
    )
    with bridge_to(archive, peers=peers, forwardings=0) as running:
        yield running


@contextmanager
def _associated(
    bridge: RunningBridge, calling: str, *more: tuple[str, str]
) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=30) as peer:
        peer.sendall(association_request(calling, more=more))
        assert next_pdu(peer)[0] == ACCEPT
        yield peer


def _request(
    field: int, sop_class: str, *, data: bool = True, more: dict[int, bytes] | None = None
) -> bytes:
    uid = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    values = {
        commands.AFFECTED_SOP_CLASS_UID: uid,
        commands.COMMAND_FIELD: field.to_bytes(2, "little"),
        commands.MESSAGE_ID: b"\7\0",
        commands.PRIORITY: b"\0\0",
        commands.DATA_SET_TYPE: b"\1\0" if data else b"\1\1",
    }
    if field in {N_ACTION_RQ, N_SET_RQ}:
        values[commands.REQUESTED_SOP_CLASS_UID] = values.pop(commands.AFFECTED_SOP_CLASS_UID)
    return commands.written({**values, **(more or {})})


def _answer(
    peer: socket.socket, context_id: int, request: bytes, data: bytes | None = None
) -> tuple[int, int]:
    """Return Command Field and Status of the answer to a request."""
    peer.sendall(commands.command_pdu(context_id, request))
    if data is not None:
        peer.sendall(commands.data_header(context_id, len(data), last=True) + data)
    kind, content = next_pdu(peer)
    assert kind == DATA
    values = commands.read_command(content[6:])
    assert values[commands.RESPONDED_TO] == b"\7\0"
    fields = (commands.COMMAND_FIELD, commands.STATUS)
    field, status = (commands.number(values, element) for element in fields)
    return field & 0x7FFF, status


LEVEL = b"\x08\0\x52\0CS\6\0STUDY \x20\0\x0d\0UI\0\0"


@pytest.mark.parametrize("context_id", [ECHO_CONTEXT, CT_CONTEXT])
@pytest.mark.parametrize(
    ("field", "sop_class", "status"),
    [
        (C_FIND_RQ, FIND, WRONG_CONTEXT),
        (C_FIND_RQ, WORKLIST_FIND, WRONG_CONTEXT),
        (C_MOVE_RQ, MOVE, WRONG_CONTEXT),
        (C_GET_RQ, GET, WRONG_CONTEXT),
        (commands.C_STORE_RQ, CT[:-1] + "4", WRONG_CONTEXT),
        (N_ACTION_RQ, PUSH_MODEL, WRONG_CLASS),
        (N_CREATE_RQ, MPPS, WRONG_CLASS),
        (N_SET_RQ, MPPS, WRONG_CLASS),
        (N_EVENT_REPORT_RQ, PUSH_MODEL, WRONG_CLASS),
    ],
)
def test_no_context_opens_another_service(
    narrow: RunningBridge, context_id: int, field: int, sop_class: str, status: int
) -> None:
    with _associated(narrow, "CT1") as peer:
        request = _request(field, sop_class)
        assert _answer(peer, context_id, request, LEVEL) == (field, status)
        echo = _request(C_ECHO_RQ, VERIFICATION, data=False)
        assert _answer(peer, ECHO_CONTEXT, echo) == (C_ECHO_RQ, 0)


def test_nothing_is_stored_in_a_context_of_verification(narrow: RunningBridge) -> None:
    request = commands.store_request(7, CT, "1.2.3")
    with _associated(narrow, "CT1") as peer:
        assert _answer(peer, ECHO_CONTEXT, request, LEVEL)[1] == WRONG_CONTEXT


def test_an_echo_is_answered_in_its_own_context_alone(bridge: RunningBridge) -> None:
    echo = _request(C_ECHO_RQ, VERIFICATION, data=False)
    with _associated(bridge, "MODALITY") as peer:
        assert _answer(peer, FIND_CONTEXT, echo) == (C_ECHO_RQ, WRONG_CONTEXT)


def test_who_may_only_retrieve_stores_nothing(narrow: RunningBridge) -> None:
    request = commands.store_request(7, CT, "1.2.3")
    with _associated(narrow, "VIEWER") as peer:
        assert _answer(peer, CT_CONTEXT, request, LEVEL)[1] == NOT_AUTHORIZED


def test_a_store_without_a_data_set_is_answered(bridge: RunningBridge) -> None:
    with _associated(bridge, "MODALITY") as peer:
        request = _request(commands.C_STORE_RQ, CT, data=False)
        assert _answer(peer, CT_CONTEXT, request) == (commands.C_STORE_RQ, 0xC000)


@pytest.mark.parametrize("data", [None, b""], ids=["no Identifier", "an empty one"])
@pytest.mark.parametrize(
    ("field", "sop_class"),
    [(C_FIND_RQ, FIND), (C_FIND_RQ, WORKLIST_FIND), (C_MOVE_RQ, MOVE), (C_GET_RQ, GET)],
)
def test_a_request_without_identifier_is_answered(
    bridge: RunningBridge, field: int, sop_class: str, data: bytes | None
) -> None:
    with _associated(bridge, "MODALITY", (sop_class, str(ExplicitVRLittleEndian))) as peer:
        request = _request(field, sop_class, data=data is not None)
        assert _answer(peer, 7, request, data) == (field, 0xA900)


def test_a_move_to_nowhere_is_refused(bridge: RunningBridge) -> None:
    data = b"\x08\0\x52\0CS\6\0STUDY \x20\0\x0d\0UI\6\x001.2.3\0"
    with _associated(bridge, "MODALITY", (MOVE, str(ExplicitVRLittleEndian))) as peer:
        assert _answer(peer, 7, _request(C_MOVE_RQ, MOVE), data) == (C_MOVE_RQ, 0xA801)
