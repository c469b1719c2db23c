"""Storage commitment (PS3.4 Annex J) over the archive's own (PS3.18 chapter 13).

The archive verifies and remembers, whom to tell, too. Where the result is there at once the peer is
told on its own association; else `reporting` tells it later on one of ours. What is only spooled
the archive does not have, so it is never said to be committed.
"""

import logging
import threading
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from app.dicom.identifiers import read_identifier, write_identifier
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.dicom.uids import check_uid
from app.dimse.archive import DICOM_JSON, Archive, json_body, problem_of
from app.dimse.association import BridgeAssociation
from app.dimse.commands import error_comment
from app.dimse.connections import NoAnswer, Response
from app.dimse.incoming import Call
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
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Committer:
    """Answers N-ACTION, and tells peers what is known at once.

    `held` are the transactions that are answered now; `untold` is set when one is left to be told.
    """

    archive: Archive
    held: set[str] = field(default_factory=set)
    untold: threading.Event = field(default_factory=threading.Event)

    def serve(self, call: Call) -> None:
        """Answer a request for commitment, and tell its result if the archive has it."""
        request: N_ACTION = call.message
        transaction, references = _named(call, request)
        self.held.add(transaction)
        try:
            code, comment, result = self._requested(call, request, transaction, references)
            response: Any = N_ACTION()
            response.MessageIDBeingRespondedTo = request.MessageID
            response.AffectedSOPClassUID = request.RequestedSOPClassUID
            response.AffectedSOPInstanceUID = request.RequestedSOPInstanceUID
            response.ActionTypeID = request.ActionTypeID
            response.Status = code
            if comment:
                response.ErrorComment = error_comment(comment)
            call.association.dimse.send_msg(response, call.context_id)
            told = result is not None and tell(
                call.association, call.context_id, transaction, result
            )
            if told:
                note_told(self.archive, call.peer, transaction)
        finally:
            self.held.discard(transaction)
        if code == 0 and not told:
            self.untold.set()

    def _requested(
        self, call: Call, request: N_ACTION, transaction: str, references: Any
    ) -> tuple[int, str, Any]:
        """Ask the archive; return a status, a comment, and the result if there is one."""
        if request.ActionTypeID != 1 or str(request.RequestedSOPClassUID) != PUSH_MODEL:
            return NO_SUCH_ACTION, "Action Type 1 of the Push Model is taken", None
        if str(request.RequestedSOPInstanceUID) != PUSH_INSTANCE:
            return NO_SUCH_INSTANCE, f"the instance is {PUSH_INSTANCE}", None
        if not transaction:
            return INVALID_ARGUMENT, "Transaction UID and references are needed", None
        try:
            response = ask(self.archive, call.peer, "POST", transaction, {REFERENCED: references})
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
            return OUT_OF_RESOURCES, "the archive does not answer", None
        if response.status_code == 200:
            return 0, "", orjson.loads(response.content)
        if response.status_code == 202:
            return 0, "", None
        code = _HTTP.get(response.status_code, PROCESSING_FAILURE)
        return code, str(problem_of(response).get("detail", "")), None


def _named(call: Call, request: N_ACTION) -> tuple[str, Any]:
    """Return the Transaction UID and what is to be committed; '' where they cannot be read."""
    data = request.ActionInformation.getvalue() if request.ActionInformation else b""
    try:
        named = read_identifier(data, call.transfer_syntax_uid)
        return check_uid(str(named[TRANSACTION]["Value"][0])), named[REFERENCED]
    except (InvalidDataset, InvalidUID, LookupError):
        return "", None


def ask(archive: Archive, peer: Peer, method: str, transaction: str, asked: Any = None) -> Response:
    """Ask the archive for a commitment, or for what became of it.

    Raises:
        NoAnswer: it did not answer in time.
    """
    path = f"/dicom-web/commitment-requests/{transaction}"
    body = None if asked is None else json_body(asked, DICOM_JSON)
    return archive.send(peer, method, path, body, headers={"Accept": DICOM_JSON})


def note_told(archive: Archive, peer: Peer, transaction: str) -> None:
    """Have the archive know that a peer was told; what it does not hear of is told again."""
    try:
        response = archive.send(peer, "POST", f"/api/v1/commitments/{transaction}/reported")
        if not response.is_success:
            _log.warning("the archive heeds no report: HTTP status %d", response.status_code)
    except NoAnswer as error:
        _log.warning("the archive does not answer: %s", error)


def tell(
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
