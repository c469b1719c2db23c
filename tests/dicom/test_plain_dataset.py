"""What goes to a modality in a plain Transfer Syntax reads, in pydicom, as what is stored."""

import re
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from app.dicom.file_meta import add_file_meta
from app.dicom.limits import Limits
from app.dicom.recode import plain_dataset
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.dataset_comparison import differences
from tests.dicom.test_recode import UNCOMPRESSED, syntax_of
from tests.factories import make_dataset, make_part10
from tests.pydicom_oracle import read
from tests.samples import sample_id

STORED = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def _plain(data: bytes, syntax: str, *, implicit: bool) -> bytes:
    pieces = plain_dataset(BytesSource(data), syntax, Limits(), implicit=implicit)
    wanted = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return add_file_meta("1.2", "1.2", wanted) + b"".join(pieces)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("syntax", STORED)
def test_every_plain_encoding_becomes_each_other(syntax: str, implicit: bool) -> None:
    dataset = make_dataset(Rows=32, Columns=32)
    item = make_dataset(PixelData=None, Rows=None, Columns=None)
    dataset.ReferencedStudySequence = [item, item]
    data = make_part10(dataset, transfer_syntax=syntax)
    copy = read(_plain(data, syntax, implicit=implicit))
    assert copy.original_encoding == (implicit, True)
    assert differences(read(data), copy) == []
    assert (copy.pixel_array == read(data).pixel_array).all()


@pytest.mark.slow
@pytest.mark.parametrize("path", UNCOMPRESSED, ids=sample_id)
def test_every_element_of_a_sample_stays_what_it_is_in_implicit_vr(path: Path) -> None:
    data = path.read_bytes()
    copy = read(_plain(data, syntax_of(path), implicit=True))
    assert copy.original_encoding == (True, True)
    assert [one for one in differences(read(data), copy) if not _is_of_a_vr_that_is_lost(one)] == []


def _is_of_a_vr_that_is_lost(difference: str) -> bool:
    """Say whether it is the VR of a private element, or one that the standard leaves open.

    In implicit VR only a dictionary tells of it (PS3.5 §7.1.3); that of LUTs hangs on others,
    and Pixel Data are OW (PS3.5 §A.1).
    """
    found = re.search(r"\(([0-9A-F]{4}),([0-9A-F]{4})\) is \w\w, not \w\w$", difference)
    return found is not None and (int(found[1], 16) % 2 == 1 or found[0][1:10] in _OPEN)


_OPEN = ("0028,3002", "0028,3006", "7FE0,0010")


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, "1.2.3"])
def test_what_is_compressed_or_unknown_is_refused(syntax: str) -> None:
    with pytest.raises(InvalidDataset, match="not an uncompressed Transfer Syntax"):
        _plain(make_part10(), syntax, implicit=True)
