"""Modality Performed Procedure Steps (PS3.4 Annex F) over the archive's own (PS3.18 chapter 15)."""

import logging
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import uuid4

from pynetdicom.dimse_primitives import N_CREATE, N_SET

from app.dicom.identifiers import read_identifier
from app.dicom.performed_step import SOP_CLASS
from app.dicom.uids import check_uid
from app.dimse import status
from app.dimse.archive import DICOM_JSON, Archive, json_body, problem_of
from app.dimse.commands import error_comment
from app.dimse.connections import NoAnswer
from app.dimse.incoming import Call
from app.errors import InvalidDataset, InvalidUID

STEPS = "/dicom-web/modality-performed-procedure-steps"
MAY_NO_LONGER_BE_UPDATED = 0xA710
"""Error ID of a step that has come to its end (PS3.4 Table F.7.2-2)."""
_log = logging.getLogger(__name__)
Said = tuple[int, str, str]
"""Status, comment, and the archive's word for what is wrong."""


@dataclass(frozen=True, slots=True)
class Performer:
    """Has the archive create and change steps."""

    archive: Archive

    def create(self, call: Call) -> None:
        """Answer an N-CREATE; a step that the peer gives no UID gets one."""
        request: N_CREATE = call.message
        uid = str(request.AffectedSOPInstanceUID or f"2.25.{uuid4().int}")
        sop_class = str(request.AffectedSOPClassUID)
        said = self._asked(call, sop_class, uid, request.AttributeList)
        self._answer(call, N_CREATE(), (sop_class, uid), said)

    def change(self, call: Call) -> None:
        """Answer an N-SET."""
        request: N_SET = call.message
        uid, sop_class = str(request.RequestedSOPInstanceUID), str(request.RequestedSOPClassUID)
        said = self._asked(call, sop_class, uid, request.ModificationList, "?update")
        self._answer(call, N_SET(), (sop_class, uid), said)

    def _asked(
        self, call: Call, sop_class: str, uid: str, data: BytesIO | None, query: str = ""
    ) -> Said:
        if sop_class != SOP_CLASS:
            return status.NO_SUCH_SOP_CLASS, "", ""
        try:
            check_uid(uid)
            named = read_identifier(data.getvalue() if data else b"", call.transfer_syntax_uid)
            body = json_body(named, DICOM_JSON)
            response = self.archive.send(call.peer, "POST", f"{STEPS}/{uid}{query}", body)
        except InvalidUID:
            return status.INVALID_SOP_INSTANCE, "", ""
        except InvalidDataset as error:
            return status.INVALID_ATTRIBUTE_VALUE, str(error), ""
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
            return status.RESOURCE_LIMITATION, "the archive does not answer", ""
        if response.is_success:
            return status.SUCCESS, "", ""
        problem = problem_of(response)
        reason = str(problem.get("reason", ""))
        code = status.of_performed_step(response.status_code, reason)
        return code, str(problem.get("detail", "")), reason

    def _answer(self, call: Call, response: Any, named: tuple[str, str], said: Said) -> None:
        response.MessageIDBeingRespondedTo = call.message.MessageID
        response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = named
        response.Status, comment, reason = said
        if comment:
            response.ErrorComment = error_comment(comment)
        if reason == "final":
            response.ErrorID = MAY_NO_LONGER_BE_UPDATED
        call.association.dimse.send_msg(response, call.context_id)
