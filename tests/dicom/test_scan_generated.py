"""Generated Data Sets that pydicom writes in every uncompressed encoding, scanned as it reads."""

from io import BytesIO
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from tests import pydicom_oracle

ENCODINGS = [
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]  # fmt: skip
MEMO = Memo(2**20)
"""Shared by all examples, so that one could spoil another."""

CHARSETS: dict[str, str] = {
    "": "abc XYZ",
    "ISO_IR 6": "abc",
    "ISO_IR 100": "aé ü ß",
    "ISO_IR 101": "ął Š",
    "ISO_IR 144": "Жя и",
    "ISO_IR 192": "aé王東𝄞",
    "ISO_IR 13": "ｶﾅ",
    "GB18030": "王丂誠",
    "GBK": "誠信",
    "ISO 2022 IR 6\\ISO 2022 IR 87": "a山田",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏ山",
    "\\ISO 2022 IR 149": "a홍길",
    "ISO 2022 IR 100\\ISO 2022 IR 144": "éЖ",
}

TAGS: dict[str, list[int]] = {
    "AE": [0x00080054, 0x00400001], "AS": [0x00101010], "AT": [0x00280009, 0x00720050],
    "CS": [0x00080008, 0x00080060], "DA": [0x00080020, 0x00100030], "DS": [0x00180050, 0x00200032],
    "DT": [0x0008002A, 0x00189074], "FD": [0x00186028, 0x00189073], "FL": [0x00700022],
    "IS": [0x00200013, 0x00200012], "LO": [0x00100020, 0x00081030], "LT": [0x00104000],
    "OB": [0x00282000], "OD": [0x0070031A], "OF": [0x00640009], "OL": [0x00660129],
    "OV": [0x7FE00001], "OW": [0x00281201], "PN": [0x00100010, 0x00080090], "SH": [0x00080050],
    "SL": [0x00186020], "SS": [0x00189219], "ST": [0x00080081], "SV": [0x00720082],
    "TM": [0x00080030], "UC": [0x00080119], "UI": [0x00080018, 0x00081150],
    "UL": [0x00081161, 0x00186018], "UR": [0x00081190], "US": [0x00280010, 0x00280011],
    "UT": [0x0040A160], "UV": [0x7FE00003], "UN": [0x00093001],
}  # fmt: skip
AMBIGUOUS = [0x00280106, 0x00280120, 0x00189810, 0x00283002, 0x00281101]
SEQUENCES = [0x00081115, 0x00189114, 0x00400275, 0x00880200]
CREATORS = ["GEMS_IDEN_01", "SIEMENS CSA HEADER", "ACME 1.1", "AGFA"]


def words(charset: str) -> st.SearchStrategy[str]:
    return st.text(CHARSETS[charset], min_size=0, max_size=8).map(str.strip)


def several(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=most)


