"""DICOM audit messages (PS3.15 §A.5): what was done, by whom, to which Study, as XML.

A message holds UIDs, a Patient ID where one is given, and no name of a patient: an audit
repository has its own readers, and keeps what it was told for years.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring


class Code(NamedTuple):
    """A coded value: code, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
AUDIT_LOG_USED = _dcm("110101", "Audit Log Used")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
EXPORT = _dcm("110106", "Export")
QUERY = _dcm("110112", "Query")
SECURITY_ALERT = _dcm("110113", "Security Alert")
USER_AUTHENTICATION = _dcm("110114", "User Authentication")

APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
LOGIN = _dcm("110122", "Login")
LOGOUT = _dcm("110123", "Logout")
OVERRIDE_STARTED = _dcm("110127", "Emergency Override Started")
SECURITY_CONFIGURATION = _dcm("110129", "Security Configuration")
RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")
OBJECT_SECURITY_CHANGED = _dcm("110135", "Object Security Attributes Changed")
USER_SECURITY_CHANGED = _dcm("110137", "User Security Attributes Changed")
OVERRIDE_STOPPED = _dcm("110138", "Emergency Override Stopped")

APPLICATION = _dcm("110150", "Application")
DESTINATION = _dcm("110152", "Destination Role ID")
SOURCE = _dcm("110153", "Source Role ID")
_MEDIA = _dcm("110154", "Destination Media")
_URI_MEDIA = _dcm("110037", "URI")
_STUDY_UID = _dcm("110180", "Study Instance UID")
_SOP_CLASS = _dcm("110181", "SOP Class UID")
_PATIENT_NUMBER = Code("2", "RFC-3881", "Patient Number")
_URI = Code("12", "RFC-3881", "URI")

SUCCESS, MINOR_FAILURE = 0, 4
_QUERY_CLASS = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve - FIND
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class AuditFact:
    """What a message tells. `action` is one of C, R, U, D, E; `outcome` 0 or 4.

    `user_role` is what the user was in a transfer, None where there was none. `study`, `patient`
    (a Patient ID) and `address` are '' where there is none, `instances` is 0 where it is not known.
    """

    event: Code
    action: str
    at: datetime
    user: str
    address: str = ""
    types: Sequence[Code] = ()
    outcome: int = SUCCESS
    user_role: Code | None = None
    study: str = ""
    patient: str = ""
    instances: int = 0
    details: Mapping[str, str] = field(default_factory=dict)


def write_audit_message(fact: AuditFact, source: str) -> bytes:
    """Return the message as UTF-8 XML; `source` names the archive.

    Source: PS3.15 §A.5.1, §A.5.3
    """
    message = Element("AuditMessage")
    _add_event(message, fact)
    _add_participants(message, fact, source)
    origin = SubElement(message, "AuditSourceIdentification", AuditSourceID=source)
    SubElement(origin, "AuditSourceTypeCode", {"csd-code": "4"})
    _add_objects(message, fact, source)
    written: bytes = tostring(message, encoding="UTF-8", xml_declaration=True)
    return written


def moment(at: datetime) -> str:
    """Return a time as messages have it: UTC, to the millisecond.

    Source: PS3.15 §A.5.2.3
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_event(message: Element, fact: AuditFact) -> None:
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=fact.action,
        EventDateTime=moment(fact.at),
        EventOutcomeIndicator=str(fact.outcome),
    )
    _add_code(event, "EventID", fact.event)
    for code in fact.types:
        _add_code(event, "EventTypeCode", code)


def _add_participants(message: Element, fact: AuditFact, source: str) -> None:
    """Add who did it, the archive itself, and where an export went."""
    if fact.event != APPLICATION_ACTIVITY:
        user = _participant(message, fact.user or "anonymous", requests=True)
        if fact.address:
            user.attrib |= {
                "NetworkAccessPointID": _clean(fact.address),
                "NetworkAccessPointTypeCode": "2",
            }
        if fact.user_role is not None:
            _add_code(user, "RoleIDCode", fact.user_role)
    archive = _participant(message, source, requests=False)
    archive.attrib |= {"NetworkAccessPointID": source, "NetworkAccessPointTypeCode": "1"}
    role = {None: None, SOURCE: DESTINATION, DESTINATION: SOURCE}[fact.user_role]
    if fact.event == APPLICATION_ACTIVITY:
        role = APPLICATION
    if role is not None:
        _add_code(archive, "RoleIDCode", role)
    if fact.event == EXPORT:
        media = _participant(message, "files", requests=False)
        _add_code(media, "RoleIDCode", _MEDIA)
        _add_code(SubElement(media, "MediaIdentifier"), "MediaType", _URI_MEDIA)


def _participant(message: Element, name: str, *, requests: bool) -> Element:
    requestor = "true" if requests else "false"
    return SubElement(message, "ActiveParticipant", UserID=_clean(name), UserIsRequestor=requestor)


def _add_objects(message: Element, fact: AuditFact, source: str) -> None:
    described = fact.details
    if fact.event == AUDIT_LOG_USED:
        log = _object(message, f"urn:fileroom:{source}:log", ("2", "13"), _URI)
        SubElement(log, "ParticipantObjectName").text = "Security Audit Log"
        _add_details(log, described)
        described = {}
    if fact.event == QUERY:
        query = _object(message, _QUERY_CLASS, ("2", "3"), _SOP_CLASS)
        asked = described.get("asked", "").encode()
        SubElement(query, "ParticipantObjectQuery").text = base64.b64encode(asked).decode()
        _add_details(query, described)
        described = {}
    if fact.study:
        study = _object(message, fact.study, ("2", "3"), _STUDY_UID)
        SubElement(study, "ParticipantObjectName").text = fact.study
        _add_details(study, described)
        if fact.instances:
            number = {"NumberOfInstances": str(fact.instances)}
            SubElement(SubElement(study, "ParticipantObjectDescription"), "SOPClass", number)
    elif fact.event == SECURITY_ALERT:
        alerted = _object(message, f"urn:fileroom:{source}", ("2", "13"), _URI)
        SubElement(alerted, "ParticipantObjectName").text = source
        _add_details(alerted, described)
    if fact.patient:
        patient = _object(message, fact.patient, ("1", "1"), _PATIENT_NUMBER)
        SubElement(patient, "ParticipantObjectName").text = _clean(fact.patient)


def _object(message: Element, name: str, kind: tuple[str, str], code: Code) -> Element:
    type_code, role = kind
    made = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(name),
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(made, "ParticipantObjectIDTypeCode", code)
    return made


def _add_details(parent: Element, details: Mapping[str, str]) -> None:
    for name, value in details.items():
        encoded = base64.b64encode(value.encode()).decode()
        SubElement(parent, "ParticipantObjectDetail", type=name, value=encoded)


def _add_code(parent: Element, name: str, code: Code) -> None:
    SubElement(
        parent,
        name,
        {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning},
    )


def _clean(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)
