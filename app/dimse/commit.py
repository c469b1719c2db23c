"""Storage commitment (PS3.4 Annex J) over the archive's own (PS3.18 chapter 13).

The archive verifies and remembers; the bridge asks it for the result and tells the peer, on the
same association if the peer still holds it, else on one of its own, again and again for a time.
What is only spooled the archive does not have, so it is never said to be committed.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx
import orjson
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from app.dicom.identifiers import read_identifier, write_identifier
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from app.dicom.uids import check_uid
from app.dimse.archive import Archive, Body, Pieces
from app.dimse.association import BridgeAssociation
from app.dimse.incoming import Call
from app.dimse.outgoing import Caller
from app.dimse.peers import Peer
from app.errors import InvalidDataset, InvalidUID

PUSH_MODEL = str(StorageCommitmentPushModel)
PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"
TRANSACTION, REFERENCED, FAILED = "00081195", "00081199", "00081198"
PROCESSING_FAILURE, NO_SUCH_ACTION, INVALID_ARGUMENT = 0x0110, 0x0123, 0x0115
NO_SUCH_INSTANCE, OUT_OF_RESOURCES = 0x0112, 0x0213
ALL_COMMITTED, SOME_FAILED = 1, 2
_HTTP = {400: INVALID_ARGUMENT, 404: INVALID_ARGUMENT, 413: OUT_OF_RESOURCES, 503: OUT_OF_RESOURCES}
_ANSWER_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
_PLAIN = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
_log = logging.getLogger(__name__)


class _Json(Pieces):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Any:
        """Yield it."""
        yield self._data


@dataclass(slots=True)
class Committer:
    """Answers N-ACTION, and tells peers what became of their requests."""

    archive: Archive
    caller: Caller
    tell_seconds: float = 86_400.0
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self, call: Call) -> None:
        """Answer a request for commitment, and tell its result."""
        request: N_ACTION = call.message
        code, transaction, result = self._requested(call, request)
        response = N_ACTION()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.RequestedSOPClassUID
        response.AffectedSOPInstanceUID = request.RequestedSOPInstanceUID
        response.ActionTypeID = request.ActionTypeID
        response.Status = code
        call.association.dimse.send_msg(response, call.context_id)
        if code:
            return
        if result is not None and _told(call.association, call.context_id, transaction, result):
            return
        threading.Thread(
            target=self._tell, args=(call.peer, transaction, result), daemon=True
        ).start()

    def _requested(self, call: Call, request: N_ACTION) -> tuple[int, str, Any]:
        """Ask the archive; return a status, the Transaction UID, and the result if there is one."""
        if request.ActionTypeID != 1 or str(request.RequestedSOPClassUID) != PUSH_MODEL:
            return NO_SUCH_ACTION, "", None
        if str(request.RequestedSOPInstanceUID) != PUSH_INSTANCE:
            return NO_SUCH_INSTANCE, "", None
        data = request.ActionInformation.getvalue() if request.ActionInformation else b""
        try:
            named = read_identifier(data, call.transfer_syntax_uid)
            transaction = check_uid(str(named[TRANSACTION]["Value"][0]))
            body = orjson.dumps({REFERENCED: named[REFERENCED]})
        except (InvalidDataset, InvalidUID, LookupError):
            return INVALID_ARGUMENT, "", None
        try:
            response = self._ask(call.peer, "POST", transaction, body)
        except httpx.HTTPError as error:
            _log.warning("the archive does not answer: %s", type(error).__name__)
            return OUT_OF_RESOURCES, "", None
        if response.status_code == 200:
            return 0, transaction, orjson.loads(response.content)
        if response.status_code == 202:
            return 0, transaction, None
        return _HTTP.get(response.status_code, PROCESSING_FAILURE), "", None

    def _ask(
        self, peer: Peer, method: str, transaction: str, body: bytes | None = None
    ) -> httpx.Response:
        path = f"/dicom-web/commitment-requests/{transaction}"
        json = "application/dicom+json"
        sent = None if body is None else Body(json, len(body), _Json(body))
        return self.archive.send(peer, method, path, sent, headers={"Accept": json})

    def _tell(self, peer: Peer, transaction: str, result: Any) -> None:
        """Wait for the result, and tell it on an association of our own until it is taken."""
        end, pause = time.monotonic() + self.tell_seconds, FIRST_PAUSE
        while time.monotonic() < end and not self.stopping.is_set():
            try:
                if result is None:
                    response = self._ask(peer, "GET", transaction)
                    if response.status_code == 200:
                        result = orjson.loads(response.content)
                        pause = FIRST_PAUSE
                if result is not None and self._told_anew(peer, transaction, result):
                    return
            except httpx.HTTPError as error:
                _log.warning("the archive does not answer: %s", type(error).__name__)
            if result is not None and peer.port is None:
                break
            self.stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        _log.error("%s was not told what became of transaction %s", peer.ae_title, transaction)

    def _told_anew(self, peer: Peer, transaction: str, result: Any) -> bool:
        association = self.caller.call(peer, [(PUSH_MODEL, _PLAIN)], stored=[PUSH_MODEL])
        if association is None:
            return False
        try:
            context = association.accepted_contexts[0]
            return _told(association, int(context.context_id or 0), transaction, result)
        finally:
            association.end()


def _told(
    association: BridgeAssociation, context_id: int, transaction: str, result: dict[str, Any]
) -> bool:
    """Tell a peer the result; say whether it has taken it."""
    if association.is_gone:
        return False
    told = {key: result[key] for key in (REFERENCED, FAILED) if key in result}
    told[TRANSACTION] = {"vr": "UI", "Value": [transaction]}
    syntax = str(association.context_of(context_id).transfer_syntax[0])
    report = N_EVENT_REPORT()
    report.MessageID = 1
    report.AffectedSOPClassUID = PUSH_MODEL
    report.AffectedSOPInstanceUID = PUSH_INSTANCE
    report.EventTypeID = SOME_FAILED if FAILED in result else ALL_COMMITTED
    data = write_identifier(told, "", implicit=syntax == IMPLICIT_LITTLE_ENDIAN)
    report.EventInformation = BytesIO(data)
    association.dimse.send_msg(report, context_id)
    while (message := association.next_message(_ANSWER_SECONDS)) is not None:
        if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo == 1:
            return message.Status == 0
    return False
