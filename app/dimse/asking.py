"""C-FIND, C-GET and C-MOVE as the one who asks: to bring over what another archive has."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from app.dicom.identifiers import UTF_8, read_identifier, write_identifier
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.dimse.outgoing import OwnAssociation
from app.errors import Unavailable

FIND_MODEL = str(StudyRootQueryRetrieveInformationModelFind)
GET_MODEL = str(StudyRootQueryRetrieveInformationModelGet)
MOVE_MODEL = str(StudyRootQueryRetrieveInformationModelMove)
_OFFERED = {FIND_MODEL: "C-FIND", GET_MODEL: "C-GET", MOVE_MODEL: "C-MOVE"}
_LEVEL = "00080052"
_PENDING = frozenset({0xFF00, 0xFF01})
_CANCEL_SECONDS = 5.0
Identifier = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A response to a retrieval: how many sub-operations went well so far, and how many failed."""

    status: int
    completed: int
    failed: int
    comment: str


def element(vr: str, *values: Any) -> dict[str, Any]:
    """Return an attribute of DICOM JSON; without a value a key that matches all."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def first(identifier: Identifier, key: str) -> str:
    """Return the first value of an attribute as text, '' where there is none."""
    values = identifier.get(key, {}).get("Value") or [""]
    return "" if values[0] is None else str(values[0]).strip()


def find(
    association: OwnAssociation, level: str, keys: Identifier, seconds: float
) -> Iterator[Identifier]:
    """Yield the matches of a query in study root.

    Raises:
        Unavailable: the peer answers with a failure, or no more.
        InvalidDataset: it answers with what is no Identifier.
    """
    context_id, syntax = _context(association, FIND_MODEL)
    request = C_FIND()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = FIND_MODEL
    request.Identifier = _written(level, keys, syntax)
    association.dimse.send_msg(request, context_id)
    while True:
        message = association.next_message(seconds)
        if not isinstance(message, C_FIND):
            raise Unavailable(f"no answer of {association.acceptor.ae_title} to a query")
        if message.Status not in _PENDING:
            break
        data = message.Identifier.getvalue() if message.Identifier else b""
        yield read_identifier(data, syntax)
    if message.Status:
        raise Unavailable(f"the query was answered with status {message.Status:04X}")


def get(
    association: OwnAssociation,
    level: str,
    keys: Identifier,
    seconds: float,
    arriving: Callable[[], bool],
) -> Iterator[Said]:
    """Have Instances sent to us on the same association; yield what the peer says, to the last.

    `store` of the association keeps them. A peer that has said nothing for `seconds` is waited for
    as long as `arriving` says that something has come meanwhile.

    Raises:
        Unavailable: the peer offers no C-GET, or does not answer.
    """
    context_id, syntax = _context(association, GET_MODEL)
    request = C_GET()
    request.MessageID, request.Priority = 2, 2
    request.AffectedSOPClassUID = GET_MODEL
    request.Identifier = _written(level, keys, syntax)
    yield from _followed(association, request, context_id, seconds, arriving)


def move(
    association: OwnAssociation,
    level: str,
    keys: Identifier,
    destination: str,
    seconds: float,
    arriving: Callable[[], bool],
) -> Iterator[Said]:
    """Have Instances sent to another AE; yield what the peer says, to the last.

    Not every peer says anything before the end. One that has said nothing for `seconds` is waited
    for as long as `arriving` says that something has come to the destination meanwhile.

    Raises:
        Unavailable: the peer offers no C-MOVE, or does not answer.
    """
    context_id, syntax = _context(association, MOVE_MODEL)
    request = C_MOVE()
    request.MessageID, request.Priority = 3, 2
    request.AffectedSOPClassUID, request.MoveDestination = MOVE_MODEL, destination
    request.Identifier = _written(level, keys, syntax)
    yield from _followed(association, request, context_id, seconds, arriving)


def _followed(
    association: OwnAssociation,
    request: C_GET | C_MOVE,
    context_id: int,
    seconds: float,
    arriving: Callable[[], bool],
) -> Iterator[Said]:
    """Send a request and yield its responses; who stops before the last one cancels it."""
    association.dimse.send_msg(request, context_id)
    is_over = False
    try:
        while not is_over:
            message = association.next_message(seconds)
            if message is None and not association.is_gone and arriving():
                continue
            if not isinstance(message, type(request)):
                raise Unavailable(f"no answer of {association.acceptor.ae_title} to a retrieval")
            said = _said(message)
            is_over = said.status not in _PENDING
            yield said
    finally:
        if not is_over and not association.is_gone:
            _cancel(association, int(request.MessageID or 0), context_id)


def _cancel(association: OwnAssociation, message_id: int, context_id: int) -> None:
    """Cancel a retrieval, and wait a little for the end of it, so that a release is understood."""
    association.send_c_cancel(message_id, context_id)
    end = time.monotonic() + _CANCEL_SECONDS
    while (left := end - time.monotonic()) > 0:
        message = association.next_message(left)
        if message is None or message.Status not in _PENDING:
            return


def _said(message: C_GET | C_MOVE) -> Said:
    completed = int(message.NumberOfCompletedSuboperations or 0)
    warned = int(message.NumberOfWarningSuboperations or 0)
    failed = int(message.NumberOfFailedSuboperations or 0)
    said: str | None = message.ErrorComment
    comment = "".join(one for one in said or "" if one.isprintable()).strip()
    return Said(int(message.Status or 0), completed + warned, failed, comment)


def _written(level: str, keys: Identifier, syntax: str) -> BytesIO:
    asked = {**keys, _LEVEL: element("CS", level)}
    return BytesIO(write_identifier(asked, UTF_8, implicit=syntax == IMPLICIT_LITTLE_ENDIAN))


def _context(association: OwnAssociation, sop_class: str) -> tuple[int, str]:
    for context in association.accepted_contexts:
        if str(context.abstract_syntax) == sop_class and context.context_id is not None:
            return context.context_id, str(context.transfer_syntax[0])
    raise Unavailable(f"{association.acceptor.ae_title} offers no {_OFFERED[sop_class]}")
