"""Which Presentation Contexts are accepted (PS3.8 §7.1.1.13): by service, never by a list of SOP
Classes alone, so that what is private, retired or newer than this program is stored, too.
"""

from collections.abc import Iterable, Mapping, Sequence

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import (
    NonPatientObjectStorageServiceClass,
    ServiceClass,
    StorageServiceClass,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
    uid_to_service_class,
)

from app.dicom import transfer_syntaxes

WORKLIST_FIND = str(ModalityWorklistInformationFind)
GET_MODELS = frozenset(
    {
        str(PatientRootQueryRetrieveInformationModelGet),
        str(StudyRootQueryRetrieveInformationModelGet),
    }
)
SERVICE_OF = {
    str(Verification): "",
    str(PatientRootQueryRetrieveInformationModelFind): "find",
    str(StudyRootQueryRetrieveInformationModelFind): "find",
    str(PatientRootQueryRetrieveInformationModelMove): "retrieve",
    str(StudyRootQueryRetrieveInformationModelMove): "retrieve",
    str(PatientRootQueryRetrieveInformationModelGet): "retrieve",
    str(StudyRootQueryRetrieveInformationModelGet): "retrieve",
    str(StorageCommitmentPushModel): "commit",
    WORKLIST_FIND: "worklist",
    str(ModalityPerformedProcedureStep): "mpps",
}
"""SOP Classes that are not stored, and the service that a peer needs the right to; '': none."""

STUDY_ROOT = frozenset(
    {
        str(StudyRootQueryRetrieveInformationModelFind),
        str(StudyRootQueryRetrieveInformationModelGet),
        str(StudyRootQueryRetrieveInformationModelMove),
    }
)
"""Models without a patient level (PS3.4 §C.6.2)."""
_EXPLICIT = transfer_syntaxes.EXPLICIT_LITTLE_ENDIAN
_PLAIN = (
    _EXPLICIT,
    transfer_syntaxes.IMPLICIT_LITTLE_ENDIAN,
    transfer_syntaxes.EXPLICIT_BIG_ENDIAN,
)
"""Uncompressed ones, the best first: Explicit VR tells what private elements are."""
_FIND_ABILITIES = b"\1\0\1\0\0"
"""Relational queries and fuzzy matching of names; no combined dates, time zones, views."""
_RETRIEVE_ABILITIES = b"\1\0"
"""Relational retrieval; no views."""
_WORKLIST_ABILITIES = b"\1\1\1\0"
"""Two that are always so, and fuzzy matching of names; no time zones (PS3.4 §K.5.1)."""
_ABILITIES = {
    "find": _FIND_ABILITIES,
    "retrieve": _RETRIEVE_ABILITIES,
    "worklist": _WORKLIST_ABILITIES,
}
_STORAGE_LEVEL = b"\2\0\3\0\0\0"
"""Level 2 (all is kept), signatures stay whole, nothing is coerced (PS3.4 Table B.3-3)."""
_STORING = frozenset({NonPatientObjectStorageServiceClass, ServiceClass, StorageServiceClass})
_NOT_STORED = ("1.2.840.10008.1.", "1.2.840.10008.3.1.", "1.2.840.10008.4.", "1.2.840.10008.5.1.1.")


def is_storage(sop_class_uid: str) -> bool:
    """Say whether Instances of a SOP Class are stored.

    What pynetdicom knows as another service's is not; neither are the standard's own classes of
    protocols. All else is: storage classes old and new, and all private ones.
    """
    if sop_class_uid in SERVICE_OF or sop_class_uid.startswith(_NOT_STORED):
        return False
    return uid_to_service_class(UID(sop_class_uid)) in _STORING


def accepted_contexts(
    proposed: Iterable[PresentationContext], services: frozenset[str]
) -> list[PresentationContext]:
    """Return what is supported of a proposal, with Transfer Syntaxes in our order.

    One entry for each SOP Class, as pynetdicom's negotiation wants it: of each proposal it takes
    the first of our Transfer Syntaxes that is proposed. They stand in the order in which the peer
    proposes them, the uncompressed ones in ours.
    """
    offered: dict[str, list[str]] = {}
    for context in proposed:
        sop_class = str(context.abstract_syntax)
        syntaxes = offered.setdefault(sop_class, [])
        syntaxes += [str(uid) for uid in context.transfer_syntax if str(uid) not in syntaxes]
    return [
        _supported(sop_class, syntaxes)
        for sop_class, syntaxes in offered.items()
        if _is_allowed(sop_class, services)
    ]


def _is_allowed(sop_class: str, services: frozenset[str]) -> bool:
    if sop_class in SERVICE_OF:
        return SERVICE_OF[sop_class] in {"", *services}
    if not is_storage(sop_class):
        return False
    return bool({"store", "retrieve"} & services)


def _supported(sop_class: str, syntaxes: Sequence[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(sop_class)
    if sop_class in SERVICE_OF:
        kept = [uid for uid in _PLAIN[:2] if uid in syntaxes]
    else:
        kept = _in_order([uid for uid in syntaxes if transfer_syntaxes.find(uid) is not None])
        context.scu_role = context.scp_role = True  # a C-GET has it sent the other way
    context.transfer_syntax = [UID(uid) for uid in kept or [_EXPLICIT]]
    return context


def _in_order(syntaxes: list[str]) -> list[str]:
    """Return the uncompressed syntaxes in our order, at the places where there are some."""
    plain = iter([uid for uid in _PLAIN if uid in syntaxes])
    return [next(plain) if uid in _PLAIN else uid for uid in syntaxes]


def answered_abilities(asked: Mapping[str, bytes]) -> dict[UID, bytes]:
    """Return the answer to SOP Class Extended Negotiation (PS3.4 §B.3.1, §C.5): what both can."""
    answers: dict[UID, bytes] = {}
    for sop_class, information in asked.items():
        ours = _ABILITIES.get(SERVICE_OF.get(sop_class, ""))
        if ours is not None:
            both = bytes(one & other for one, other in zip(information, ours, strict=False))
            answers[UID(sop_class)] = both or b"\0"
        elif is_storage(sop_class):
            answers[UID(sop_class)] = _STORAGE_LEVEL
    return answers


def is_fuzzy(asked: bytes) -> bool:
    """Say whether fuzzy matching of names was negotiated for a SOP Class of C-FIND."""
    return asked[2:3] == b"\1"
