"""Modality Scheduled Procedure Steps: the items of a worklist (PS3.4 Annex K).

A Data Set of the worklist is about one step of a requested procedure: its Scheduled Procedure Step
Sequence has one Item. An order that schedules several at once is cut into as many. A step is named
by its Study Instance UID and Scheduled Procedure Step ID.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson
from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.compared_values import folded_of
from app.dicom.folding import clean_date, clean_text, clean_time
from app.dicom.limits import Limits
from app.dicom.plain_dataset import Dataset, first_value, items_of, plain_dataset
from app.dicom.uids import check_uid
from app.errors import InvalidAttribute, MissingAttribute

STEPS = 0x00400100
"""Scheduled Procedure Step Sequence."""
STATUS = 0x00400020
SCHEDULED = "SCHEDULED"
STARTED = "STARTED"
OVER = ("COMPLETED", "DISCONTINUED", "CANCELED", "CANCELLED", "DEPARTED")
"""Values of Scheduled Procedure Step Status with which a step is on no worklist any more."""
MOST_ITEMS = 100
"""Steps of one order."""

KEYS: Mapping[tuple[int, ...], str] = MappingProxyType(
    {
        (STEPS, 0x00400002): "start_date",
        (STEPS, 0x00400003): "start_time",
        (STEPS, 0x00400001): "station_ae_titles",
        (STEPS, 0x00080060): "modality",
        (STEPS, STATUS): "status",
        (STEPS, 0x00400006): "performing_physician_name",
        (STEPS, 0x00400009): "step_id",
        (0x0020000D,): "study_instance_uid",
        (0x00100010,): "patient_name",
        (0x00100020,): "patient_id",
        (0x00080050,): "accession_number",
        (0x00401001,): "requested_procedure_id",
    }
)
"""The attributes that the index has a column for, by their path."""

_REQUIRED = "PatientName PatientID StudyInstanceUID RequestedProcedureID"
_REQUIRED_OF_STEP = """
ScheduledStationAETitle ScheduledProcedureStepStartDate ScheduledProcedureStepStartTime Modality
ScheduledProcedureStepID
"""
_RETURNED = """
AccessionNumber ReferringPhysicianName ReferencedStudySequence ReferencedPatientSequence
PatientBirthDate PatientSex PatientWeight MedicalAlerts Allergies PregnancyStatus SpecialNeeds
PatientState RequestingPhysician AdmissionID ConfidentialityConstraintOnPatientDataDescription
CurrentPatientLocation PatientTransportArrangements RequestedProcedurePriority
"""
_RETURNED_OF_STEP = """
ScheduledPerformingPhysicianName ScheduledStationName ScheduledProcedureStepLocation
"""
_IF_PRESENT = """
SpecificCharacterSet IssuerOfPatientID RequestedProcedureDescription RequestedProcedureCodeSequence
ScheduledProcedureStepSequence
"""


def _tags(keywords: str) -> tuple[int, ...]:
    tags = [tag_for_keyword(word) for word in keywords.split()]
    assert None not in tags, keywords  # noqa: S101 - our own words
    return tuple(tag for tag in tags if tag is not None)


_EMPTY = {f"{tag:08X}": {"vr": dictionary_VR(tag)} for tag in _tags(_REQUIRED + _RETURNED)}
_EMPTY_OF_STEP = {
    f"{tag:08X}": {"vr": dictionary_VR(tag)} for tag in _tags(_REQUIRED_OF_STEP + _RETURNED_OF_STEP)
}
_GIVEN = frozenset(f"{tag:08X}" for tag in _tags(_IF_PRESENT))


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """One step: its name, the columns of the index, and its Data Set as DICOM JSON.

    `status` is '' where the Data Set does not say one.
    """

    study_instance_uid: str
    step_id: str
    status: str
    columns: Mapping[str, Any]
    document: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the Data Set."""
        return hashlib.sha256(self.document.encode()).hexdigest()


