"""Data Sets of procedure steps, scheduled and performed, as DICOM JSON."""

from typing import Any

from pydicom import Dataset

from tests.factories import new_uid

Json = dict[str, Any]


def make_step(**keywords: Any) -> Dataset:
    """Return an Item of a Scheduled Procedure Step Sequence; None takes an attribute away."""
    return _dataset(
        {
            "Modality": "CT",
            "ScheduledStationAETitle": "CT01",
            "ScheduledProcedureStepStartDate": "20260131",
            "ScheduledProcedureStepStartTime": "101500",
            "ScheduledPerformingPhysicianName": "Röntgen^Wilhelm",
            "ScheduledProcedureStepDescription": "Thorax nativ",
            "ScheduledProcedureStepID": "S1",
            **keywords,
        }
    )


def make_order(*steps: Dataset, **keywords: Any) -> Json:
    """Return a Data Set of the worklist as DICOM JSON."""
    made = _dataset(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "AccessionNumber": "A0001",
            "PatientName": "Müller^Änne=山田^花子",
            "PatientID": "FR-0001",
            "PatientBirthDate": "19700131",
            "PatientSex": "F",
            "StudyInstanceUID": new_uid(),
            "RequestedProcedureDescription": "CT Thorax",
            "RequestedProcedureID": "R1",
            "ScheduledProcedureStepSequence": list(steps) or [make_step()],
            **keywords,
        }
    )
    found: Json = made.to_json_dict()
    return found


def make_performed(study: str = "", step_id: str = "S1", **keywords: Any) -> Json:
    """Return what creates a performed step (N-CREATE) as DICOM JSON."""
    scheduled = _dataset(
        {
            "StudyInstanceUID": study or new_uid(),
            "AccessionNumber": "A0001",
            "RequestedProcedureID": "R1",
            "ScheduledProcedureStepID": step_id,
        }
    )
    made = _dataset(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "Modality": "CT",
            "PatientName": "Müller^Änne",
            "PatientID": "FR-0001",
            "PerformedProcedureStepStatus": "IN PROGRESS",
            "PerformedProcedureStepID": "P1",
            "PerformedStationAETitle": "CT01",
            "PerformedProcedureStepStartDate": "20260131",
            "PerformedProcedureStepStartTime": "102030",
            "ScheduledStepAttributesSequence": [scheduled],
            "PerformedSeriesSequence": [],
            **keywords,
        }
    )
    found: Json = made.to_json_dict()
    return found


def make_end(status: str = "COMPLETED", **keywords: Any) -> Json:
    """Return what brings a performed step to its end (N-SET) as DICOM JSON."""
    series = _dataset({"ProtocolName": "Thorax", "SeriesInstanceUID": new_uid()})
    made = _dataset(
        {
            "PerformedProcedureStepStatus": status,
            "PerformedProcedureStepEndDate": "20260131",
            "PerformedProcedureStepEndTime": "103000",
            "PerformedSeriesSequence": [series],
            **keywords,
        }
    )
    found: Json = made.to_json_dict()
    return found


def make_reason(code: str) -> Dataset:
    """Return a code of why a step was discontinued."""
    return _dataset({"CodeValue": code, "CodingSchemeDesignator": "DCM", "CodeMeaning": "why"})


def _dataset(keywords: dict[str, Any]) -> Dataset:
    made = Dataset()
    for keyword, value in keywords.items():
        if value is not None:
            setattr(made, keyword, value)
    return made
