"""C-GET and C-MOVE in patient and study root (PS3.4 §C.4.2, §C.4.3): QIDO-RS and stored files."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.dicom.identifiers import write_identifier
from app.dicom.limits import Limits
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.dicom.uids import check_uid
from app.dimse import commands, status
from app.dimse.archive import Archive
from app.dimse.association import BridgeAssociation
from app.dimse.connections import NoAnswer
from app.dimse.contexts import STUDY_ROOT
from app.dimse.find import (
    INSTANCES,
    ISSUER,
    PATIENT_ID,
    UNIQUE_KEYS,
    Identifier,
    Refused,
    in_parts,
    level_of,
    read_request,
    search,
)
from app.dimse.incoming import Call
from app.dimse.originals import SHOWN, Fetcher, Found, choose_way, found_of
from app.dimse.outgoing import Caller
from app.dimse.peers import Peer
from app.dimse.sender import Sender, by_syntax, proposed
from app.errors import InvalidUID

NO_SUCH_DESTINATION, CANNOT_PERFORM = 0xA801, 0xA702
PENDING, CANCELLED, SOME_FAILED = 0xFF00, 0xFE00, 0xB000
FAILED_LIST = "00080058"
_MOST_COUNTED = 0xFFFF  # US
_LIMITS = Limits()
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Counts:
    """What became of the sub-operations."""

    remaining: int
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)

    def note(self, instance: str, code: int | None) -> None:
        """Note what the peer said of an Instance, None for nothing."""
        self.remaining -= 1
        if code == 0:
            self.completed += 1
        elif code is not None and code >> 12 == 0xB:
            self.warned += 1
        else:
            self.failed.append(instance)

    def elements(self, *, with_remaining: bool) -> Mapping[int, int]:
        """Return the numbers by their element."""
        counts = {
            commands.COMPLETED: self.completed,
            commands.FAILED: len(self.failed),
            commands.WARNING: self.warned,
        }
        if with_remaining:
            counts[commands.REMAINING] = self.remaining
        return {element: min(count, _MOST_COUNTED) for element, count in counts.items()}

    @property
    def status(self) -> int:
        """The last status, if nobody cancelled."""
        if not self.failed and not self.warned:
            return status.SUCCESS
        return SOME_FAILED if self.completed or self.warned else CANNOT_PERFORM


@dataclass(frozen=True, slots=True)
class Retriever:
    """Answers C-GET and C-MOVE; `destination` says where an AE listens, None if it is not known."""

    archive: Archive
    fetcher: Fetcher
    caller: Caller
    destination: Callable[[str], Peer | None]
    answer_seconds: float
    limits: Limits = _LIMITS

    def get(self, call: Call) -> None:
        """Answer a C-GET: the Instances go over the same association."""
        self._answered(call, commands.C_GET_RSP, self._get)

    def move(self, call: Call) -> None:
        """Answer a C-MOVE: the Instances go to another AE."""
        self._answered(call, commands.C_MOVE_RSP, self._move)

    def _answered(self, call: Call, kind: int, serve: Any) -> None:
        answer = _Answers(call, kind)
        try:
            serve(call, answer, list(self._found(call)))
        except Refused as refused:
            answer.send(refused.code, comment=refused.comment)
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
            answer.send(status.OUT_OF_RESOURCES, comment="the archive does not answer")

    def _found(self, call: Call) -> Iterator[Found]:
        identifier = read_request(call)
        by_patient = str(call.message.AffectedSOPClassUID) not in STUDY_ROOT
        question = _question(level_of(call, identifier), identifier, by_patient=by_patient)
        for asked in in_parts(question):
            for match in search(self.archive, call.peer, INSTANCES, asked):
                yield found_of(match)

    def _get(self, call: Call, answer: "_Answers", found: Sequence[Found]) -> None:
        usable = (one for one in call.association.accepted_contexts if one.as_scu)
        self._send_all(call, answer, call.association, usable, found)

    def _move(self, call: Call, answer: "_Answers", found: Sequence[Found]) -> None:
        title = str(call.message.MoveDestination or "").strip()
        peer = self.destination(title)
        if peer is None:
            raise Refused(NO_SUCH_DESTINATION, f"no AE {title} is known")
        if not found:
            answer.send(status.SUCCESS, counts=_Counts(0))
            return
        association = self.caller.call(peer, proposed(found))
        if association is None:
            counts = _Counts(0, failed=[one.instance for one in found])
            answer.send(CANNOT_PERFORM, counts=counts, comment=f"{title} takes no association")
            return
        try:
            originator = call.peer.ae_title, int(call.message.MessageID)
            contexts = association.accepted_contexts
            self._send_all(call, answer, association, contexts, found, originator)
        finally:
            association.end()

    def _send_all(
        self,
        call: Call,
        answer: "_Answers",
        association: BridgeAssociation,
        contexts: Iterable[Any],
        found: Sequence[Found],
        originator: tuple[str, int] | None = None,
    ) -> None:
        accepted = by_syntax(contexts)
        counts = _Counts(len(found))
        wanted = (
            (one, None if association.is_gone else choose_way(accepted, one)) for one in found
        )
        given_up = _never if association is call.association else lambda: call.is_cancelled
        sender = Sender(association, self.limits, self.answer_seconds, originator, given_up)
        for one, fetched in self.fetcher.fetch_all(call.peer, wanted):
            counts.note(one.instance, sender.send(one, fetched) if fetched else None)
            if call.is_cancelled:
                answer.send(CANCELLED, counts=counts, with_remaining=True)
                return
            if counts.remaining:
                answer.send(PENDING, counts=counts, with_remaining=True)
        answer.send(counts.status, counts=counts)


def _never() -> bool:
    return False


class _Answers:
    """Sends the responses to one C-GET or C-MOVE."""

    def __init__(self, call: Call, kind: int) -> None:
        self._call, self._kind = call, kind

    def send(
        self,
        code: int,
        *,
        counts: _Counts | None = None,
        with_remaining: bool = False,
        comment: str = "",
    ) -> None:
        """Send one; the last one lists what failed."""
        call = self._call
        failed = counts.failed if counts and code != PENDING else []
        identifier = self._listed(failed) if failed else b""
        elements = counts.elements(with_remaining=with_remaining) if counts else {}
        command = commands.response(
            self._kind,
            int(call.message.MessageID),
            str(call.message.AffectedSOPClassUID),
            commands.Said(code, comment, elements),
            has_data_set=bool(identifier),
        )
        call.association.send_message(call.context_id, command, (identifier,))

    def _listed(self, failed: Sequence[str]) -> bytes:
        match = {FAILED_LIST: {"vr": "UI", "Value": list(failed)}}
        implicit = self._call.transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
        return write_identifier(match, "", implicit=implicit)


def _question(level: str, identifier: Identifier, *, by_patient: bool) -> list[tuple[str, str]]:
    """Return the Search that names what a retrieve names: its unique keys.

    In Patient Root the Patient is one of them, at each level; who leaves it out below PATIENT
    retrieves relationally.

    Raises:
        Refused: the key of its level is not there, or is no UID, or the Patient is not one.
    """
    patient = _patient(identifier, level) if by_patient else []
    if level == "PATIENT":
        return [*SHOWN, *patient]
    keys = [UNIQUE_KEYS[name] for name in ("STUDY", "SERIES", "IMAGE")]
    named = {key: _uids(identifier, key) for key in keys[: keys.index(UNIQUE_KEYS[level]) + 1]}
    if not named[UNIQUE_KEYS[level]]:
        raise Refused(status.DOES_NOT_MATCH, f"the UID of a {level} is needed")
    return [*SHOWN, *patient, *((key, "\\".join(uids)) for key, uids in named.items() if uids)]


def _patient(identifier: Identifier, level: str) -> list[tuple[str, str]]:
    patient, issuer = _first(identifier, PATIENT_ID), _first(identifier, ISSUER)
    several = len(identifier.get(PATIENT_ID, {}).get("Value", [])) > 1
    if several or set(patient) & set("*?\\") or (level == "PATIENT" and not patient):
        raise Refused(status.DOES_NOT_MATCH, "one Patient ID is needed")
    return [(key, value) for key, value in ((PATIENT_ID, patient), (ISSUER, issuer)) if value]


def _uids(identifier: Identifier, key: str) -> list[str]:
    values = [str(value) for value in identifier.get(key, {}).get("Value", []) if value]
    try:
        return list(dict.fromkeys(map(check_uid, values)))
    except InvalidUID as error:
        raise Refused(status.DOES_NOT_MATCH, "a UID was expected") from error


def _first(identifier: Identifier, key: str) -> str:
    values = identifier.get(key, {}).get("Value") or [""]
    return str(values[0] or "").strip()
