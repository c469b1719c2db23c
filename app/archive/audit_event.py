"""An audit message as a FHIR R4 AuditEvent, with the same codes (hl7.org/fhir/R4/auditevent)."""

import base64
from typing import Any

from app.dicom.audit_message import AuditFact, Code, moment

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_OBJECT = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE = "http://terminology.hl7.org/CodeSystem/security-source-type"


def audit_event(fact: AuditFact, source: str) -> dict[str, Any]:
    """Return the resource; `source` names the archive."""
    user: dict[str, Any] = {"altId": fact.user or "anonymous", "requestor": True}
    if fact.address:
        user["network"] = {"address": fact.address, "type": "2"}
    if fact.user_role is not None:
        user["role"] = [{"coding": [_coding(fact.user_role)]}]
    archive = {"altId": source, "requestor": False, "network": {"address": source, "type": "1"}}
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": _coding(fact.event),
        "action": fact.action,
        "recorded": moment(fact.at),
        "outcome": str(fact.outcome),
        "agent": [user, archive],
        "source": {
            "site": source,
            "observer": {"display": source},
            "type": [{"system": _SOURCE, "code": "4"}],
        },
    }
    if fact.types:
        event["subtype"] = [_coding(code) for code in fact.types]
    if entities := _entities(fact):
        event["entity"] = entities
    return event


def _entities(fact: AuditFact) -> list[dict[str, Any]]:
    entities = []
    details = [
        {"type": name, "valueBase64Binary": base64.b64encode(value.encode()).decode()}
        for name, value in fact.details.items()
    ]
    if fact.study or details:
        about: dict[str, Any] = {"type": {"system": _OBJECT, "code": "2"}}
        if fact.study:
            identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{fact.study}"}
            about |= {"what": {"identifier": identifier}, "role": {"system": _ROLE, "code": "3"}}
        entities.append({**about, **({"detail": details} if details else {})})
    if fact.patient:
        entities.append(
            {
                "what": {"identifier": {"value": fact.patient}},
                "type": {"system": _OBJECT, "code": "1"},
                "role": {"system": _ROLE, "code": "1"},
            }
        )
    return entities


def _coding(code: Code) -> dict[str, str]:
    return {"system": _DCM, "code": code.value, "display": code.meaning}
