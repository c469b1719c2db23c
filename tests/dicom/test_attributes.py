"""The table of searched attributes, and what is kept of an Instance for searches."""

import json
from typing import Any

import orjson
import pytest
from pydicom.datadict import keyword_for_tag

from app.dicom.attributes import (
    CUT,
    LONGEST_MEMBER,
    MEMBER_BREAK,
    TABLE,
    Attribute,
    Level,
    Returned,
    instance_values,
    member_key,
    series_document,
    series_values,
    split_members,
    study_document,
    study_values,
)
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.index import tables
from tests.factories import make_dataset, make_part10

# CLIENTS.md part 9: what viewers read from answers
STUDY_KEYS = """
00080005 00080020 00080030 00080050 00080056 00080061 00080062 00080090 00080201 00081030 00081190
00100010 00100020 00100021 00100030 00100040 0020000D 00200010 00201206 00201208
"""
SERIES_KEYS = """
00080060 00080021 00080031 0008103E 00081190 0020000E 00200011 00201209 00400244 00400245 00400275
00180015 00080070 00081090
"""
INSTANCE_KEYS = """
00080016 00080018 00080056 00081190 00200013 00280010 00280011 00280100 00280008 00083002
"""


def make_fragments(**keywords: Any) -> dict[int, bytes]:
    """Return the members of a synthetic Instance, as its scan yields them."""
    return dict(scan(BytesSource(make_part10(**keywords))).fragments)


def make_member(tag: int, element: dict[str, Any]) -> dict[int, bytes]:
    return {tag: member_key(tag).encode() + json.dumps(element, separators=(",", ":")).encode()}


def parse(document: str) -> dict[str, Any]:
    """Return a document as JSON, each piece of which is a valid object by itself."""
    merged: dict[str, Any] = {}
    for piece in document.split(CUT):
        merged |= orjson.loads(f"{{{piece}}}")
    return merged


def cut(document: str) -> list[list[str]]:
    """Return the tags of each piece of a document."""
    return [[member[1:9] for member in piece.split(MEMBER_BREAK)] for piece in document.split(CUT)]


@pytest.mark.parametrize(
    ("level", "keys"),
    [(Level.STUDY, STUDY_KEYS), (Level.SERIES, SERIES_KEYS), (Level.INSTANCE, INSTANCE_KEYS)],
)
def test_every_key_that_viewers_read_is_in_every_answer(level: Level, keys: str) -> None:
    asked = {Returned.ASKED, Returned.COMPUTED_ASKED, Returned.NEVER}
    rows = [row for row in TABLE if row.level == level and row.returned not in asked]
    assert {f"{row.tag:08X}" for row in rows} >= set(keys.split())


def test_every_column_of_the_table_is_one_of_the_index() -> None:
    by_level = (tables.study.c, tables.series.c, tables.instance.c)
    missing = [row for row in TABLE if row.column and row.column not in by_level[row.level]]
    assert missing == []


def test_no_attribute_is_matched_at_two_levels() -> None:
    paths = [row.path for row in TABLE if row.column]
    assert len(paths) == len(set(paths))


def test_rows_are_named_as_the_dictionary_names_them() -> None:
    def keyword(row: Attribute) -> str:
        return ".".join(keyword_for_tag(tag) for tag in row.path)

    assert [row for row in TABLE if row.keyword != keyword(row)] == []


def test_computed_attributes_are_marked() -> None:
    computed = {row.keyword for row in TABLE if row.level is Level.STUDY and row.computed}
    assert "RetrieveURL" in computed
    assert "NumberOfPatientRelatedStudies" in computed
    assert "PatientName" not in computed


def test_a_study_document_is_what_every_answer_holds_cut_where_computed_ones_go() -> None:
    fragments = make_fragments(StudyDescription=None, PatientSex="")
    document = study_document(fragments)
    pieces = [
        [member[1:9] for member in piece.split(MEMBER_BREAK)] for piece in document.split(CUT)
    ]
    assert pieces == [
        ["00080005", "00080020", "00080030", "00080050"],
        ["00080090"],
        ["00100010", "00100020", "00100021", "00100030", "00100040", "0020000D", "00200010"],
    ]
    parsed = parse(document)
    assert parsed["00100010"]["Value"][0]["Ideographic"] == "山田^花子"
    assert parsed["00100040"] == {"vr": "CS"}


def test_a_series_document_is_what_every_answer_holds_cut_where_computed_ones_go() -> None:
    document = series_document(make_fragments(Manufacturer=None))
    pieces = [
        [member[1:9] for member in piece.split(MEMBER_BREAK)] for piece in document.split(CUT)
    ]
    assert pieces == [
        ["00080005", "00080021", "00080031"],
        ["00080060", "00080080", "00081010", "0008103E"],
        ["00180015", "0020000D", "0020000E", "00200011"],
        ["00400244", "00400245"],
    ]


def test_what_a_level_must_return_is_there_when_the_data_has_nothing() -> None:
    assert parse(study_document({}))["00100010"] == {"vr": "PN"}
    assert parse(series_document({}))["00200011"] == {"vr": "IS"}
    assert "" not in study_document({}).split(CUT)
    assert "" not in series_document({}).split(CUT)


