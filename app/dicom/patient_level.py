"""What a search for Patients returns: the attributes of the Patient level (PS3.4 §C.6.1.1.2)."""

from collections.abc import Iterable, Iterator

from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.attributes import MEMBER_BREAK, PATIENT_COUNTS, member_key, split_members

_ALWAYS = "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex"
_PRESENT = "SpecificCharacterSet"
_ASKED = """
BranchOfService EthnicGroup IssuerOfPatientIDQualifiersSequence MedicalRecordLocator OtherPatientIDs
OtherPatientIDsSequence OtherPatientNames PatientAddress PatientBirthName PatientBirthTime
PatientBreedDescription PatientComments PatientIdentityRemoved PatientMotherBirthName
PatientReligiousPreference PatientSexNeutered PatientSpeciesDescription PatientTelephoneNumbers
QualityControlSubject ReferencedPatientSequence ResponsibleOrganization ResponsiblePerson
TypeOfPatientID
"""
_KEY = len(member_key(0))


def _tags(keywords: str) -> frozenset[int]:
    return frozenset(int(tag) for word in keywords.split() if (tag := tag_for_keyword(word)))


def _empty_member(tag: int) -> str:
    return f'{member_key(tag)}{{"vr":"{dictionary_VR(tag)}"}}'


_EMPTY = {member_key(tag): _empty_member(tag) for tag in _tags(_ALWAYS)}
_GIVEN = _EMPTY.keys() | {member_key(tag) for tag in _tags(_PRESENT)}
PATIENT_ATTRIBUTES = _tags(f"{_ALWAYS} {_PRESENT} {_ASKED}") | PATIENT_COUNTS
"""All that can be returned."""
_COUNTED = (0x00201200, 0x00201202, 0x00201204)


def patient_answer(
    document: str, extra: str, counts: Iterable[int], asked: frozenset[int], *, every: bool
) -> str:
    """Return a Patient as a DICOM JSON object, by what the index keeps of one of its Studies.

    `counts` are its Studies, Series and Instances; `asked` and `every` are about `extra`.

    Source: PS3.4 Tables C.6-1, C.3-1
    """
    members = dict(_EMPTY)
    for member in split_members(document):
        if member[:_KEY] in _GIVEN:
            members[member[:_KEY]] = member
    wanted = {member_key(tag) for tag in PATIENT_ATTRIBUTES if every or tag in asked}
    for member in split_members(extra):
        if member[:_KEY] in wanted:
            members[member[:_KEY]] = member
    members.update(_empty(asked, members))
    for tag, count in zip(_COUNTED, counts, strict=True):
        members[member_key(tag)] = f'{member_key(tag)}{{"vr":"IS","Value":[{count}]}}'
    return f"{{{MEMBER_BREAK.join(members[key] for key in sorted(members))}}}"


def _empty(asked: frozenset[int], members: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield what was asked for by name and has no value, so that the caller sees that."""
    for tag in (asked & PATIENT_ATTRIBUTES) - PATIENT_COUNTS:
        key = member_key(tag)
        if key not in members and key not in _GIVEN:
            yield key, _empty_member(tag)
