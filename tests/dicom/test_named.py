"""What the beginning of a Data Set says that it is (PS3.3 §C.12.1), in every plain encoding."""

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from app.dicom.named import START_BYTES, named_uids

CT = str(CTImageStorage)


def _written(syntax: str, **attributes: str) -> bytes:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.StudyDate = "20261129"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    written = BytesIO()
    file = DicomFileLike(written)
    file.is_implicit_VR = syntax == ImplicitVRLittleEndian
    file.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(file, dataset)
    return written.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit],
)
def test_both_are_read_in_every_encoding(syntax: str) -> None:
    data = _written(syntax, SOPClassUID=CT, SOPInstanceUID="1.2.3")
    assert named_uids(data[:START_BYTES], syntax) == (CT, "1.2.3")


def test_what_is_not_there_is_empty() -> None:
    assert named_uids(_written(ExplicitVRLittleEndian), ExplicitVRLittleEndian) == ("", "")


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, "1.2.3"])
def test_what_is_deflated_or_unknown_does_not_tell(syntax: str) -> None:
    data = _written(ExplicitVRLittleEndian, SOPClassUID=CT, SOPInstanceUID="1.2.3")
    assert named_uids(data, syntax) is None


def test_what_ends_too_soon_or_has_no_length_does_not_tell() -> None:
    syntax = str(ExplicitVRLittleEndian)
    data = _written(syntax, SOPClassUID=CT, SOPInstanceUID="1.2.3")
    end = data.index(b"1.2.3\0") + 6
    assert {named_uids(data[:at], syntax) for at in range(end + 8)} == {None}
    sequence = b"\x08\0\x05\0SQ\0\0\xff\xff\xff\xff"
    assert named_uids(sequence + data, syntax) is None
