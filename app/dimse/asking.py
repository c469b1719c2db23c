"""C-FIND and C-GET as the one who asks: to bring over what another archive has."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from pynetdicom.dimse_primitives import C_FIND, C_GET
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from app.dicom.identifiers import UTF_8, read_identifier, write_identifier
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.dimse.outgoing import OwnAssociation
from app.errors import Unavailable

FIND_MODEL = str(StudyRootQueryRetrieveInformationModelFind)
GET_MODEL = str(StudyRootQueryRetrieveInformationModelGet)
_LEVEL = "00080052"
_PENDING = frozenset({0xFF00, 0xFF01})
Identifier = Mapping[str, Any]


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


def get(association: OwnAssociation, level: str, keys: Identifier, seconds: float) -> Iterator[int]:
    """Have Instances sent to us on the same association; yield how many came so far.

    `store` of the association keeps them.

    Raises:
        Unavailable: the peer answers with a failure, or no more.
    """
    context_id, syntax = _context(association, GET_MODEL)
    request = C_GET()
    request.MessageID, request.Priority = 2, 2
    request.AffectedSOPClassUID = GET_MODEL
    request.Identifier = _written(level, keys, syntax)
    association.dimse.send_msg(request, context_id)
    while True:
        message = association.next_message(seconds)
        if not isinstance(message, C_GET):
            raise Unavailable(f"no answer of {association.acceptor.ae_title} to a retrieval")
        yield int(message.NumberOfCompletedSuboperations or 0)
        if message.Status not in _PENDING:
            break
    if message.Status:
        raise Unavailable(f"the retrieval was answered with status {message.Status:04X}")


def _written(level: str, keys: Identifier, syntax: str) -> BytesIO:
    asked = {**keys, _LEVEL: element("CS", level)}
    return BytesIO(write_identifier(asked, UTF_8, implicit=syntax == IMPLICIT_LITTLE_ENDIAN))


def _context(association: OwnAssociation, sop_class: str) -> tuple[int, str]:
    for context in association.accepted_contexts:
        if str(context.abstract_syntax) == sop_class and context.context_id is not None:
            return context.context_id, str(context.transfer_syntax[0])
    raise Unavailable(f"{association.acceptor.ae_title} does not offer {sop_class}")
