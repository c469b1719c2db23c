"""Which messages a Presentation Context is for (PS3.7 §9, §10; PS3.8 §7.1.1.13), and for whom.

What was negotiated gives no right by itself: each request is compared with the Abstract Syntax of
its context, and with what its peer may do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.dimse import commands, status
from app.dimse.contexts import GET_MODELS, SERVICE_OF, is_storage
from app.dimse.messages import Answer
from app.dimse.pdus import ProtocolError

C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT_RQ, N_GET_RQ, N_SET_RQ = 0x0100, 0x0110, 0x0120
N_ACTION_RQ, N_CREATE_RQ, N_DELETE_RQ = 0x0130, 0x0140, 0x0150
_CANCEL = 0x0FFF
_STORES = frozenset({commands.C_STORE_RQ})
_OF_SERVICE = {
    "": frozenset({C_ECHO_RQ}),
    "find": frozenset({C_FIND_RQ}),
    "worklist": frozenset({C_FIND_RQ}),
    "commit": frozenset({N_ACTION_RQ}),
    "mpps": frozenset({N_CREATE_RQ, N_SET_RQ}),
}
_NAMES_REQUESTED = frozenset({N_GET_RQ, N_SET_RQ, N_ACTION_RQ, N_DELETE_RQ})
"""Requests with a Requested SOP Class UID; the others have an Affected one."""
_KNOWN = frozenset({N_EVENT_REPORT_RQ, N_CREATE_RQ}) | _NAMES_REQUESTED | _STORES
_ALL = _KNOWN | {C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one peer may ask for in one context."""

    sop_class_uid: str
    requests: frozenset[int]
    authorized: bool

    def refusal_of(self, command: Mapping[int, bytes]) -> Answer | None:
        """Return why a message is not served here.

        Raises:
            ProtocolError: it is no message that could be answered.
        """
        field = commands.number(command, commands.COMMAND_FIELD)
        if field & commands.RESPONSE or field == _CANCEL:
            return None
        if field not in _ALL:
            raise ProtocolError(f"a message of the unknown type {field:04X}")
        commands.number(command, commands.MESSAGE_ID)
        requested = field in _NAMES_REQUESTED
        named = commands.REQUESTED_SOP_CLASS_UID if requested else commands.AFFECTED_SOP_CLASS_UID
        if field not in self.requests or commands.text(command, named) != self.sop_class_uid:
            return _unsupported(field), "this context is not for that"
        if not self.authorized:
            return status.NOT_AUTHORIZED, "this AE may not do that"
        return None


def allowed(abstract_syntax: str, services: frozenset[str]) -> Allowed:
    """Return what a peer with some rights may ask for in a context."""
    service = SERVICE_OF.get(abstract_syntax)
    if service == "retrieve":
        requests = frozenset({C_GET_RQ if abstract_syntax in GET_MODELS else C_MOVE_RQ})
        return Allowed(abstract_syntax, requests, service in services)
    if service is not None:
        return Allowed(abstract_syntax, _OF_SERVICE[service], service in {"", *services})
    stores = _STORES if is_storage(abstract_syntax) else frozenset[int]()
    return Allowed(abstract_syntax, stores, "store" in services)


def _unsupported(field: int) -> int:
    is_normalized = field >= N_EVENT_REPORT_RQ
    return status.NO_SUCH_SOP_CLASS if is_normalized else status.SOP_CLASS_NOT_SUPPORTED
