"""Rules against Data Sets in DICOM JSON, for attributes that the index has no column for."""

from typing import Any

import orjson
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.dicom.any_attribute import meets
from app.dicom.matching import parse_match, parse_path
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from tests.factories import make_dataset, make_part10


def make_item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    dataset = make_dataset(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SliceThickness="5.0",
        AcquisitionNumber="7",
        AcquisitionDate="20240229",
        AcquisitionTime="1015",
        AcquisitionDateTime="20240229101530.25+0100",
        PatientAge="054Y",
        PatientComments="one\\two*",
        PerformingPhysicianName=["Schmidt^Jörg", "Yamada^Tarou=山田^太郎"],
        SmallestImagePixelValue=0,
        RecommendedDisplayFrameRateInFloat=0.1,
        TableTopVerticalPosition=0.5,
        FrameIncrementPointer=0x00181063,
        FrameOfReferenceUID="1.2.3",
        ProtocolName="",
        ReferencedImageSequence=Sequence(
            [
                make_item(ReferencedSOPInstanceUID="1.2.1"),
                make_item(
                    ReferencedSOPInstanceUID="1.2.2",
                    PurposeOfReferenceCodeSequence=Sequence([make_item(CodeValue="121311")]),
                ),
            ]
        ),
        SourceImageSequence=Sequence([]),
    )
    dataset.private_block(0x0009, "OTHER", create=True).add_new(1, "LO", "other's")
    ours = dataset.private_block(0x0009, "ACME", create=True)
    ours.add_new(1, "LO", "ours")
    ours.add_new(2, "DS", "2.5")
    ours.add_new(3, "UN", b"un\\known ")
    ours.add_new(4, "PN", "Doe^Jane")
    inner = Dataset()
    inner.private_block(0x0011, "ACME IN", create=True).add_new(5, "SH", "deep")
    ours.add_new(6, "SQ", Sequence([inner]))
    read: dict[str, Any] = orjson.loads(scan(BytesSource(make_part10(dataset))).metadata)
    assert read["00091103"]["vr"] == "UN"
    return read


def meet(metadata: dict[str, Any], key: str, value: str, **flags: Any) -> bool:
    path = parse_path(key)
    assert path is not None
    creators = flags.get("creators", {})
    match = parse_match(path, value, **flags)
    assert match is not None
    return meets(metadata, match, creators)


