"""What goes to a modality in a plain Transfer Syntax reads, in pydicom, as what is stored."""

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
    assert differences(read(data), copy) == []


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, "1.2.3"])
def test_what_is_compressed_or_unknown_is_refused(syntax: str) -> None:
    with pytest.raises(InvalidDataset, match="not an uncompressed Transfer Syntax"):
        _plain(make_part10(), syntax, implicit=True)
