"""Which kind of Directory Record an Instance has, and with which keys (PS3.3 Annex F).

A key of a kind: its tag, its VR, and whether it has to stand there even if the Instance has no
value for it (types 1 and 2).
"""

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.document import Document

_CLASS = "1.2.840.10008.5.1.4.1.1."
_BY_CLASS = {
    "RT DOSE": "481.2",
    "RT STRUCTURE SET": "481.3",
    "RT PLAN": "481.5 481.8",
    "RT TREAT RECORD": "481.4 481.6 481.7 481.9",
    "PRESENTATION": "11.1 11.2 11.3 11.4 11.5 11.6 11.7 11.8 11.9 11.10 11.11 11.12 131",
    "WAVEFORM": "9.1.1 9.1.2 9.1.3 9.1.4 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 9.6.2 9.7.1 9.7.2 "
    "9.7.3 9.7.4 9.8.1 9.100.1 9.100.2",
    "SR DOCUMENT": "88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.65 88.67 88.68 88.69 88.70 88.71 "
    "88.72 88.73 88.74 88.75 88.76 78.6 79.1",
    "KEY OBJECT DOC": "88.59",
    "SPECTROSCOPY": "4.2",
    "RAW DATA": "66",
    "REGISTRATION": "66.1 66.3",
    "FIDUCIAL": "66.2",
    "SURFACE": "66.5",
    "TRACT": "66.6",
    "VALUE MAP": "67",
    "SURFACE SCAN": "68.1 68.2",
    "STEREOMETRIC": "77.1.5.3",
    "MEASUREMENT": "78.1 78.2 78.3 78.4 78.5 78.7 78.8 80.1",
    "ASSESSMENT": "90.1",
    "RADIOTHERAPY": "481.10 481.11 481.12 481.13 481.14 481.15 481.16 481.17 481.18 481.19 481.20",
    "PLAN": "200.1 200.2 200.7 481.21",
    "ANNOTATION": "91.1",
    "ENCAP DOC": "104.1 104.2 104.3 104.4 104.5",
}
_KINDS = {_CLASS + arc: kind for kind, arcs in _BY_CLASS.items() for arc in arcs.split()}
IMAGE = "IMAGE"
"""The kind of all that is of no other one."""

_CONTENT = "InstanceNumber ContentDate ContentTime"
_LABELLED = f"{_CONTENT} ContentLabel ContentDescription ContentCreatorName"
_DOCUMENT = f"{_CONTENT} ConceptNameCodeSequence"
_KEYS = {
    "PATIENT": "PatientName PatientID",
    "STUDY": "StudyDate StudyTime AccessionNumber StudyDescription StudyInstanceUID StudyID",
    "SERIES": "Modality SeriesInstanceUID SeriesNumber",
    IMAGE: "InstanceNumber",
    "RT DOSE": "InstanceNumber DoseSummationType",
    "RT STRUCTURE SET": "InstanceNumber StructureSetLabel StructureSetDate StructureSetTime",
    "RT PLAN": "InstanceNumber RTPlanLabel RTPlanDate RTPlanTime",
    "RT TREAT RECORD": "InstanceNumber TreatmentDate TreatmentTime",
    "PRESENTATION": "PresentationCreationDate PresentationCreationTime InstanceNumber ContentLabel "
    "ContentDescription ContentCreatorName",
    "WAVEFORM": _CONTENT,
    "SR DOCUMENT": f"{_DOCUMENT} CompletionFlag VerificationFlag",
    "KEY OBJECT DOC": _DOCUMENT,
    "SPECTROSCOPY": f"{_CONTENT} ImageType NumberOfFrames Rows Columns DataPointRows "
    "DataPointColumns",
    "RAW DATA": _CONTENT,
    "SURFACE SCAN": "ContentDate ContentTime",
    "ENCAP DOC": f"{_DOCUMENT} DocumentTitle MIMETypeOfEncapsulatedDocument",
    "ASSESSMENT": "InstanceNumber InstanceCreationDate InstanceCreationTime",
    "RADIOTHERAPY": "InstanceNumber ContentDescription ContentCreatorName",
    "STEREOMETRIC": "",
    "PLAN": "",
    "ANNOTATION": _LABELLED,
    **dict.fromkeys(
        ("REGISTRATION", "FIDUCIAL", "SURFACE", "TRACT", "VALUE MAP", "MEASUREMENT"), _LABELLED
    ),
}
_IF_THERE = {
    IMAGE: "ImageType NumberOfFrames Rows Columns",
    "PRESENTATION": "ReferencedSeriesSequence BlendingSequence",
    "SR DOCUMENT": "VerificationDateTime ContentSequence",
    "KEY OBJECT DOC": "ContentSequence",
    "SPECTROSCOPY": "ReferencedImageEvidenceSequence",
    "ENCAP DOC": "HL7InstanceIdentifier",
    "RADIOTHERAPY": "UserContentLabel UserContentLongLabel",
}
_MODIFIER = "HAS CONCEPT MOD"
_CONTENT_SEQUENCE = "0040A730"


def record_kind(document: Document) -> str:
    """Return the Directory Record Type of an Instance.

    Source: PS3.3 §F.3.2.2, Table F.4-1; PS3.4 Annex I
    """
    return _KINDS.get(document.text("00080016"), IMAGE)


def record_keys(kind: str, document: Document) -> dict[str, Any]:
    """Return the keys of a Directory Record as DICOM JSON, with empty ones where values lack.

    Source: PS3.3 §F.5
    """
    keys = {name: _member(document, name, vr) for name, vr in _tags(_KEYS[kind])}
    for name, vr in _tags(_IF_THERE.get(kind, "")):
        member = _member(document, name, vr)
        if "Value" in member:
            keys[name] = member
    return keys


def _tags(keywords: str) -> list[tuple[str, str]]:
    tags = (tag_for_keyword(keyword) or 0 for keyword in keywords.split())
    return [(f"{tag:08X}", dictionary_VR(tag)) for tag in tags]


def _member(document: Document, name: str, vr: str) -> Mapping[str, Any]:
    values = document.values(name)
    if name == _CONTENT_SEQUENCE:  # what is said of the title alone
        values = [
            item.members for item in document.items(name) if item.text("0040A010") == _MODIFIER
        ]
    return {"vr": vr, "Value": values} if values else {"vr": vr}