ACME = {0x00090010: "ACME"}
MET: list[tuple[str, str, dict[str, Any]]] = [
    ("ImageType", "AXIAL", {}),
    ("ImageType", "ORIG*", {}),
    ("ImageType", "AXIAL,LOCALIZER", {}),
    ("ImageType", "AXIAL,ORIGINAL", {"every": True}),
    ("SliceThickness", "5", {}),
    ("SliceThickness", "5.00", {}),
    ("AcquisitionNumber", "007", {}),
    ("AcquisitionDate", "20240201-20240301", {}),
    ("AcquisitionTime", "10", {}),
    ("AcquisitionTime", "1016-", {"no": True}),
    ("AcquisitionDateTime", "20240229", {}),
    ("AcquisitionDateTime", "20240229101530.25", {}),
    ("AcquisitionDateTime", "202402-202403", {}),
    ("AcquisitionDateTime", "-20240229101529", {"no": True}),
    ("AcquisitionDateTime", "2025-", {"no": True}),
    ("PatientAge", "054Y", {}),
    ("PatientComments", "one\\two?", {}),
    ("PatientComments", "one", {"no": True}),
    ("PerformingPhysicianName", "schmidt^jorg", {}),
    ("PerformingPhysicianName", "schmidt", {"no": True}),
    ("PerformingPhysicianName", "*jörg", {}),
    ("PerformingPhysicianName", "山田*", {}),
    ("PerformingPhysicianName", "yamada*=山田*", {}),
    ("PerformingPhysicianName", "=山田*=", {}),
    ("PerformingPhysicianName", "山田*=yamada*", {"no": True}),
    ("PerformingPhysicianName", "smith", {"fuzzy": True}),
    ("PerformingPhysicianName", "*chmid*", {"fuzzy": True}),
    ("PerformingPhysicianName", "miller", {"fuzzy": True, "no": True}),
    ("SmallestImagePixelValue", "0", {}),
    ("SmallestImagePixelValue", "1", {"no": True}),
    ("RecommendedDisplayFrameRateInFloat", "0.1", {}),  # as FL holds it
    ("RecommendedDisplayFrameRateInFloat", "1e300", {"no": True}),
    ("TableTopVerticalPosition", "0.5", {}),
    ("TableTopVerticalPosition", "0.25", {"no": True}),
    ("FrameIncrementPointer", "0018,1063", {}),
    ("FrameOfReferenceUID", "1.2.3,1.2.4", {}),
    ("FrameOfReferenceUID", "1.2.4", {"no": True}),
    ("ReferencedImageSequence.ReferencedSOPInstanceUID", "1.2.2", {}),
    ("ReferencedImageSequence.ReferencedSOPInstanceUID", "1.2.3", {"no": True}),
    ("00081140.0040A170.CodeValue", "121311", {}),
    ("ProtocolName", '""', {"empty": True}),
    ("KVP", '""', {"empty": True, "no": True}),
    ("ContrastBolusAgent", '""', {"empty": True}),
    ("SourceImageSequence", '""', {"empty": True}),
    ("ReferencedImageSequence", '""', {"empty": True, "no": True}),
    ("PixelData", '""', {"empty": True, "no": True}),
    ("ContrastBolusAgent", "x", {"no": True}),
    ("SourceImageSequence.ReferencedSOPInstanceUID", "1.2.2", {"no": True}),
    # private: as the tag stands, or as the creator's block lies in this Data Set
    ("00091001", "other's", {}),
    ("00091101", "ours", {}),
    ("00091001", "ours", {"no": True}),
    ("00091001", "ours", {"creators": ACME}),
    ("00091001", "OUR*", {"creators": ACME, "no": True}),
    ("00091001", "other's", {"creators": ACME, "no": True}),
    ("00091001", "ours", {"creators": {0x00090010: "NOBODY"}, "no": True}),
    ("00091002", "2.50", {"creators": ACME}),
    ("00091002", "two", {"creators": ACME, "no": True}),
    ("00091003", "known", {"creators": ACME}),
    ("00091004", "Doe^Jane", {"creators": ACME}),
    ("00091006.00111005", "de?p", {"creators": {**ACME, 0x00110010: "ACME IN"}}),
    ("00090010", "ACME", {}),
    ("00090010", "NOBODY", {"no": True}),
    # below what is no Sequence in the data
    ("00091101.00100020", "x", {"no": True}),
]


@pytest.mark.parametrize(("key", "value", "flags"), MET)
def test_a_data_set_meets_a_rule_or_does_not(
    metadata: dict[str, Any], key: str, value: str, flags: dict[str, Any]
) -> None:
    expected = not flags.get("no", False)
    given = {name: flag for name, flag in flags.items() if name != "no"}
    assert meet(metadata, key, value, **given) is expected


@pytest.mark.parametrize("value", ["abc", None, "1e999", "nan"])
def test_what_is_no_number_equals_none(value: object) -> None:
    dataset = {"00180050": {"vr": "DS", "Value": [value]}}
    assert not meet(dataset, "SliceThickness", "5")
    assert not meet({"00200012": {"vr": "IS", "Value": [value]}}, "AcquisitionNumber", "5")


def test_a_name_that_is_text_or_nothing_is_compared_all_the_same() -> None:
    assert meet({"00081050": {"vr": "LO", "Value": ["Doe"]}}, "PerformingPhysicianName", "doe")
    empty = {"00081050": {"vr": "PN", "Value": [{"Alphabetic": "^"}]}}
    assert not meet(empty, "PerformingPhysicianName", "doe*")
