"""What an event of the log is to an audit repository (PS3.15 §A.5.3); some are nothing to it.

One message is about one event. Of an interval the entry at its beginning is a message, and the sum
at its end is another one with the same code and `count` among its details.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from app.archive.audit import count_instances
from app.dicom.audit_message import (
    APPLICATION_ACTIVITY,
    APPLICATION_START,
    APPLICATION_STOP,
    AUDIT_LOG_USED,
    DESTINATION,
    EXPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    LOGIN,
    LOGOUT,
    MINOR_FAILURE,
    OBJECT_SECURITY_CHANGED,
    OVERRIDE_STARTED,
    OVERRIDE_STOPPED,
    QUERY,
    RESTRICTED_FUNCTION,
    SECURITY_ALERT,
    SECURITY_CONFIGURATION,
    SOURCE,
    STUDY_DELETED,
    SUCCESS,
    USER_AUTHENTICATION,
    USER_SECURITY_CHANGED,
    AuditFact,
    Code,
)
from app.index import reads
from app.index.events import Event
from app.index.overrides import BROKE_GLASS, OVERRIDE_ENDED


class _Told(NamedTuple):
    """How an event is told: code, action, type, the user's role, outcome."""

    event: Code
    action: str
    type: Code | None = None
    role: Code | None = None
    outcome: int = SUCCESS


_TOLD: Mapping[str, _Told] = {
    reads.SEARCHED: _Told(QUERY, "E", role=SOURCE),
    reads.VIEWED: _Told(INSTANCES_ACCESSED, "R"),
    reads.DOWNLOADED: _Told(INSTANCES_TRANSFERRED, "R", role=DESTINATION),
    reads.EXPORTED: _Told(EXPORT, "R"),
    reads.DENIED: _Told(SECURITY_ALERT, "E", RESTRICTED_FUNCTION, outcome=MINOR_FAILURE),
    reads.UNAUTHENTICATED: _Told(USER_AUTHENTICATION, "E", LOGIN, outcome=MINOR_FAILURE),
    reads.LOGGED_IN: _Told(USER_AUTHENTICATION, "E", LOGIN),
    reads.LOGGED_OUT: _Told(USER_AUTHENTICATION, "E", LOGOUT),
    reads.AUDIT_USED: _Told(AUDIT_LOG_USED, "R"),
    reads.STARTED: _Told(APPLICATION_ACTIVITY, "E", APPLICATION_START),
    reads.STOPPED: _Told(APPLICATION_ACTIVITY, "E", APPLICATION_STOP),
    BROKE_GLASS: _Told(SECURITY_ALERT, "E", OVERRIDE_STARTED),
    OVERRIDE_ENDED: _Told(SECURITY_ALERT, "E", OVERRIDE_STOPPED),
    "accepted": _Told(INSTANCES_TRANSFERRED, "C", role=SOURCE),
    "refused": _Told(INSTANCES_TRANSFERRED, "C", role=SOURCE, outcome=MINOR_FAILURE),
    "removed": _Told(INSTANCES_ACCESSED, "D"),
    "rejected": _Told(INSTANCES_ACCESSED, "D"),
    "purged": _Told(STUDY_DELETED, "D"),
    "restored": _Told(INSTANCES_ACCESSED, "U"),
    "mended": _Told(INSTANCES_ACCESSED, "U"),
    "held": _Told(INSTANCES_ACCESSED, "U"),
    "released": _Told(INSTANCES_ACCESSED, "U"),
    "labelled": _Told(SECURITY_ALERT, "U", OBJECT_SECURITY_CHANGED),
    "unlabelled": _Told(SECURITY_ALERT, "U", OBJECT_SECURITY_CHANGED),
    "rekeyed": _Told(SECURITY_ALERT, "U", SECURITY_CONFIGURATION),
    **{
        kind: _Told(SECURITY_ALERT, action, USER_SECURITY_CHANGED)
        for kind, action in (
            ("key-created", "C"),
            ("key-revoked", "D"),
            ("user-added", "C"),
            ("user-changed", "U"),
            ("user-removed", "D"),
            ("user-disabled", "U"),
            ("user-enabled", "U"),
            ("user-password-set", "U"),
        )
    },
}
_DETAILS = (
    "by",
    "agent",
    "asked",
    "attempt",
    "status",
    "count",
    "first",
    "last",
    "labels",
    "because",
    "until",
)


def fact_of(event: Event, patient: str = "") -> AuditFact | None:
    """Return what a message tells of an event, None if an audit repository is not told of it."""
    told = _TOLD.get(event.kind)
    study = str(event.payload.get("study", ""))
    if told is None or (told.event in {INSTANCES_ACCESSED, INSTANCES_TRANSFERRED} and not study):
        return None
    return AuditFact(
        event=told.event,
        action=told.action,
        at=event.at,
        user=event.actor,
        address=str(event.payload.get("address", "")),
        types=() if told.type is None else (told.type,),
        outcome=told.outcome,
        user_role=told.role,
        study=study,
        patient=patient,
        instances=count_instances(event.payload),
        details={**_details(event.payload, _DETAILS), **_let_in(event.payload)},
    )


def _details(payload: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: _text(payload[name]) for name in names if name in payload}


def _let_in(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return whose rights an event is about."""
    for what in ("key", "user"):
        if isinstance(who := payload.get(what), dict):
            return {what: str(who.get("name", "")), **_details(who, ("roles", "labels"))}
    return {}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
