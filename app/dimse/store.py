"""C-STORE: the data set goes to the archive as the bytes that came, behind a File Meta Information
that is the same for the same Instance (PS3.10 §7.1), and the peer gets what the archive answered.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from app.dicom.file_meta import add_file_meta
from app.dicom.named import START_BYTES, named_uids
from app.dicom.non_patient import category_of
from app.dicom.uids import check_uid
from app.dimse import status
from app.dimse.archive import DICOM_JSON, Archive
from app.dimse.connections import NoAnswer, Response
from app.dimse.messages import Answer, StoreRequest
from app.dimse.parts import body_of
from app.dimse.peers import Peer
from app.errors import InvalidUID

FAILED, STORED, UNNAMED = "00081198", "00081199", "0008119A"
_UID = "00081155"
_WORTH_SENDING = 2**15
_log = logging.getLogger(__name__)
NO_ANSWER: Answer = (status.OUT_OF_RESOURCES, "the archive does not answer")


class Instance:
    """An Instance as a file: what stands before the data set, then the data set.

    `is_as_named` says that the data set is of the SOP Class and Instance that the request names, as
    far as its beginning tells.
    """

    def __init__(self, request: StoreRequest) -> None:
        uids = request.sop_class_uid, request.sop_instance_uid
        start = request.data_set.start(START_BYTES)
        named = named_uids(start, request.transfer_syntax_uid)
        self.is_as_named = named == uids
        self._is_of_another_class = named is not None and named[0] not in {"", uids[0]}
        self._meta = add_file_meta(*uids, request.transfer_syntax_uid)
        self._data_set = request.data_set

    def told(self, answer: Answer) -> Answer:
        """Return an answer with the warning that is due where the SOP Class is another one."""
        if answer[0] == status.SUCCESS and self._is_of_another_class:
            return status.OTHER_IDENTITY, "stored as what the data set says it is"
        return answer

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self._meta) + self._data_set.size

    def __iter__(self) -> Iterator[bytes]:
        """Yield it from the beginning; what is short comes with what follows it."""
        short, size = [self._meta], len(self._meta)
        for piece in self._data_set.chunks():
            if size >= _WORTH_SENDING:
                yield b"".join(short)
                short, size = [], 0
            if not short and len(piece) >= _WORTH_SENDING:
                yield piece
            else:
                short.append(piece)
                size += len(piece)
        if short:
            yield b"".join(short)


def store_instance(archive: Archive, peer: Peer, request: StoreRequest) -> Answer:
    """Store an Instance; return the status for the peer, and a comment where it is no success."""
    refused = refusal_of(peer, request)
    if refused is not None:
        return refused
    instance = Instance(request)
    path, body = path_of(request.sop_class_uid), body_of([instance])
    try:
        response = archive.send(peer, "POST", path, body, headers={"Accept": DICOM_JSON})
    except NoAnswer as error:
        _log.warning("the archive does not answer: %s", error)
        return NO_ANSWER
    return instance.told(answer_of(response, request.sop_instance_uid))


def path_of(sop_class_uid: str) -> str:
    """Return where Instances of a SOP Class are stored."""
    category = category_of(sop_class_uid)
    return f"/dicom-web/{category.name if category else 'studies'}"


def refusal_of(peer: Peer, request: StoreRequest) -> Answer | None:
    """Return why an Instance is not even sent to the archive."""
    if "store" not in peer.services:
        return status.NOT_AUTHORIZED, "this AE may not store"
    if request.data_set.trouble:
        return status.OUT_OF_RESOURCES, request.data_set.trouble
    try:
        check_uid(request.sop_class_uid)
        check_uid(request.sop_instance_uid)
    except InvalidUID:
        return status.DOES_NOT_MATCH, "SOP Class and SOP Instance UID are needed"
    return None


def answer_of(response: Response, sop_instance_uid: str) -> Answer:
    """Return what became of the one Instance of a Store request."""
    report = _report(response)
    if stored := _items(report, STORED):
        if _value(stored[0], _UID) != sop_instance_uid:
            return status.OTHER_IDENTITY, "stored under the UID that is in the data set"
        return int(_value(stored[0], "00081196", status.SUCCESS)), ""
    for item in (*_items(report, FAILED), *_items(report, UNNAMED)):
        return _failure(item)
    return status.of_store_request(response.status_code), f"HTTP status {response.status_code}"


def answers_of(response: Response) -> dict[str, Answer]:
    """Return what became of the Instances of a Store request, by their UIDs, as far as it says.

    They are those of the data sets, so what is told of one that names itself otherwise is not its.
    """
    report = _report(response)
    answers: dict[str, Answer] = {
        str(_value(item, _UID)): (int(_value(item, "00081196", status.SUCCESS)), "")
        for item in _items(report, STORED)
    }
    for item in _items(report, FAILED):
        answers[str(_value(item, _UID))] = _failure(item)
    return answers


def _failure(item: Mapping[str, Any]) -> Answer:
    reason = status.store_status(int(_value(item, "00081197", status.CANNOT_UNDERSTAND)))
    return reason, str(_value(item, "00000902", ""))


def _report(response: Response) -> Mapping[str, Any]:
    if DICOM_JSON not in response.content_type:
        return {}
    report = orjson.loads(response.content)
    return report if isinstance(report, dict) else {}


def _items(report: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    items = report.get(tag, {}).get("Value", [])
    return list(items)


def _value(item: Mapping[str, Any], tag: str, default: Any = "") -> Any:
    values = item.get(tag, {}).get("Value") or [default]
    return values[0]
