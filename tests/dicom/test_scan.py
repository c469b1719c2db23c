"""The scan held against pydicom on every sample file: metadata, Bulk Data, frames (I-01, J-26)."""

import os
from pathlib import Path

import orjson
import pytest

from app.dicom.deflated import rendition
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import BULK_DATA_PLACEHOLDER, BulkPlace, FrameKind
from app.dicom.source import BytesSource, FileSource
from app.errors import InvalidDataset
from tests import pydicom_oracle
from tests.factories import make_dataset, make_part10
from tests.samples import SAMPLES, sample_id

CUT_SHORT = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
NOT_DICOM = {"no_meta.dcm"}
"""Its first byte is one too many: pydicom makes one element of garbage of it."""
RECOVERED = {"emri_small_jpeg_2k_lossless_too_short.dcm"}
"""Lacks its last delimiter, for which pydicom drops the whole Data Set."""
REFUSED = CUT_SHORT | NOT_DICOM

READABLE = [path for path in SAMPLES if path.name not in REFUSED]
samples = pytest.mark.parametrize("path", READABLE, ids=sample_id)


def whole(data: bytes) -> bytes:
    """Return the bytes that offsets count in: the rendition of a deflated object."""
    scanned = scan(BytesSource(data))
    if scanned.transfer_syntax_uid != "1.2.840.10008.1.2.1.99":
        return data
    source = rendition(BytesSource(data), scanned.dataset_offset, Limits())
    return source.read(0, source.size)


@samples
def test_metadata_is_pydicoms(path: Path) -> None:  # J-26
    ours = orjson.loads(scan(BytesSource(path.read_bytes())).metadata)
    if path.name in RECOVERED:
        assert len(ours) > 100
    else:
        assert (
            pydicom_oracle.differences(pydicom_oracle.metadata(pydicom_oracle.read(path)), ours)
            == []
        )


@samples
def test_bulk_data_is_where_it_says(path: Path) -> None:  # J-17
    data = path.read_bytes()
    scanned = scan(BytesSource(data), Limits(inline_bytes=16))
    if path.name not in RECOVERED:
        dataset = pydicom_oracle.read(path)
        assert pydicom_oracle.bulk_differences(whole(data), dataset, scanned) == []
    for bulk_path in scanned.bulk_values:
        assert BULK_DATA_PLACEHOLDER + bulk_path.encode() + b'"' in scanned.metadata
    assert scanned.metadata.count(b"BulkDataURI") == len(scanned.bulk_values)


@samples
def test_frames_are_pydicoms(path: Path) -> None:  # I-04
    data = path.read_bytes()
    scanned = scan(BytesSource(data))
    expected = pydicom_oracle.frames(pydicom_oracle.read(path))
    if path.name in RECOVERED:
        assert (scanned.frames.kind, scanned.frames.count) == (FrameKind.TABLE, 10)
    elif expected is None:
        assert scanned.frames.count <= 1
    else:
        assert pydicom_oracle.our_frames(whole(data), scanned.frames) == expected


@samples
def test_a_file_scans_as_bytes_do(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        from_file = scan(FileSource(descriptor, path.stat().st_size))
    finally:
        os.close(descriptor)
    assert from_file == scan(BytesSource(path.read_bytes()))


def test_a_memo_changes_nothing() -> None:
    memo = Memo(2**18)  # small, so that generations change
    for path in READABLE * 2:
        source = BytesSource(path.read_bytes())
        assert scan(source, None, memo) == scan(source), path.name


@pytest.mark.parametrize("name", sorted(CUT_SHORT))
def test_a_file_that_is_cut_short_is_refused(name: str) -> None:  # S-22
    (path,) = (path for path in SAMPLES if path.name == name)
    with pytest.raises(InvalidDataset, match="the object ends within") as caught:
        scan(BytesSource(path.read_bytes()))
    assert caught.value.reason == 0xC001


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"%PDF-1.7\n" * 40, b"\x89PNG\r\n\x1a\n" * 99])
def test_what_is_no_dicom_is_refused(data: bytes) -> None:  # S-22
    with pytest.raises(InvalidDataset, match="this is no DICOM") as caught:
        scan(BytesSource(data))
    assert caught.value.reason == 0xC000


def test_tags_are_ascending_at_every_level() -> None:  # J-02
    def check(found: object) -> None:
        if isinstance(found, dict):
            tags = [key for key in found if key[:1].isdigit() or key[:1] in "ABCDEF"]
            assert tags == sorted(tags)
            for value in found.values():
                check(value)
        if isinstance(found, list):
            for value in found:
                check(value)

    for path in READABLE:
        scanned = scan(BytesSource(path.read_bytes()))
        assert list(scanned.fragments) == sorted(scanned.fragments)
        check(orjson.loads(scanned.metadata))


def test_fragments_are_members_by_their_tags() -> None:
    scanned = scan(BytesSource(make_part10(PatientID="X1")))
    assert scanned.fragments[0x00100020] == b'"00100020":{"vr":"LO","Value":["X1"]}'
    assert scanned.metadata == b"{" + b",".join(scanned.fragments.values()) + b"}"


def test_pixel_data_is_bulk_data_also_when_it_is_short() -> None:  # J-23
    data = make_part10(Rows=1, Columns=1)
    scanned = scan(BytesSource(data))
    place = BulkPlace(len(data) - 2, 2, "OW")
    assert scanned.bulk_values == {"7FE00010": place}
    expected = b'"7FE00010":{"vr":"OW","BulkDataURI":"bulkdata/7FE00010"}'
    assert scanned.fragments[0x7FE00010] == expected


def test_pixel_data_without_a_value_has_no_bulk_data() -> None:  # J-08
    scanned = scan(BytesSource(make_part10(PixelData=b"")))
    assert scanned.fragments[0x7FE00010] == b'"7FE00010":{"vr":"OW"}'
    assert not scanned.bulk_values
    assert scanned.frames.kind is FrameKind.NONE


def test_a_place_deep_within_has_its_path() -> None:
    item = make_dataset(PixelData=bytes(512))
    scanned = scan(BytesSource(make_part10(IconImageSequence=[make_dataset(PixelData=None), item])))
    assert list(scanned.bulk_values) == ["00880200/2/7FE00010", "7FE00010"]


@pytest.mark.parametrize("length", [4096, 4098])
def test_binary_values_are_inline_up_to_the_limit(length: int) -> None:  # J-16
    scanned = scan(BytesSource(make_part10(ICCProfile=bytes(length))))
    member = orjson.loads(scanned.metadata)["00282000"]
    assert ("InlineBinary" in member) == (length == 4096)
    assert ("00282000" in scanned.bulk_values) == (length != 4096)


def test_long_text_stays_whole() -> None:  # J-30
    text = "long text " * 10_000
    scanned = scan(BytesSource(make_part10(TextValue=text + "end")))
    assert orjson.loads(scanned.metadata)["0040A160"]["Value"] == [text + "end"]