def value_of(vr: str, charset: str) -> st.SearchStrategy[Any]:
    """Values as pydicom wants them for writing."""
    ranges = {
        "US": (0, 2**16 - 1),
        "SS": (-(2**15), 2**15 - 1),
        "UL": (0, 2**32 - 1),
        "SL": (-(2**31), 2**31 - 1),
        "UV": (0, 2**64 - 1),
        "SV": (-(2**63), 2**63 - 1),
    }
    if vr in ranges:
        return several(st.integers(*ranges[vr]))
    if vr in {"FL", "FD"}:
        return several(st.floats(width=32))
    if vr in {"LO", "SH", "UC"}:
        return several(words(charset))
    if vr in {"LT", "ST", "UT"}:
        return words(charset)
    if vr == "PN":
        group = words(charset)
        return several(st.lists(group, min_size=1, max_size=3).map("=".join))
    if vr.startswith("O") or vr == "UN":
        return st.binary(max_size=48).map(lambda raw: raw[: len(raw) // 8 * 8])
    return {
        "AE": several(st.sampled_from(["STORE", "A B", ""])),
        "AS": st.just("012Y"),
        "AT": several(st.integers(0, 2**32 - 1)),
        "CS": several(st.sampled_from(["ORIGINAL", "A_B", ""])),
        "DA": several(st.sampled_from(["20240131", ""])),
        "DS": several(st.sampled_from(["1.5", "-3e5", "0", "", "12345678"])),
        "DT": st.just("20240131120000.123+0100"),
        "IS": several(st.sampled_from(["1", "-2147483648", "", "+4"])),
        "TM": st.sampled_from(["120000", "010159.5"]),
        "UI": several(st.sampled_from(["1.2.3", "1.2.840.10008.5.1.4.1.1.2", "0.1"])),
        "UR": st.just("https://example.org/a?b=c"),
    }[vr]


@st.composite
def datasets(draw: st.DrawFn, depth: int = 2, charset: str = "", explicit: bool = True) -> Dataset:
    """A Data Set with every VR, ambiguous elements, private blocks and Sequences."""
    dataset = Dataset()
    if draw(st.integers(0, 2 if depth < 2 else 1)) == 0:
        charset = draw(st.sampled_from(sorted(CHARSETS)))
        dataset.SpecificCharacterSet = charset.split("\\")
    if draw(st.booleans()):
        dataset.PixelRepresentation = draw(st.sampled_from([0, 1]))
    for vr in draw(st.lists(st.sampled_from(sorted(TAGS)), max_size=6)):
        dataset.add_new(draw(st.sampled_from(TAGS[vr])), vr, draw(value_of(vr, charset)))
    for tag in draw(st.lists(st.sampled_from(AMBIGUOUS), max_size=2, unique=True)):
        vr = draw(st.sampled_from(["US", "SS"])) if explicit else "US"
        dataset.add_new(tag, vr, draw(st.lists(st.integers(0, 2**15 - 1), min_size=3, max_size=3)))
    for creator in draw(st.lists(st.sampled_from(CREATORS), max_size=2, unique=True)):
        block = dataset.private_block(0x0019, creator, create=True)
        vr = draw(st.sampled_from(["LO", "US", "DS", "UN", "OB"]))
        block.add_new(draw(st.sampled_from([0x02, 0x10, 0xF0])), vr, draw(value_of(vr, charset)))
    if depth:
        for tag in draw(st.lists(st.sampled_from(SEQUENCES), max_size=2, unique=True)):
            inner = datasets(depth - 1, charset, explicit)
            sequence = Sequence(draw(st.lists(inner, max_size=2)))
            dataset.add_new(tag, "SQ", sequence)
            dataset[tag].is_undefined_length = draw(st.booleans())
            for item in sequence:
                item.is_undefined_length_sequence_item = draw(st.booleans())
    return dataset


def write(dataset: Dataset, transfer_syntax: str) -> bytes:
    buffer = BytesIO()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    pydicom_oracle.quiet(dcmwrite)(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("transfer_syntax", ENCODINGS, ids=lambda uid: uid.name)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_generated_data_set_is_read_as_pydicom_reads_it(
    transfer_syntax: str, data: st.DataObject
) -> None:
    explicit = transfer_syntax != ImplicitVRLittleEndian
    dataset = data.draw(datasets(explicit=explicit))
    written = write(dataset, transfer_syntax)
    expected = pydicom_oracle.metadata(pydicom_oracle.read(written))
    for memo in (None, MEMO, MEMO):
        scanned = scan(BytesSource(written), Limits(), memo)
        assert pydicom_oracle.differences(expected, orjson.loads(scanned.metadata)) == []
        assert scanned.warnings == ()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_bulk_values_of_a_generated_data_set_are_pydicoms(data: st.DataObject) -> None:
    transfer_syntax = data.draw(st.sampled_from(ENCODINGS[:3]))
    written = write(data.draw(datasets()), transfer_syntax)
    scanned = scan(BytesSource(written), Limits(inline_bytes=7))
    dataset = pydicom_oracle.read(written)
    assert pydicom_oracle.bulk_differences(written, dataset, scanned) == []


def test_all_vrs_are_generated() -> None:
    assert len(TAGS) == 33
