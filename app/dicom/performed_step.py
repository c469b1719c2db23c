"""Modality Performed Procedure Steps: what may be created and changed, and when (PS3.4 §F.7).

A step is created IN PROGRESS, changed as often as the modality likes, and comes to its end as
COMPLETED or DISCONTINUED; from then on it stays as it is. What a change names takes the place of
what was there, Sequences as a whole.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from app.dicom.folding import clean_text
from app.dicom.limits import Limits
from app.dicom.plain_dataset import Dataset, first_value, items_of, plain_dataset
from app.dicom.scheduled_step import SCHEDULED, STARTED
from app.dicom.uids import check_uid
from app.errors import Final, InvalidAttribute, MissingAttribute

SOP_CLASS = "1.2.840.10008.3.1.2.3.3"
IN_PROGRESS = "IN PROGRESS"
ENDS = ("COMPLETED", "DISCONTINUED")
"""States in which a step does not change any more."""

_STATUS, _STEPS, _SERIES, _REASONS = 0x00400252, 0x00400270, 0x00400340, 0x00400281
_WRONG_ENTRY = "110514"
"""Incorrect worklist entry selected (DCM), of PS3.16 CID 9300."""
_SOP_CLASS_KEY, _SOP_INSTANCE_KEY, _CHARACTER_SET = "00080016", "00080018", "00080005"
_REQUIRED = """
PerformedProcedureStepID PerformedStationAETitle PerformedProcedureStepStartDate
PerformedProcedureStepStartTime Modality
"""
_REQUIRED_AT_END = "PerformedProcedureStepEndDate PerformedProcedureStepEndTime"
_REQUIRED_OF_SERIES = "ProtocolName SeriesInstanceUID"
_FIXED = """
ScheduledStepAttributesSequence PatientName PatientID IssuerOfPatientID
IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence PatientBirthDate PatientSex
ReferencedPatientSequence AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID
IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription PerformedProcedureStepID
PerformedStationAETitle PerformedStationName PerformedLocation PerformedProcedureStepStartDate
PerformedProcedureStepStartTime Modality StudyID
"""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A scheduled step that is performed; `step_id` is '' for one that was not scheduled."""

    study_instance_uid: str
    step_id: str


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A step as it is kept: its state, the scheduled steps it is of, its Data Set as JSON."""

    status: str
    scheduled: tuple[Scheduled, ...]
    document: str
    wrong_entry: bool = False
    """It was discontinued since another entry of the worklist was meant."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the Data Set."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @property
    def scheduled_status(self) -> str:
        """The Scheduled Procedure Step Status of the steps that it is of.

        Those of a step that was begun for the wrong entry of the worklist are to be done yet.
        """
        if self.status == IN_PROGRESS:
            return STARTED
        return SCHEDULED if self.wrong_entry else self.status

    @property
    def studies(self) -> list[str]:
        """The Studies that it is about."""
        return sorted({one.study_instance_uid for one in self.scheduled})


def create_step(dataset: Any, limits: Limits) -> PerformedStep:
    """Return the step that a DICOM JSON object creates.

    Raises:
        MissingAttribute: what has to be there (type 1) is not.
        InvalidAttribute: it is no Data Set, or is not in progress.

    Source: PS3.4 §F.7.2.1, Table F.7.2-1
    """
    made = _own(plain_dataset(dataset, limits))
    _check_values(made, ["PerformedProcedureStepStatus"])
    if _status_of(made) != IN_PROGRESS:
        raise InvalidAttribute(f"PerformedProcedureStepStatus has to be {IN_PROGRESS} at first")
    _check_values(made, _REQUIRED.split())
    return _step(made)


def change_step(before: str, dataset: Any, limits: Limits) -> PerformedStep:
    """Return a step, given as it is kept, with what a DICOM JSON object says put into it.

    Raises:
        Final: it has come to its end.
        MissingAttribute: it comes to its end, and lacks what it has to have then.
        InvalidAttribute: it is no Data Set, or says otherwise what does not change, or the state
            is none.

    Source: PS3.4 §F.7.2.2, Table F.7.2-1
    """
    kept: Dataset = orjson.loads(before)
    if _status_of(kept) in ENDS:
        raise Final(
            f"The Performed Procedure Step is {_status_of(kept)}: it may no longer be updated"
        )
    made = {**kept, **_changes(kept, dataset, limits)}
    if _status_of(made) not in (IN_PROGRESS, *ENDS):
        states = ", ".join((IN_PROGRESS, *ENDS))
        raise InvalidAttribute(f"PerformedProcedureStepStatus has to be one of {states}")
    if _status_of(made) in ENDS:
        _check_end(made)
    return _step(made)


def _changes(kept: Dataset, dataset: Any, limits: Limits) -> Dataset:
    """Return what a change says; what does not change may be said again, or left empty."""
    changes = _own(plain_dataset(dataset, limits))
    for keyword in _FIXED.split():
        said = changes.pop(f"{tag_for_keyword(keyword):08X}", {})
        if "Value" in said and said != kept.get(f"{tag_for_keyword(keyword):08X}"):
            raise InvalidAttribute(f"{keyword} does not change after the step was created")
    return changes


def step_with_uid(document: str, uid: str) -> str:
    """Return the Data Set of a step with what names it, as DICOM JSON.

    Source: PS3.4 Table F.8.2-1
    """
    named = {
        _SOP_CLASS_KEY: {"vr": "UI", "Value": [SOP_CLASS]},
        _SOP_INSTANCE_KEY: {"vr": "UI", "Value": [uid]},
    }
    return orjson.dumps(dict(sorted({**orjson.loads(document), **named}.items()))).decode()


def _own(dataset: Dataset) -> Dataset:
    """Leave out what names the Instance: the path, or the message, does."""
    return {
        key: element
        for key, element in dataset.items()
        if key not in {_SOP_CLASS_KEY, _SOP_INSTANCE_KEY}
    }


def _status_of(dataset: Dataset) -> str:
    return first_value(dataset, _STATUS).strip()


def _check_values(dataset: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword  # noqa: S101 - our own words
        if not first_value(dataset, tag).strip():
            raise MissingAttribute(f"{keyword} has to have a value")


def _check_end(dataset: Dataset) -> None:
    _check_values(dataset, _REQUIRED_AT_END.split())
    series = items_of(dataset, _SERIES)
    if not series:
        raise MissingAttribute(
            f"At its end a step has to have a Series in {keyword_for_tag(_SERIES)}, if need be "
            "one without Instances"
        )
    for item in series:
        _check_values(item, _REQUIRED_OF_SERIES.split())


def _step(made: Dataset) -> PerformedStep:
    items = items_of(made, _STEPS)
    if not items:
        raise MissingAttribute(f"One item or more were expected in {keyword_for_tag(_STEPS)}")
    for item in items:
        _check_values(item, ["StudyInstanceUID"])
    scheduled = tuple(
        Scheduled(
            check_uid(first_value(item, 0x0020000D)), clean_text(first_value(item, 0x00400009))
        )
        for item in items
    )
    made.setdefault(_CHARACTER_SET, {"vr": "CS", "Value": ["ISO_IR 192"]})
    document = orjson.dumps(dict(sorted(made.items()))).decode()
    status, reasons = _status_of(made), items_of(made, _REASONS)
    wrong = any(first_value(reason, 0x00080100).strip() == _WRONG_ENTRY for reason in reasons)
    return PerformedStep(status, scheduled, document, status == "DISCONTINUED" and wrong)
