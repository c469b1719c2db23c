"""*The table*: the attributes that searches match and return, level by level.

A row says where an attribute is matched (its column of the index) and when it is returned. What is
returned is kept as text, made once from the DICOM JSON members of the first Instance stored:

- `document`: what every answer holds. Members in tag order with `MEMBER_BREAK` between them, but
  `CUT` where attributes go that are computed when a search answers. No piece between cuts is
  empty, and each is valid JSON between braces as it stands: nothing is parsed at read.
- `extra`: what is returned only on request, members with `MEMBER_BREAK` between them, or ''.

A line break or `CUT` cannot occur inside a JSON string, so splitting at them is always right.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

import orjson
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from app.dicom.folding import (
    clean_date,
    clean_integer,
    clean_text,
    clean_time,
    fold_person_name,
)
from app.dicom.fuzzy_names import name_keys
from app.dicom.scanned import BULK_DATA_PLACEHOLDER

CUT = "\x1e"
MEMBER_BREAK = ",\n"
LONGEST_MEMBER = 16 * 2**10
"""A longer member is not kept for searches; the Metadata has it."""

Fragments = Mapping[int, bytes]


class Level(IntEnum):
    """The levels of the Study Root information model, from the top (PS3.4 §C.6.2.1)."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


class Returned(Enum):
    """When a search answer has the attribute."""

    ALWAYS = "in every answer, empty if the data has none"
    PRESENT = "in every answer if the data has it"
    ASKED = "when asked for by includefield"
    COMPUTED = "in every answer, made when it is given"
    COMPUTED_ASKED = "when asked for, made when it is given"
    NEVER = "matched only"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row: an attribute at the level it belongs to.

    `path` has more than one tag for an attribute within a Sequence. `column` is where the index
    keeps what is matched; `many` says that it holds several values, any of which may match.
    """

    level: Level
    path: tuple[int, ...]
    keyword: str
    vr: str
    returned: Returned
    column: str | None = None
    many: bool = False

    @property
    def tag(self) -> int:
        """The top-level tag."""
        return self.path[0]

    @property
    def computed(self) -> bool:
        """Whether the value is not in the data but made when a search answers."""
        return self.returned in (Returned.COMPUTED, Returned.COMPUTED_ASKED)


def _attribute(level: Level, returned: Returned, keyword: str, column: str = "") -> Attribute:
    path = tuple(int(Tag(part)) for part in keyword.split("."))
    vr = dictionary_VR(path[-1])
    name = column.removesuffix("[]")
    return Attribute(level, path, keyword, vr, returned, name or None, name != column)


_ALWAYS, _PRESENT, _NEVER = Returned.ALWAYS, Returned.PRESENT, Returned.NEVER
_COMPUTED, _COMPUTED_ASKED = Returned.COMPUTED, Returned.COMPUTED_ASKED
_REQUEST = "RequestAttributesSequence"

# keyword, and the column of the index that is matched; [] marks one of several values
_STUDY = (
    (_PRESENT, "SpecificCharacterSet"),
    (_ALWAYS, "StudyDate", "study_date"),
    (_ALWAYS, "StudyTime", "study_time"),
    (_ALWAYS, "AccessionNumber", "accession_number"),
    (_COMPUTED, "InstanceAvailability"),
    (_COMPUTED_ASKED, "Modality"),  # OHIF asks for it here, and gets all of them
    (_COMPUTED, "ModalitiesInStudy", "modalities[]"),
    (_COMPUTED, "SOPClassesInStudy", "sop_classes[]"),
    (_ALWAYS, "ReferringPhysicianName", "referring_physician_name"),
    (_PRESENT, "TimezoneOffsetFromUTC", "timezone_offset_from_utc"),
    (_PRESENT, "StudyDescription", "study_description"),
    (_COMPUTED, "RetrieveURL"),
    (_ALWAYS, "PatientName", "patient_name"),
    (_ALWAYS, "PatientID", "patient_id"),
    (_PRESENT, "IssuerOfPatientID", "issuer_of_patient_id"),
    (_ALWAYS, "PatientBirthDate", "patient_birth_date"),
    (_ALWAYS, "PatientSex", "patient_sex"),
    (_ALWAYS, "StudyInstanceUID", "study_instance_uid"),
    (_ALWAYS, "StudyID", "study_id"),
    (_COMPUTED_ASKED, "NumberOfPatientRelatedStudies"),
    (_COMPUTED_ASKED, "NumberOfPatientRelatedSeries"),
    (_COMPUTED_ASKED, "NumberOfPatientRelatedInstances"),
    (_COMPUTED, "NumberOfStudyRelatedSeries", "number_of_series"),
    (_COMPUTED, "NumberOfStudyRelatedInstances", "number_of_instances"),
)

_SERIES = (
    (_PRESENT, "SpecificCharacterSet"),
    (_ALWAYS, "SeriesDate", "series_date"),
    (_ALWAYS, "SeriesTime", "series_time"),
    (_COMPUTED, "InstanceAvailability"),
    (_ALWAYS, "Modality", "modality"),
    (_PRESENT, "Manufacturer", "manufacturer"),
    (_PRESENT, "InstitutionName", "institution_name"),
    (_PRESENT, "TimezoneOffsetFromUTC"),
    (_PRESENT, "StationName", "station_name"),
    (_PRESENT, "SeriesDescription", "series_description"),
    (_PRESENT, "ManufacturerModelName", "manufacturer_model_name"),
    (_COMPUTED, "RetrieveURL"),
    (_PRESENT, "BodyPartExamined", "body_part_examined"),
    (_ALWAYS, "StudyInstanceUID"),
    (_ALWAYS, "SeriesInstanceUID", "series_instance_uid"),
    (_ALWAYS, "SeriesNumber", "series_number"),
    (_COMPUTED, "NumberOfSeriesRelatedInstances", "number_of_instances"),
    (_ALWAYS, "PerformedProcedureStepStartDate", "performed_procedure_step_start_date"),
    (_ALWAYS, "PerformedProcedureStepStartTime", "performed_procedure_step_start_time"),
    (_PRESENT, _REQUEST),
    (_NEVER, f"{_REQUEST}.ScheduledProcedureStepID", "scheduled_procedure_step_ids[]"),
    (_NEVER, f"{_REQUEST}.RequestedProcedureID", "requested_procedure_ids[]"),
)

# The answer for an Instance is made from these columns; everything else from its Metadata.
_INSTANCE = (
    (_PRESENT, "SpecificCharacterSet"),
    (_COMPUTED, "SOPClassUID", "sop_class_uid"),
    (_COMPUTED, "SOPInstanceUID", "sop_instance_uid"),
    (_COMPUTED, "InstanceAvailability"),
    (_COMPUTED, "RetrieveURL"),
    (_COMPUTED, "AvailableTransferSyntaxUID", "transfer_syntax_uid"),
    (_COMPUTED, "InstanceNumber", "instance_number"),
    (_COMPUTED, "NumberOfFrames", "number_of_frames"),
    (_COMPUTED, "Rows", "rows"),
    (_COMPUTED, "Columns", "columns"),
    (_COMPUTED, "BitsAllocated", "bits_allocated"),
)

# Patient, General Study, Patient Study, Clinical Trial and order attributes (PS3.3 §C.7.1–C.7.2).
_STUDY_ASKED = """
AdditionalPatientHistory AdmissionID AdmittingDiagnosesCodeSequence AdmittingDiagnosesDescription
AdmittingDate AdmittingTime Allergies BranchOfService ClinicalTrialProtocolID
ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSponsorName
ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ClinicalTrialTimePointDescription
ClinicalTrialTimePointID ConsultingPhysicianName DeidentificationMethod
DeidentificationMethodCodeSequence EthnicGroup IssuerOfAccessionNumberSequence
IssuerOfPatientIDQualifiersSequence LastMenstrualDate MedicalAlerts MedicalRecordLocator
NameOfPhysiciansReadingStudy Occupation OtherPatientIDs OtherPatientIDsSequence OtherPatientNames
PatientAddress PatientAge PatientBirthName PatientBirthTime PatientBreedDescription
PatientComments PatientIdentityRemoved PatientMotherBirthName PatientReligiousPreference
PatientSexNeutered PatientSize PatientSpeciesDescription PatientState PatientTelephoneNumbers
PatientWeight PhysiciansOfRecord PregnancyStatus ProcedureCodeSequence QualityControlSubject
ReasonForStudy ReferencedPatientSequence ReferencedStudySequence
ReferringPhysicianIdentificationSequence RequestedContrastAgent RequestedProcedureCodeSequence
RequestedProcedureDescription RequestingPhysician RequestingService ResponsibleOrganization
ResponsiblePerson ServiceEpisodeID SmokingStatus SpecialNeeds StudyComments StudyStatusID
TypeOfPatientID
"""

# General Series, Equipment, Frame of Reference, Performed Procedure Step (PS3.3 §C.7.3–C.7.5).
_SERIES_ASKED = """
AnatomicalOrientationType ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesDescription
ClinicalTrialSeriesID CommentsOnThePerformedProcedureStep CountsSource DateOfLastCalibration
DeviceSerialNumber FrameOfReferenceUID GantryID InstitutionAddress InstitutionCodeSequence
InstitutionalDepartmentName LargestPixelValueInSeries Laterality OperatorIdentificationSequence
OperatorsName PatientPosition PerformedProcedureStepDescription PerformedProcedureStepEndDate
PerformedProcedureStepEndTime PerformedProcedureStepID PerformedProtocolCodeSequence
PerformingPhysicianIdentificationSequence PerformingPhysicianName PixelPaddingValue
PositionReferenceIndicator PresentationIntentType ProtocolName
ReferencedPerformedProcedureStepSequence RelatedSeriesSequence SeriesDescriptionCodeSequence
SeriesType SmallestPixelValueInSeries SoftwareVersions SpatialResolution
SynchronizationFrameOfReferenceUID TimeOfLastCalibration TreatmentSessionUID Units
"""


def _table() -> Iterable[Attribute]:
    for level, rows in zip(Level, (_STUDY, _SERIES, _INSTANCE), strict=True):
        yield from (_attribute(level, *row) for row in rows)
    for level, asked in ((Level.STUDY, _STUDY_ASKED), (Level.SERIES, _SERIES_ASKED)):
        yield from (_attribute(level, Returned.ASKED, keyword) for keyword in asked.split())


TABLE: tuple[Attribute, ...] = tuple(sorted(_table(), key=lambda row: (row.level, row.path)))
"""All rows. Source: PS3.18 Tables 10.6.1-5, 10.6.3-3, 10.6.3-4, 10.6.3-5; PS3.4 Tables C.6-5ff."""


PATIENT_COUNTS = frozenset(
    row.tag for row in TABLE if row.keyword.startswith("NumberOfPatientRelated")
)
"""What is counted over all Studies of a Patient, when asked for."""


def member_key(tag: int) -> str:
    """Return how a member of DICOM JSON begins: `"00100010":`. Members sort as their tags do.

    Source: PS3.18 §F.2.2
    """
    return f'"{tag:08X}":'


def _kept(level: Level, *returned: Returned) -> tuple[Attribute, ...]:
    return tuple(row for row in TABLE if row.level == level and row.returned in returned)


def _pieces(level: Level) -> tuple[tuple[Attribute, ...], ...]:
    """Return the rows of a document, cut where computed ones go."""
    cuts = [row.tag for row in _kept(level, Returned.COMPUTED)]
    rows = _kept(level, Returned.ALWAYS, Returned.PRESENT)
    bounds = pairwise([0, *cuts, 1 << 32])
    pieces = (tuple(row for row in rows if low < row.tag < high) for low, high in bounds)
    return tuple(piece for piece in pieces if piece)


_DOCUMENTS = {level: _pieces(level) for level in (Level.STUDY, Level.SERIES)}
_DOCUMENT_TAGS = {
    level: tuple(row.tag for piece in pieces for row in piece)
    for level, pieces in _DOCUMENTS.items()
}
_EXTRAS = {level: _kept(level, Returned.ASKED) for level in (Level.STUDY, Level.SERIES)}
_UTF_8 = '"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'


def _member(fragments: Fragments, row: Attribute) -> str | None:
    fragment = fragments.get(row.tag)
    if fragment is None or len(fragment) > LONGEST_MEMBER or BULK_DATA_PLACEHOLDER in fragment:
        empty = f'{member_key(row.tag)}{{"vr":"{row.vr}"}}'
        return empty if row.returned is Returned.ALWAYS else None
    if row.keyword == "SpecificCharacterSet" and b'"Value"' in fragment:
        return _UTF_8  # whatever the source said, JSON is UTF-8: PS3.18 §F.2
    return fragment.decode()


def _members(fragments: Fragments, rows: Iterable[Attribute]) -> str:
    members = (_member(fragments, row) for row in rows)
    return MEMBER_BREAK.join(member for member in members if member is not None)


def _short_members(fragments: Fragments, tags: Iterable[int]) -> tuple[bytes | None, ...]:
    found = (fragments.get(tag, b"") for tag in tags)
    return tuple(one if 0 < len(one) <= LONGEST_MEMBER else None for one in found)


@lru_cache(maxsize=64)
def _document(level: Level, members: tuple[bytes | None, ...]) -> str:
    """Series repeat themselves: nearly every Instance has the members of the one before."""
    fragments = {t: m for t, m in zip(_DOCUMENT_TAGS[level], members, strict=True) if m}
    return CUT.join(_members(fragments, piece) for piece in _DOCUMENTS[level])


def study_document(fragments: Fragments) -> str:
    """Return what every answer about the Study of an Instance holds, computed ones apart.

    Source: PS3.18 Table 10.6.3-3
    """
    return _document(Level.STUDY, _short_members(fragments, _DOCUMENT_TAGS[Level.STUDY]))


def series_document(fragments: Fragments) -> str:
    """Return what every answer about the Series of an Instance holds, computed ones apart.

    Source: PS3.18 Table 10.6.3-4
    """
    return _document(Level.SERIES, _short_members(fragments, _DOCUMENT_TAGS[Level.SERIES]))


def split_members(text: str) -> list[str]:
    """Return the members of a `document` or an `extra`, in tag order.

    Source: PS3.18 §F.2.2
    """
    return text.replace(CUT, MEMBER_BREAK).split(MEMBER_BREAK) if text else []


def _values(fragments: Fragments, tag: int) -> list[Any]:
    fragment = fragments.get(tag)
    if fragment is None or len(fragment) > LONGEST_MEMBER:
        return []
    values = orjson.loads(fragment[11:]).get("Value", [])
    return [value for value in values if value is not None]


def _join(values: list[Any]) -> str:
    return clean_text("\\".join(str(value) for value in values))


def _person(values: list[Any]) -> str:
    first = values[0] if values else {}
    return fold_person_name(first if isinstance(first, dict) else {"Alphabetic": str(first)})


def _first(clean: Callable[[str], str]) -> Callable[[list[Any]], str]:
    return lambda values: clean(str(values[0])) if values else ""


def _integer(bits: int) -> Callable[[list[Any]], int | None]:
    return lambda values: clean_integer(values[0], bits) if values else None


_CLEAN: Mapping[str, Callable[[list[Any]], object]] = {
    "PN": _person,
    "DA": _first(clean_date),
    "TM": _first(clean_time),
    "IS": _integer(64),
    "US": _integer(32),
}
_CLEAN_COLUMN = {"number_of_frames": _integer(32)}

# Columns that the data of one Instance does not fill: the keys, and what is counted.
_NOT_FROM_DATA = """
study_instance_uid series_instance_uid sop_instance_uid transfer_syntax_uid modalities sop_classes
number_of_series number_of_instances
"""


def _nested(fragments: Fragments, row: Attribute) -> list[str]:
    inner = f"{row.path[1]:08X}"
    found: set[str] = set()
    for item in _values(fragments, row.tag):
        values = item.get(inner, {}).get("Value", []) if isinstance(item, dict) else []
        found.update(clean_text(str(value)) for value in values if value is not None)
    return sorted(found)


def _reader(row: Attribute) -> Callable[[Fragments], object]:
    if row.many:
        return lambda fragments: _nested(fragments, row)
    clean = _CLEAN_COLUMN.get(row.column or "") or _CLEAN.get(row.vr, _join)
    return lambda fragments: clean(_values(fragments, row.tag))


_NAMES = tuple(row.column for row in TABLE if row.vr == "PN" and row.column)  # all of Studies
_READERS = {
    level: {
        row.column: _reader(row)
        for row in TABLE
        if row.level == level and row.column and row.column not in _NOT_FROM_DATA.split()
    }
    for level in Level
}


def _read(level: Level, fragments: Fragments) -> dict[str, object]:
    return {column: read(fragments) for column, read in _READERS[level].items()}


def study_values(fragments: Fragments) -> dict[str, object]:
    """Return the columns of `study` that the data of an Instance fills, with `document`, `extra`.

    Source: PS3.18 Table 10.6.1-5
    """
    document, extra = study_document(fragments), _members(fragments, _EXTRAS[Level.STUDY])
    values = _read(Level.STUDY, fragments)
    keys = {f"{name}_keys": list(name_keys(str(values[name]))) for name in _NAMES}
    return {**values, **keys, "document": document, "extra": extra}


def series_values(fragments: Fragments) -> dict[str, object]:
    """Return the columns of `series` that the data of an Instance fills, with `document`, `extra`.

    Source: PS3.18 Table 10.6.1-5
    """
    document, extra = series_document(fragments), _members(fragments, _EXTRAS[Level.SERIES])
    return {**_read(Level.SERIES, fragments), "document": document, "extra": extra}


def instance_values(fragments: Fragments) -> dict[str, object]:
    """Return the columns of `instance` that are searched and returned and that its data fills.

    Source: PS3.18 Tables 10.6.1-5, 10.6.3-5
    """
    return _read(Level.INSTANCE, fragments)
