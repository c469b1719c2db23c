"""Identifiers of queries: read whatever their character set, written in one without any loss."""

import warnings
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from app.dicom.identifiers import (
    character_set_of,
    is_uid_key,
    read_identifier,
    write_identifier,
)
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from app.errors import InvalidDataset

YAMADA = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
KOREAN = {"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"}
MUELLER = {"Alphabetic": "Müller^Änne"}
RUSSIAN = {"Alphabetic": "Люкceмбypг"}
CHINESE = {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}


def _read(data: bytes, *, implicit: bool) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = decode(BytesIO(data), implicit, True)
        for element in dataset:
            assert element is not None
    return dataset


@pytest.mark.parametrize(
    ("name", "character_set", "answered"),
    [
        (MUELLER, "", "ISO_IR 192"),
        (MUELLER, "ISO_IR 6", "ISO_IR 192"),
        (MUELLER, "ISO_IR 100", "ISO_IR 100"),
        (MUELLER, "ISO_IR 192", "ISO_IR 192"),
        (MUELLER, "ISO_IR 144", "ISO_IR 192"),
        (RUSSIAN, "ISO_IR 144", "ISO_IR 144"),
        (RUSSIAN, "ISO_IR 100", "ISO_IR 192"),
        (YAMADA, "ISO_IR 100", "ISO_IR 192"),
        (YAMADA, "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        (YAMADA, "ISO 2022 IR 13\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87"),
        (YAMADA, "ISO_IR 13", "ISO_IR 192"),
        (YAMADA, "ISO 2022 IR 13", "ISO_IR 192"),
        (RUSSIAN, "ISO_IR 13", "ISO_IR 192"),
        ({"Alphabetic": "ﾔﾏﾀﾞ^ﾀﾛｳ"}, "ISO_IR 13", "ISO_IR 13"),
        ({"Alphabetic": "A¥"}, "ISO_IR 13", "ISO_IR 192"),
        (KOREAN, "\\ISO 2022 IR 149", "\\ISO 2022 IR 149"),
        (YAMADA, "\\ISO 2022 IR 149", "ISO_IR 192"),
        (CHINESE, "GB18030", "GB18030"),
        (CHINESE, "\\ISO 2022 IR 58", "ISO_IR 192"),
        ({"Alphabetic": "A", "Ideographic": "×山"}, "\\ISO 2022 IR 87", "ISO_IR 192"),
        (MUELLER, "\\ISO 2022 IR 87", "ISO_IR 192"),
        ({"Alphabetic": "Plain"}, "", ""),
        ({"Alphabetic": "Plain"}, "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
        ({"Alphabetic": "A", "Ideographic": "山^^郎"}, "\\ISO 2022 IR 87", "\\ISO 2022 IR 87"),
    ],
)
@pytest.mark.parametrize("implicit", [True, False])
def test_names_are_written_in_the_wanted_character_set_or_in_utf_8(
    name: dict[str, str], character_set: str, answered: str, implicit: bool
) -> None:
    match = {"00100010": {"vr": "PN", "Value": [name]}}
    dataset = _read(write_identifier(match, character_set, implicit=implicit), implicit=implicit)
    assert str(dataset.PatientName) == "=".join(name.values())
    said = dataset.get("SpecificCharacterSet", "")
    assert (said if isinstance(said, str) else "\\".join(said)) == answered


def _every_vr() -> dict[str, Any]:
    item = {"00080100": {"vr": "SH", "Value": ["CODE"]}, "00080104": {"vr": "LO"}}
    return {
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00080020": {"vr": "DA", "Value": ["20240229"]},
        "00081032": {"vr": "SQ", "Value": [item, {}]},
        "00100030": {"vr": "DA"},
        "00201208": {"vr": "IS", "Value": [12]},
        "00101030": {"vr": "DS", "Value": [70.5]},
        "00280010": {"vr": "US", "Value": [512]},
        "00091001": {"vr": "UN", "InlineBinary": "AAE="},
        "00091002": {"vr": "XX", "Value": ["?"]},
        "00280011": {"vr": "US", "Value": ["no number"]},
    }


@pytest.mark.parametrize("implicit", [True, False])
def test_values_of_every_kind_are_written_as_pydicom_reads_them(implicit: bool) -> None:
    dataset = _read(write_identifier(_every_vr(), "", implicit=implicit), implicit=implicit)
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert dataset.SOPInstanceUID == "1.2.3"
    assert dataset.StudyDate == "20240229"
    assert [item.get("CodeValue") for item in dataset.ProcedureCodeSequence] == ["CODE", None]
    assert dataset.PatientBirthDate == ""
    assert (dataset.NumberOfStudyRelatedInstances, dataset.PatientWeight) == (12, 70.5)
    assert dataset.Rows == 512
    assert dataset.get_item(0x00091001).value == b"\0\1"
    assert dataset.Columns is None or dataset.Columns == ""


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN])
@pytest.mark.parametrize("character_set", ["ISO_IR 192", ["ISO 2022 IR 6", "ISO 2022 IR 87"]])
def test_keys_are_read_by_their_character_set(syntax: str, character_set: Any) -> None:
    query = Dataset()
    query.SpecificCharacterSet = character_set
    query.QueryRetrieveLevel = "STUDY"
    query.PatientName = "=山田*"
    query.StudyInstanceUID = ["1.2", "1.3"]
    query.StudyDate = "20240101-"
    query.StudyDescription = ""
    data = encode(query, syntax == IMPLICIT_LITTLE_ENDIAN, True)
    assert data
    read = read_identifier(data, syntax)
    assert read["00100010"]["Value"] == [{"Ideographic": "山田*"}]
    assert read["0020000D"]["Value"] == ["1.2", "1.3"]
    assert read["00080020"]["Value"] == ["20240101-"]
    assert read["00081030"] == {"vr": "LO"}


