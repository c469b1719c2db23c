"""DICOM JSON objects as Data Sets, held against pydicom, and what no object is."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset

from app.dicom.json_dataset import Reference, encode_dataset
from app.dicom.limits import Limits
from app.errors import InvalidDataset
from tests.factories import make_dataset

LIMITS = Limits()


def encode(dataset: Any, limits: Limits = LIMITS) -> bytes:
    pieces = [one for pieces in encode_dataset(dataset, limits).elements.values() for one in pieces]
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def read(raw: bytes) -> Dataset:
    return read_dataset(BytesIO(raw), is_implicit_VR=False, is_little_endian=True)


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def test_a_dataset_is_what_pydicom_reads_in_its_json() -> None:
    dataset = make_dataset(OtherPatientNames=["A^B", "C"], PixelData=None)
    item = make_dataset(PixelData=None)
    dataset.ReferencedImageSequence = [item, Dataset()]
    found = read(encode(dataset.to_json_dict()))
    assert found.to_json_dict() == dataset.to_json_dict()


def test_keys_come_in_any_order_and_case() -> None:
    backwards = {"7fe00010": {"vr": "OB", "InlineBinary": "AAE="}, "00100020": element("LO", "1")}
    assert [int(one.tag) for one in read(encode(backwards))] == [0x00100020, 0x7FE00010]


@pytest.mark.parametrize(
    ("dataset", "character_set"),
    [
        ({"00100020": element("LO", "plain")}, None),
        ({"00100020": element("LO", "é")}, "ISO_IR 192"),
        ({"00080005": {"vr": "CS"}, "00100020": element("LO", "é")}, "ISO_IR 192"),
        ({"00080005": {"vr": "CS"}}, ""),
        ({"00080005": element("CS", "ISO_IR 100"), "00100020": element("LO", "é")}, "ISO_IR 192"),
        ({"00081199": element("SQ", {"00100020": element("LO", "é")})}, "ISO_IR 192"),
        ({"00100020": {"vr": "LO", "BulkDataURI": "1"}}, "ISO_IR 192"),
        ({"00100020": {"vr": "LO", "InlineBinary": "w6k="}}, "ISO_IR 192"),
    ],
)
def test_the_character_set_is_the_one_written(dataset: Any, character_set: str | None) -> None:
    raw = encode(dataset)
    found = read(raw)
    named = str(found[0x00080005].value or "") if 0x00080005 in found else None
    assert named == character_set


def test_what_belongs_to_an_encoding_is_left_out() -> None:
    dataset = {"00020010": element("UI", "1.2"), "00080000": element("UL", 1),
               "00000002": element("UI", "1.2")}  # fmt: skip
    assert encode(dataset) == b""


def test_a_vr_that_is_not_said_is_that_of_the_dictionary() -> None:
    assert read(encode({"00100020": {"Value": ["1"]}}))[0x00100020].VR == "LO"
    with pytest.raises(InvalidDataset, match="the VR of 00091001"):
        encode({"00091001": {"Value": ["1"]}})


def test_bulk_data_is_referred_to() -> None:
    bulk = {"vr": "OW", "BulkDataURI": "1"}
    dataset = {"00282000": bulk, "00880200": element("SQ", {"7FE00010": bulk}, None)}
    found = encode_dataset(dataset, LIMITS).elements
    assert found[0x00282000] == [Reference(0x00282000, "OW", "1", nested=False)]
    assert Reference(0x7FE00010, "OW", "1", nested=True) in found[0x00880200]


def nested(depth: int) -> dict[str, Any]:
    return element("SQ", {"00081199": nested(depth - 1)}) if depth else {"vr": "SQ"}


@pytest.mark.parametrize(
    ("dataset", "why"),
    [
        ([], "no JSON object"),
        ({"00081199": element("SQ", 1)}, "no JSON object"),
        ({"00081199": {"vr": "SQ", "Value": {}}}, "is no array"),
        ({"00081199": {"vr": "SQ", "InlineBinary": "AAA="}}, "has a InlineBinary"),
        ({"00081199": {"vr": "SQ", "BulkDataURI": "1"}}, "has a BulkDataURI"),
        ({"PatientID": element("LO", "1")}, "eight hexadecimal digits"),
        ({"0010002": element("LO", "1")}, "eight hexadecimal digits"),
        ({"00100020": "1"}, "eight hexadecimal digits"),
        ({"0010002a": {"vr": "LO"}, "0010002A": {"vr": "LO"}}, "stands twice"),
        ({"FFFEE000": {"vr": "UN"}}, "none of a Data Set"),
        ({"00100020": {"vr": "XX"}}, "the VR of"),
        ({"00100020": {"vr": ["LO"]}}, "the VR of"),
        ({"00100020": {"vr": "OB", "Value": [], "BulkDataURI": "1"}}, "a Value and a BulkDataURI"),
        ({"00100020": {"vr": "OB", "BulkDataURI": 1}}, "the BulkDataURI of"),
        ({"00081199": nested(LIMITS.nesting_depth + 1)}, "too deep"),  # Z-11
    ],
)
def test_what_no_dicom_json_object_is_is_refused(dataset: Any, why: str) -> None:
    with pytest.raises(InvalidDataset, match=why):
        encode(dataset)


def test_depth_and_elements_are_bounded() -> None:
    assert encode({"00081199": nested(LIMITS.nesting_depth)})
    with pytest.raises(InvalidDataset, match="too many elements"):
        encode({"00100020": {"vr": "LO"}, "00100021": {"vr": "LO"}}, replace(LIMITS, elements=1))


def test_a_text_too_long_for_its_vr_is_still_whole() -> None:
    (found,) = read(encode({"00091001": element("LO", "x" * 70_000)}))
    assert (found.VR, len(found.value)) == ("UN", 70_000)