def read_scheduled_steps(dataset: Any, limits: Limits) -> list[ScheduledStep]:
    """Return the steps that a DICOM JSON object schedules, in its order.

    Raises:
        MissingAttribute: an attribute that an answer has to have (type 1) is not there.
        InvalidAttribute: it is no Data Set, a value is not what its VR allows, or a step is named
            twice.

    Source: PS3.4 Table K.6-1
    """
    order = plain_dataset(dataset, limits)
    items = items_of(order, STEPS)
    if not items:
        raise MissingAttribute("One item or more were expected in ScheduledProcedureStepSequence")
    if len(items) > MOST_ITEMS:
        raise InvalidAttribute(f"Up to {MOST_ITEMS} steps of one order were expected")
    for keyword in _REQUIRED.split():
        _check_value(order, keyword)
    steps = [_step(order, item) for item in items]
    if len({one.step_id for one in steps}) < len(steps):
        raise InvalidAttribute("A ScheduledProcedureStepID stands twice in one order")
    return steps


def _check_value(dataset: Dataset, keyword: str) -> None:
    (tag,) = _tags(keyword)
    if not first_value(dataset, tag).strip():
        raise MissingAttribute(f"{keyword} has to have a value")


def _step(order: Dataset, item: Dataset) -> ScheduledStep:
    for keyword in _REQUIRED_OF_STEP.split():
        _check_value(item, keyword)
    day = clean_date(first_value(item, 0x00400002))
    moment = clean_time(first_value(item, 0x00400003))
    if not (day and moment):
        raise InvalidAttribute("A date and a time were expected as the start of a step")
    study = check_uid(first_value(order, 0x0020000D))
    step_id = clean_text(first_value(item, 0x00400009))
    status = clean_text(first_value(item, STATUS))
    own = {**order, f"{STEPS:08X}": {"vr": "SQ", "Value": [item]}}
    titles = item.get("00400001", {}).get("Value", ())
    columns = {
        "start_date": day,
        "start_time": moment,
        "station_ae_titles": [clean_text(str(one)) for one in titles if one],
        "modality": clean_text(first_value(item, 0x00080060)),
        "performing_physician_name": _folded(item, 0x00400006),
        "patient_name": _folded(order, 0x00100010),
        "patient_id": clean_text(first_value(order, 0x00100020)),
        "accession_number": clean_text(first_value(order, 0x00080050)),
        "requested_procedure_id": clean_text(first_value(order, 0x00401001)),
    }
    document = orjson.dumps(dict(sorted(own.items()))).decode()
    return ScheduledStep(study, step_id, status, columns, document)


def _folded(dataset: Dataset, tag: int) -> str:
    values = dataset.get(f"{tag:08X}", {}).get("Value") or [None]
    return "" if values[0] is None else folded_of(values[0])


def step_dataset(document: str, status: str) -> Dataset:
    """Return the Data Set of a step as it is now.

    Source: PS3.4 Table K.6-1
    """
    dataset: Dataset = orjson.loads(document)
    for item in items_of(dataset, STEPS):
        item[f"{STATUS:08X}"] = {"vr": "CS", "Value": [status]}
    return dataset


def step_answer(dataset: Dataset, asked: frozenset[int], *, every: bool) -> str:
    """Return what a search answers of a Data Set of `step_dataset`, as DICOM JSON.

    That is what the information model requires, empty where there is none, and what was `asked`
    for or, with `every`, all that there is.

    Source: PS3.4 Table K.6-1; PS3.18 §14.4.3
    """
    wanted = {*_EMPTY, *_GIVEN, *(f"{tag:08X}" for tag in asked)}
    found = {key: value for key, value in dataset.items() if every or key in wanted}
    items = [dict(sorted({**_EMPTY_OF_STEP, **item}.items())) for item in items_of(dataset, STEPS)]
    found[f"{STEPS:08X}"] = {"vr": "SQ", "Value": items}
    return orjson.dumps(dict(sorted({**_EMPTY, **found}.items()))).decode()
