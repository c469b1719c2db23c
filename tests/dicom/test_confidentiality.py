"""The profile as a table: PS3.15 Table E.1-1 as code reads it."""

from typing import Any

import pytest
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.uid import CTImageStorage, EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from app.dicom.confidentiality import (
    Action,
    action_of,
    pseudonym,
    replace_uid,
    why_not,
    without_identity,
)
from app.dicom.confidentiality_profile import TABLE
from app.dicom.document import Document

SECRET = b"s" * 32
ACTIONS = [
    ("PatientName", Action.EMPTY),  # Z
    ("PatientID", Action.DUMMY),  # Z/D
    ("PatientComments", Action.REMOVE),  # X
    ("AcquisitionDate", Action.EMPTY),  # X/Z
    ("SeriesDate", Action.DUMMY),  # X/D
    ("StationName", Action.DUMMY),  # X/Z/D
    ("SourceImageSequence", Action.KEEP),  # X/Z/U*
    ("StudyInstanceUID", Action.UID),
    ("ReferencedSOPInstanceUID", Action.UID),
    ("ReferencedFiducialUID", Action.UID),  # in no table
    ("SOPClassUID", Action.KEEP),
    ("CodingSchemeUID", Action.KEEP),
    ("Rows", Action.KEEP),
    ("EvaluatorName", Action.REMOVE),  # a name that the table does not know
    ("RetrieveURL", Action.REMOVE),
    ("CompressionLabel", Action.REMOVE),  # retired text
    ("UnformattedTextValue", Action.DUMMY),
]


@pytest.mark.parametrize(("keyword", "action"), ACTIONS)
def test_the_table_says_what_happens(keyword: str, action: Action) -> None:  # U-09
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert action_of(tag, dictionary_VR(tag)) is action


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00091001, "LO"),
        (0x50000010, "US"),
        (0x60003000, "OW"),
        (0x60004000, "LT"),
        (0x60220010, "US"),
        (0x0008FFF1, "LO"),  # nobody knows it
        (0x00280010, "UN"),
        (0x0020000D, "UN"),
        (0x00280010, "LO"),  # a text where a number should stand
        (0x04000500, "SQ"),  # the identity, encrypted
        (0x00020016, "AE"),
    ],
)
def test_what_nobody_can_vouch_for_goes(tag: int, vr: str) -> None:
    assert action_of(tag, vr) is Action.REMOVE


def test_the_table_is_whole_and_of_known_attributes() -> None:
    tags = [int(tag, 16) for row in TABLE.values() for tag in row.split()]
    assert len(tags) == len(set(tags)) == 617
    assert all(dictionary_has_tag(tag) for tag in tags)


def test_a_uid_is_replaced_by_the_same_one_each_time() -> None:
    new = replace_uid("1.2.3.4", SECRET)
    assert new == replace_uid("1.2.3.4", SECRET)
    assert new.startswith("2.25.")
    assert len(new) <= 64
    assert len({new, replace_uid("1.2.3.5", SECRET), replace_uid("1.2.3.4", b"o" * 32)}) == 3


def test_what_the_standard_registers_stays() -> None:
    assert replace_uid(CTImageStorage, SECRET) == CTImageStorage
    assert replace_uid("1.2.840.10008.1.4.1.1", SECRET) == "1.2.840.10008.1.4.1.1"
    assert replace_uid("1.2.840.10008.1.2.999999.7", SECRET).startswith("2.25.")
    assert replace_uid("", SECRET) == ""


def test_a_patient_keeps_one_pseudonym() -> None:
    assert pseudonym(b"P1", SECRET) == pseudonym(b"P1", SECRET) != pseudonym(b"P2", SECRET)
    assert pseudonym(b"P1", SECRET) != pseudonym(b"P1", b"o" * 32)


def member(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"0040A730": member("SQ")}, "report"),
        ({"00420011": member("OB")}, "document"),
        ({"00080016": member("UI", "1.2.840.10008.5.1.4.1.1.9.4.1")}, "voice"),
        ({"00280301": member("CS", "YES")}, "burned in"),
        ({"00480010": member("CS", "YES")}, "burned in"),
        ({"00080008": member("CS", "ORIGINAL", "PRIMARY", "LABEL")}, "label"),
        ({"00280302": member("CS", "YES")}, "recognized"),
        ({"60000102": member("US", 12)}, "overlay"),
        ({"00080016": member("UI", SecondaryCaptureImageStorage)}, "often have text"),
        ({"00080016": member("UI", "1.2.840.10008.5.1.4.1.1.7.4")}, "often have text"),
    ],
)
def test_what_cannot_be_cleaned_is_refused_in_words(members: dict[str, Any], words: str) -> None:
    assert words in why_not(Document(members))


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"00080016": member("UI", CTImageStorage), "00280301": member("CS", "NO")},
        {"00080016": member("UI", SecondaryCaptureImageStorage), "00280301": member("CS", "NO")},
        {"00080016": member("UI", "1.2.840.10008.5.1.4.1.1.77.1.6")},
        {"60000102": member("US", 0)},
        {"00080016": member("UI", EncapsulatedPDFStorage)},
    ],
)
def test_what_can_be_cleaned_is_not_refused(members: dict[str, Any]) -> None:
    assert why_not(Document(members)) == ""


def test_what_is_shown_has_only_what_stays() -> None:
    document = Document(
        {
            "00100010": member("PN", {"Alphabetic": "Doe^Jane"}),
            "00080020": member("DA", "20240229"),
            "00280010": member("US", 16),
            "00091001": member("LO", "Doe"),
            "60003000": {"vr": "OW", "BulkDataURI": "x"},
            "00283010": member("SQ", {"00283003": member("LO", "LUT"), "00100020": member("LO")}),
        }
    )
    clean = without_identity(document).members
    assert clean == {
        "00280010": member("US", 16),
        "00283010": member("SQ", {"00283003": member("LO", "LUT")}),
    }
