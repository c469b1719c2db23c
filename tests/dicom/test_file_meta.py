"""Preamble and File Meta Information, or their absence (S-21)."""

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from app.dicom.file_meta import HEAD_BYTES, add_file_meta, find_dataset_offset, read_file_meta
from app.errors import InvalidDataset
from tests.factories import make_part10
from tests.raw_elements import BIG, EXPLICIT, IMPLICIT, big, explicit, implicit, part10

ID = explicit(0x00100020, "LO", b"X1")


def test_the_data_set_begins_after_group_2() -> None:
    data = make_part10()
    offset = find_dataset_offset(data)
    assert data[offset : offset + 4] == b"\x08\0\x05\0"
    assert find_dataset_offset(data[132:]) == offset - 132
    assert find_dataset_offset(data[offset:]) == 0


@pytest.mark.parametrize(
    ("head", "uid", "offset"),
    [
        (part10(ID, uid="1.2.840.10008.1.2.4.90"), "1.2.840.10008.1.2.4.90", 132 + 8 + 22),
        (ID, EXPLICIT, 0),
        (implicit(0x00080005, b"ISO_IR 100"), IMPLICIT, 0),
        (big(0x00080005, "CS", b"ISO_IR 100"), BIG, 0),
        (bytes(128) + b"DICM" + ID, EXPLICIT, 132),
        (explicit(0x00020000, "UL", b"\0\0\0\0") + ID, EXPLICIT, 12),
        (implicit(0x00000000, b"\4\0\0\0") + implicit(0x00080005, b""), IMPLICIT, 0),
        (bytes(128) + b"DICM", IMPLICIT, 132),
    ],
)
def test_what_is_not_said_is_guessed(head: bytes, uid: str, offset: int) -> None:
    meta = read_file_meta(head)
    assert (meta.transfer_syntax_uid, meta.dataset_offset) == (uid, offset)


def test_elements_begin_after_a_command_set() -> None:
    commands = implicit(0x00000000, b"\4\0\0\0") + implicit(0x00000100, b"\1\0")
    meta = read_file_meta(commands + ID)
    assert (meta.dataset_offset, meta.elements_offset) == (0, len(commands))
    assert meta.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize("rest", [implicit(0x00000002, length=999), bytes(16)])
def test_what_is_no_command_set_is_no_reason_to_skip(rest: bytes) -> None:
    head = part10(rest)
    meta = read_file_meta(head)
    assert meta.elements_offset == meta.dataset_offset == len(head) - len(rest)


@pytest.mark.parametrize("head", [b"", b"short", bytes(300), b"GIF89a" * 50, b'{"a": 1}' * 20])
def test_what_is_no_dicom_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidDataset, match="this is no DICOM"):
        read_file_meta(head)


@pytest.mark.parametrize("value", [bytes(HEAD_BYTES), b""])
def test_an_endless_file_meta_information_is_refused(value: bytes) -> None:
    element = explicit(0x00020102, "OB", value, None if value else 0xFFFFFFFF)
    with pytest.raises(InvalidDataset, match="cut short or too long"):
        read_file_meta((bytes(128) + b"DICM" + element + ID)[:HEAD_BYTES])


def test_a_made_file_meta_information_is_the_same_each_time_and_pydicom_reads_it() -> None:
    made = add_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT)
    assert made == add_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", EXPLICIT)
    assert find_dataset_offset(made + ID) == len(made)
    dataset = dcmread(DicomBytesIO(made + ID))
    meta = dataset.file_meta
    assert dataset.PatientID == "X1"
    assert meta.FileMetaInformationGroupLength == len(made) - 144
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID.is_valid
