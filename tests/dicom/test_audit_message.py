"""Audit messages: the codes and the shape that PS3.15 asks for."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, fromstring

import pytest

from app.dicom import audit_message
from app.dicom.audit_message import (
    APPLICATION_ACTIVITY,
    APPLICATION_START,
    AUDIT_LOG_USED,
    DESTINATION,
    EXPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    MINOR_FAILURE,
    QUERY,
    RESTRICTED_FUNCTION,
    SECURITY_ALERT,
    SOURCE,
    STUDY_DELETED,
    USER_AUTHENTICATION,
    AuditFact,
    write_audit_message,
)

AT = datetime(2026, 1, 31, 8, 30, 15, 123456, UTC)
CODED = ("csd-code", "codeSystemName", "originalText")
SHAPE = {
    "AuditMessage": (
        (),
        (),
        "EventIdentification ActiveParticipant+ AuditSourceIdentification"
        " ParticipantObjectIdentification*",
    ),
    "EventIdentification": (
        ("EventDateTime", "EventOutcomeIndicator"),
        ("EventActionCode",),
        "EventID EventTypeCode*",
    ),
    "EventID": (CODED, (), ""),
    "EventTypeCode": (CODED, (), ""),
    "ActiveParticipant": (
        ("UserID", "UserIsRequestor"),
        ("NetworkAccessPointID", "NetworkAccessPointTypeCode"),
        "RoleIDCode* MediaIdentifier?",
    ),
    "RoleIDCode": (CODED, (), ""),
    "MediaIdentifier": ((), (), "MediaType"),
    "MediaType": (CODED, (), ""),
    "AuditSourceIdentification": (("AuditSourceID",), (), "AuditSourceTypeCode*"),
    "AuditSourceTypeCode": (("csd-code",), (), ""),
    "ParticipantObjectIdentification": (
        ("ParticipantObjectID",),
        ("ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"),
        "ParticipantObjectIDTypeCode ParticipantObjectName|ParticipantObjectQuery"
        " ParticipantObjectDetail* ParticipantObjectDescription*",
    ),
    "ParticipantObjectIDTypeCode": (CODED, (), ""),
    "ParticipantObjectName": ((), (), ""),
    "ParticipantObjectQuery": ((), (), ""),
    "ParticipantObjectDetail": (("type", "value"), (), ""),
    "ParticipantObjectDescription": ((), (), "SOPClass*"),
    "SOPClass": (("NumberOfInstances",), (), ""),
}
"""What of the schema of PS3.15 A.5.1.1 we write: required and other attributes, and children."""


def misfits(element: Element) -> Iterator[str]:
    """Yield what in a message is not as the schema says."""
    required, others, content = SHAPE[element.tag]
    if not set(required) <= set(element.attrib) <= {*required, *others}:
        yield f"{element.tag} has {sorted(element.attrib)}"
    names = [child.tag for child in element]
    for part in content.split():
        taken = 0
        wanted = part.rstrip("*+?").split("|")
        while names and names[0] in wanted and not (taken and part[-1] not in "*+"):
            names.pop(0)
            taken += 1
        if not taken and part[-1] not in "*?":
            yield f"{element.tag} lacks {part}"
    if names:
        yield f"{element.tag} has {names} left"
    for child in element:
        yield from misfits(child)


def read(fact: AuditFact) -> Element:
    message = fromstring(write_audit_message(fact, "pacs.example.org"))  # noqa: S314 - our own
    assert list(misfits(message)) == []
    return message


@pytest.mark.parametrize(
    ("event", "action"),
    [
        (AUDIT_LOG_USED, "R"),
        (INSTANCES_ACCESSED, "R"),
        (INSTANCES_TRANSFERRED, "C"),
        (STUDY_DELETED, "D"),
        (EXPORT, "R"),
        (QUERY, "E"),
        (SECURITY_ALERT, "E"),
        (USER_AUTHENTICATION, "E"),
        (APPLICATION_ACTIVITY, "E"),
    ],
)
@pytest.mark.parametrize("study", ["", "1.2.3"])
@pytest.mark.parametrize("role", [None, SOURCE, DESTINATION])
def test_each_kind_of_message_is_as_the_schema_says(
    event: audit_message.Code, action: str, study: str, role: audit_message.Code | None
) -> None:
    fact = AuditFact(
        event,
        action,
        AT,
        "radiologist-1",
        "192.0.2.7",
        (RESTRICTED_FUNCTION,),
        MINOR_FAILURE,
        role,
        study,
        "PID-1^^^site" if study else "",
        3 if study else 0,
        {"agent": "viewer/1", "asked": "PatientID"},
    )
    message = read(fact)
    (identified,) = message.iter("EventIdentification")
    assert identified.get("EventActionCode") == action
    assert identified.get("EventDateTime") == "2026-01-31T08:30:15.123Z"
    assert identified.get("EventOutcomeIndicator") == "4"
    (code,) = identified.iter("EventID")
    assert (code.get("csd-code"), code.get("originalText")) == (event.value, event.meaning)


def test_a_study_its_patient_and_its_instances_are_named_and_nobody_by_name() -> None:
    fact = AuditFact(INSTANCES_ACCESSED, "R", AT, "one", study="1.2.3", patient="PID", instances=7)
    study, patient = read(fact).iter("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find("ParticipantObjectDescription/SOPClass[@NumberOfInstances='7']") is not None
    assert patient.get("ParticipantObjectID") == "PID"
    assert (
        patient.get("ParticipantObjectTypeCode"),
        patient.get("ParticipantObjectTypeCodeRole"),
    ) == ("1", "1")


def test_who_takes_is_the_destination_and_the_archive_the_source() -> None:
    fact = AuditFact(INSTANCES_TRANSFERRED, "R", AT, "one", user_role=DESTINATION, study="1.2")
    user, archive = read(fact).iter("ActiveParticipant")
    assert user.find("RoleIDCode[@csd-code='110152']") is not None
    assert user.get("UserIsRequestor") == "true"
    assert archive.find("RoleIDCode[@csd-code='110153']") is not None
    assert archive.get("UserID") == "pacs.example.org"


def test_a_query_and_details_are_in_base64_and_what_is_no_xml_breaks_nothing() -> None:
    odd = "<&>\x00\x1b\ud800"
    details = {"asked": "PatientID,StudyDate", "agent": "<&>\x01"}
    message = read(AuditFact(QUERY, "E", AT, odd, odd, details=details))
    (query,) = message.iter("ParticipantObjectQuery")
    assert base64.b64decode(query.text or "") == b"PatientID,StudyDate"
    told = {
        str(one.get("type")): base64.b64decode(str(one.get("value"))).decode()
        for one in message.iter("ParticipantObjectDetail")
    }
    assert told == details
    assert next(message.iter("ActiveParticipant")).get("UserID") == "<&>???"


def test_the_start_of_the_archive_has_no_user() -> None:
    message = read(AuditFact(APPLICATION_ACTIVITY, "E", AT, "", types=(APPLICATION_START,)))
    (archive,) = message.iter("ActiveParticipant")
    assert archive.find("RoleIDCode[@csd-code='110150']") is not None
