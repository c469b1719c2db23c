"""C-FIND (PS3.4 §C.4.1, §K.4.1) over QIDO-RS, the archive's Patients and its worklist, in pages.

Every query is answered relationally, whether that was negotiated or not: keys of any level are
matched at any level.
"""

import logging
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

from app.dicom.identifiers import (
    UTF_8,
    character_set_of,
    is_uid_key,
    read_identifier,
    write_identifier,
)
from app.dicom.transfer_syntaxes import IMPLICIT_LITTLE_ENDIAN
from app.dimse import commands, status
from app.dimse.archive import DICOM_JSON, Archive, problem_of
from app.dimse.connections import NoAnswer
from app.dimse.contexts import STUDY_ROOT, WORKLIST_FIND
from app.dimse.incoming import Call
from app.dimse.peers import Peer
from app.errors import InvalidDataset

PAGE = 200
"""Matches that are asked for at once: as many as are held."""
LONGEST_QUERY = 56 * 2**10
"""What the archive takes of a URL, less what else stands before a request's body."""
CHARACTER_SET, LEVEL = "00080005", "00080052"
RETRIEVE_AE_TITLE, AVAILABILITY = "00080054", "00080056"
PATIENT_ID, ISSUER = "00100020", "00100021"
INSTANCES = "/dicom-web/instances"
PATHS = {
    "PATIENT": "/api/v1/patients",
    "STUDY": "/dicom-web/studies",
    "SERIES": "/dicom-web/series",
    "IMAGE": INSTANCES,
}
WORKLIST = "/dicom-web/modality-scheduled-procedure-steps"
UNIQUE_KEYS = {"STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}
_IDENTIFYING = {
    PATHS["PATIENT"]: (PATIENT_ID, ISSUER),
    **{PATHS[level]: (key,) for level, key in UNIQUE_KEYS.items()},
}
_OURS = frozenset({CHARACTER_SET, LEVEL, "00080053", RETRIEVE_AE_TITLE, AVAILABILITY})
"""Keys that say how to answer, or that the bridge answers for."""
_MEDIA = frozenset({"00880130", "00880140"})
"""On which medium it lies: on none."""
_ZONE = "00080201"
"""Shifts no key here: nobody can negotiate that (PS3.4 §C.5.1.1)."""
_IGNORED = "has been ignored"
"""What a Warning of the archive says of a key that it does not support."""
_NO_LEVEL = "a level is needed: PATIENT, STUDY, SERIES or IMAGE"
_log = logging.getLogger(__name__)
Identifier = Mapping[str, Any]


class Refused(Exception):
    """A request that cannot be answered, with its status and a comment."""

    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code, self.comment = code, comment


@dataclass(slots=True)
class Heard:
    """Whether the archive heeded all keys of a query, as far as it has answered."""

    all_heeded: bool = True

    def note(self, warning: str) -> None:
        """Note a Warning of an answer, '' for none."""
        self.all_heeded = self.all_heeded and _IGNORED not in warning


@dataclass(frozen=True, slots=True)
class _Question:
    """Where a query is asked, and what each answer says besides what was found."""

    path: str
    character_set: str
    heard: Heard
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finder:
    """Answers C-FIND; `utf8` is answered in for all, else the character set of each query is."""

    archive: Archive
    ae_title: str
    utf8: bool = False

    def serve(self, call: Call) -> None:
        """Answer one request: a response for each match, and a last one."""
        answer = _Answers(call)
        try:
            identifier = read_request(call)
            question = self._question(call, identifier)
            for match in self._matches(call, question, identifier):
                if call.is_cancelled:
                    answer.end(0xFE00, "cancelled")
                    return
                written = self._written(call, question, identifier, match)
                answer.match(written, all_heeded=question.heard.all_heeded)
        except Refused as refused:
            answer.end(refused.code, refused.comment)
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
            answer.end(status.OUT_OF_RESOURCES, "the archive does not answer")
        else:
            answer.end(status.SUCCESS)

    def _question(self, call: Call, identifier: Identifier) -> _Question:
        named = UTF_8 if self.utf8 else character_set_of(call.identifier, call.transfer_syntax_uid)
        heard = Heard(not any(map(_is_no_text, identifier.values())))
        if str(call.message.AffectedSOPClassUID) == WORKLIST_FIND:
            return _Question(WORKLIST, named, heard)
        level = level_of(call, identifier)
        said = {
            LEVEL: {"vr": "CS", "Value": [level]},
            RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [self.ae_title]},
        }
        if AVAILABILITY in identifier:
            said[AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
        return _Question(PATHS[level], named, heard, said)

    def _matches(
        self, call: Call, question: _Question, identifier: Identifier
    ) -> Iterator[Identifier]:
        asked = parameters(identifier)
        if call.association.is_fuzzy(str(call.message.AffectedSOPClassUID)):
            asked.append(("fuzzymatching", "true"))
        questions = list(in_parts(asked))
        seen: set[bytes] = set()
        for part in questions:
            if call.is_cancelled:
                raise Refused(0xFE00, "cancelled")
            for match in search(self.archive, call.peer, question.path, part, question.heard):
                if len(questions) == 1 or _is_new(seen, question.path, match):
                    yield match

    def _written(
        self, call: Call, question: _Question, identifier: Identifier, match: Identifier
    ) -> bytes:
        """Return a match with what was asked for, and nothing else."""
        found = {key: _wanted(key, asked, match) for key, asked in identifier.items()}
        answered = {**found, **question.said}
        implicit = call.transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
        return write_identifier(answered, question.character_set, implicit=implicit)


class _Answers:
    """Sends the responses to one C-FIND."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def match(self, identifier: bytes, *, all_heeded: bool) -> None:
        """Send a match; say if not all keys are supported (PS3.4 Table C.4-1)."""
        self._send(0xFF00 if all_heeded else 0xFF01, identifier=identifier)

    def end(self, code: int, comment: str = "") -> None:
        """Send the last response."""
        self._send(code, comment)

    def _send(self, code: int, comment: str = "", identifier: bytes = b"") -> None:
        call = self._call
        values = commands.response(
            commands.C_FIND_RSP,
            call.message.MessageID,
            str(call.message.AffectedSOPClassUID),
            commands.Said(code, comment),
            has_data_set=bool(identifier),
        )
        call.association.send_message(call.context_id, values, (identifier,) if identifier else ())


def read_request(call: Call) -> Identifier:
    """Return the Identifier of a request as DICOM JSON.

    Raises:
        Refused: it cannot be understood.
    """
    if not call.identifier:
        raise Refused(status.DOES_NOT_MATCH, "an Identifier is needed")
    try:
        return read_identifier(call.identifier, call.transfer_syntax_uid)
    except InvalidDataset as error:
        raise Refused(status.DOES_NOT_MATCH, str(error)) from error


def level_of(call: Call, identifier: Identifier) -> str:
    """Return the Query/Retrieve Level of a request.

    Raises:
        Refused: it is none, or none of its model (PS3.4 §C.6.2).
    """
    level = str(next(iter(_values(identifier, LEVEL)), "")).strip()
    if level not in PATHS:
        raise Refused(status.DOES_NOT_MATCH, _NO_LEVEL)
    if level == "PATIENT" and str(call.message.AffectedSOPClassUID) in STUDY_ROOT:
        raise Refused(status.DOES_NOT_MATCH, "Study Root has no level PATIENT")
    return level


def _values(identifier: Identifier, key: str) -> list[Any]:
    values = identifier.get(key, {}).get("Value", [])
    return list(values)


def parameters(identifier: Identifier) -> list[tuple[str, str]]:
    """Return the parameters of a Search that asks what an Identifier asks."""
    asked: list[tuple[str, str]] = []
    for key, content in identifier.items():
        if key in _OURS | _MEDIA or key.endswith("0000"):
            continue
        asked += [("includefield", key)] if key == _ZONE else _parameter(key, content)
    return asked


def _parameter(path: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    values = content.get("Value") or []
    top = path.split(".", maxsplit=1)[0]
    if content.get("vr") == "SQ":
        yield "includefield", top
        for item in values[:1]:
            for key, inner in item.items():
                if _text(inner):
                    yield from _parameter(f"{path}.{key}", inner)
    elif text := _text(content):
        yield path, text
    else:
        yield "includefield", top


def _text(content: Mapping[str, Any]) -> str:
    """Return a key's value as it stood in the query; '' for universal matching."""
    if content.get("vr") == "SQ":
        return "*" if content.get("Value") else ""
    if "InlineBinary" in content:
        return _plain(content)
    return "\\".join(map(_single, content.get("Value") or []))


def _plain(content: Mapping[str, Any]) -> str:
    """Return the text of a private key, whose VR Implicit VR leaves open; '' for what is none."""
    if content.get("vr") != "UN":
        return ""
    data = b64decode(content["InlineBinary"]).rstrip(b" \0")
    text = data.decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() else ""


def _is_no_text(content: Mapping[str, Any]) -> bool:
    """Say whether a key has a value that is not matched."""
    return bool(content.get("InlineBinary")) and not _plain(content)


def _single(value: Any) -> str:
    if isinstance(value, dict):
        groups = (value.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)


def in_parts(asked: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the Searches that together ask what is asked, with lists of UIDs in parts.

    Raises:
        Refused: what is not a list of UIDs is too long for a URL.
    """
    if len(urlencode(asked)) <= LONGEST_QUERY:
        yield asked
        return
    at = max(range(len(asked)), key=lambda one: len(_uid_list(*asked[one])))
    key, text = asked[at]
    uids = _uid_list(key, text)
    if len(uids) < 2:
        raise Refused(status.DOES_NOT_MATCH, "the values of the keys are too long in all")
    half = len(uids) // 2
    for some in (uids[:half], uids[half:]):
        yield from in_parts([*asked[:at], (key, "\\".join(some)), *asked[at + 1 :]])


def _uid_list(path: str, text: str) -> list[str]:
    """Return the UIDs that a key lists, none of a key that is about something else."""
    if not is_uid_key(path.rsplit(".", maxsplit=1)[-1]):
        return []
    return list(dict.fromkeys(text.replace(",", "\\").split("\\")))


def _is_new(seen: set[bytes], path: str, match: Identifier) -> bool:
    """Say whether a match was not seen before, and note it."""
    keys = _IDENTIFYING.get(path, tuple(sorted(match)))
    named = orjson.dumps([match.get(key) for key in keys], option=orjson.OPT_SORT_KEYS)
    before = len(seen)
    seen.add(named)
    return len(seen) > before


def search(
    archive: Archive,
    peer: Peer,
    path: str,
    asked: list[tuple[str, str]],
    heard: Heard | None = None,
) -> Iterator[Identifier]:
    """Yield all matches of a Search, in pages; `heard` is what the archive says besides.

    Raises:
        Refused: the archive refuses it.
        NoAnswer: it does not answer.
    """
    offset = 0
    while True:
        here = [*asked, ("limit", str(PAGE)), ("offset", str(offset))]
        page = _page(archive, peer, path, here, heard or Heard())
        yield from page
        if len(page) < PAGE:
            return
        offset += PAGE


def _page(
    archive: Archive, peer: Peer, path: str, asked: list[tuple[str, str]], heard: Heard
) -> list[Identifier]:
    response = archive.send(
        peer,
        "GET",
        path,
        params=asked,
        headers={"Accept": DICOM_JSON},
    )
    if response.status_code == 204:
        return []
    if response.status_code != 200:
        why = problem_of(response).get("detail", f"HTTP status {response.status_code}")
        raise Refused(status.of_search(response.status_code), str(why))
    heard.note(response.warning)
    matches: list[Identifier] = orjson.loads(response.content)
    return matches


def _wanted(key: str, asked: Mapping[str, Any], match: Identifier) -> Mapping[str, Any]:
    """Return what a match has of an attribute; of items, what was asked for in them."""
    found: Mapping[str, Any] = match.get(key) or {"vr": asked.get("vr", "UN")}
    items = asked.get("Value") or [{}]
    if asked.get("vr") != "SQ" or not items[0] or "Value" not in found:
        return found
    inner = items[0]
    return {
        "vr": "SQ",
        "Value": [
            {name: _wanted(name, inner[name], item) for name in inner} for item in found["Value"]
        ],
    }