def test_what_is_no_identifier_is_refused() -> None:
    with pytest.raises(InvalidDataset):
        read_identifier(b"\x08\0\x05\0\xff\xff\xff\x7f", IMPLICIT_LITTLE_ENDIAN)


def test_a_list_too_long_for_explicit_vr_is_read_by_the_dictionary() -> None:
    """PS3.5 §6.2.2: it is UN with a length of 32 bits; more UIDs than 65534 bytes hold."""
    uids = [f"1.2.826.0.1.{number}".ljust(64, "1") for number in range(10_000, 11_200)]
    asked = {"00080018": {"vr": "UI", "Value": uids}, "00080052": {"vr": "CS", "Value": ["IMAGE"]}}
    data = write_identifier(asked, "", implicit=False)
    assert b"\x08\0\x18\0UN\0\0" in data
    assert read_identifier(data, EXPLICIT_LITTLE_ENDIAN) == asked


@pytest.mark.parametrize(
    ("key", "is_one"),
    [
        ("0020000D", True),
        ("00080018", True),
        ("00100020", False),
        ("00091001", False),
        ("fuzzymatching", False),
        ("0020000d", False),
        ("", False),
    ],
)
def test_keys_of_uids_are_known(key: str, is_one: bool) -> None:
    assert is_uid_key(key) == is_one


def test_of_what_is_long_only_what_the_dictionary_knows_is_read() -> None:
    long = b"\x09\0\x01\x10UN\0\0" + (70_000).to_bytes(4, "little") + bytes(70_000)
    read = read_identifier(long, EXPLICIT_LITTLE_ENDIAN)
    assert read["00091001"]["vr"] == "UN"
    assert "Value" not in read["00091001"]


def test_the_character_set_is_read_as_it_stands() -> None:
    length = b"\x08\0\0\0UL\4\0\x12\0\0\0"
    named = b"\x08\0\5\0CS\x0a\0ISO_IR 192"
    assert character_set_of(length + named, EXPLICIT_LITTLE_ENDIAN) == "ISO_IR 192"
    assert character_set_of(length, EXPLICIT_LITTLE_ENDIAN) == ""