def test_the_character_set_is_that_of_the_answer_not_of_the_source() -> None:  # J-31
    fragments = make_fragments(SpecificCharacterSet="ISO_IR 100", PatientName="Müller")
    assert parse(study_document(fragments))["00080005"]["Value"] == ["ISO_IR 192"]
    assert "00080005" not in parse(study_document({}))


def test_members_come_apart_in_tag_order_without_being_parsed() -> None:
    members = split_members(study_document(make_fragments(PatientName='Cut",\\n"^Me')))
    keys = [member[:11] for member in members]
    assert keys == sorted(keys)
    assert all(orjson.loads(f"{{{member}}}") for member in members)
    assert split_members("") == []


def test_study_values_are_cleaned_and_folded() -> None:
    values = study_values(
        make_fragments(
            StudyTime="1015",
            PatientID=" A1 ",
            PatientAge="054Y",
            TimezoneOffsetFromUTC="+0100",
        )
    )
    assert values["patient_name"] == "=muller^anne=山田^花子=やまだ^はなこ="
    assert values["patient_id"] == "A1"
    assert (values["study_date"], values["study_time"]) == ("20240229", "101500")
    assert values["timezone_offset_from_utc"] == "+0100"
    assert values["referring_physician_name"] == "=doe^jane==="
    assert str(values["extra"]).startswith('"00101010":')
    assert set(values) <= set(tables.study.c.keys())


def test_series_values_have_the_requests_of_all_items() -> None:
    items = [make_dataset(Rows=None) for _ in range(3)]
    for item, step in zip(items, ("B", "A", None), strict=True):
        item.clear()
        if step:
            item.ScheduledProcedureStepID = step
        item.RequestedProcedureID = "P1"
    values = series_values(make_fragments(RequestAttributesSequence=items, ProtocolName="Knie"))
    assert values["scheduled_procedure_step_ids"] == ["A", "B"]
    assert values["requested_procedure_ids"] == ["P1"]
    assert values["series_number"] == 2
    assert "00181030" in str(values["extra"])
    assert set(values) <= set(tables.series.c.keys())


def test_instance_values_are_numbers_or_nothing() -> None:
    values = instance_values(make_fragments(NumberOfFrames=3, InstanceNumber="0012"))
    assert values == {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "instance_number": 12,
        "number_of_frames": 3,
        "rows": 16,
        "columns": 16,
        "bits_allocated": 16,
    }
    assert set(instance_values({}).values()) == {None, ""}


@pytest.mark.parametrize(
    ("tag", "element", "column", "value"),
    [
        (0x00080020, {"vr": "DA", "Value": ["2024.02.29"]}, "study_date", "20240229"),
        (0x00080020, {"vr": "DA", "Value": ["20241399"]}, "study_date", ""),
        (0x00080030, {"vr": "TM", "Value": ["10:15"]}, "study_time", "101500"),
        (0x00080030, {"vr": "TM", "Value": ["morning"]}, "study_time", ""),
        (0x00080050, {"vr": "SH", "Value": ["A", None, "B"]}, "accession_number", "A\\B"),
        (0x00080050, {"vr": "SH", "Value": ["A\0B"]}, "accession_number", "AB"),
        (0x00100020, {"vr": "LO", "Value": ["x" * 900]}, "patient_id", "x" * 256),
        (0x00100020, {"vr": "LO", "Value": ["x" * 20_000]}, "patient_id", ""),
        (0x00100020, {"vr": "UN", "InlineBinary": "QQ=="}, "patient_id", ""),
        (0x00100010, {"vr": "LO", "Value": ["Smith^J"]}, "patient_name", "=smith^j==="),
        (0x00100010, {"vr": "PN", "Value": [None]}, "patient_name", ""),
        (0x00100010, {"vr": "PN"}, "patient_name", ""),
    ],
)
def test_what_an_index_cannot_hold_is_cut_for_the_index_alone(
    tag: int, element: dict[str, Any], column: str, value: str
) -> None:
    assert study_values(make_member(tag, element))[column] == value


@pytest.mark.parametrize(
    ("element", "number"),
    [
        ({"vr": "IS", "Value": [2**70]}, None),
        ({"vr": "IS", "Value": ["12"]}, 12),
        ({"vr": "LO", "Value": ["twelve"]}, None),
    ],
)
def test_a_series_number_out_of_range_is_none(element: dict[str, Any], number: int | None) -> None:
    assert series_values(make_member(0x00200011, element))["series_number"] == number


def test_a_sequence_of_something_else_has_no_requests() -> None:
    odd = make_member(0x00400275, {"vr": "LO", "Value": ["text", None]})
    assert series_values(odd)["scheduled_procedure_step_ids"] == []


def test_an_overlong_member_and_one_with_bulk_data_are_left_to_the_metadata() -> None:
    long = make_member(0x00100010, {"vr": "PN", "Value": [{"Alphabetic": "x" * LONGEST_MEMBER}]})
    assert parse(study_document(long))["00100010"] == {"vr": "PN"}
    bulk = make_member(
        0x00081032, {"vr": "SQ", "Value": [{"00091001": {"vr": "OB", "BulkDataURI": "bulkdata/1"}}]}
    )
    assert study_values(bulk)["extra"] == ""
