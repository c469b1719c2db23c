"""Query values as rules of matching."""

from typing import Any

import pytest

from app.dicom.attributes import Level
from app.dicom.matching import (
    Query,
    is_private_creator,
    name_path,
    parse_match,
    parse_path,
    parse_zone,
)
from app.dicom.rules import Between, Empty, Equal, Like, Name, Rule, Several
from app.errors import InvalidQuery


def parse(key: str, value: str, **flags: Any) -> Rule | None:
    path = parse_path(key)
    assert path is not None
    match = parse_match(path, value, **flags)
    return match.rule if match else None


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("PatientName", (0x00100010,)),
        ("00100010", (0x00100010,)),
        ("0020000d", (0x0020000D,)),
        ("RequestAttributesSequence.ScheduledProcedureStepID", (0x00400275, 0x00400009)),
        ("00400275.00400009", (0x00400275, 0x00400009)),
        ("00400275.RequestedProcedureID", (0x00400275, 0x00401001)),
        ("00091001", (0x00091001,)),
        ("patientname", None),
        ("PatientName.", None),
        ("", None),
        ("0010001", None),
        ("0010001０", None),
        ("_", None),
    ],
)
def test_keywords_and_tags_name_the_same_attribute(key: str, path: tuple[int, ...] | None) -> None:
    assert parse_path(key) == path


def test_a_path_is_named_by_keywords_where_there_are_any() -> None:
    assert name_path((0x00400275, 0x00091001)) == "RequestAttributesSequence.00091001"


@pytest.mark.parametrize(
    ("tag", "creator"),
    [(0x00090010, True), (0x000900FF, True), (0x00091010, False), (0x00080010, False)],
)
def test_private_creators_are_known_by_their_tags(tag: int, creator: bool) -> None:
    assert is_private_creator((tag,)) is creator


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("PatientID", " A1 ", Equal(("A1",))),
        ("PatientID", "A1\0", Equal(("A1",))),
        ("PatientID", "A*", Like("A*")),
        ("PatientID", "A?", Like("A?")),
        ("PatientID", "A,B", Equal(("A,B",))),  # a comma is text
        ("AccessionNumber", "A\\B*", Several((Equal(("A",)), Like("B*")))),
        ("AccessionNumber", "\\", Equal(("\\",))),
        ("Modality", "CT,MR", Equal(("CT", "MR"))),
        ("ModalitiesInStudy", "CT\\MR", Equal(("CT", "MR"))),
        ("Modality", "C*,MR,CT", Several((Equal(("MR", "CT")), Like("C*")))),
        ("Modality", "CT,", Equal(("CT",))),
        ("StudyInstanceUID", "1.2,1.3", Equal(("1.2", "1.3"))),
        ("StudyInstanceUID", "1.2\\1.3,1.2", Equal(("1.2", "1.3"))),
        ("SOPClassUID", "1.2.0840", Equal(("1.2.0840",))),
        ("SeriesNumber", "007", Equal((7,))),
        ("InstanceNumber", "-1", Equal((-1,))),
        ("Rows", "512", Equal((512,))),
        ("StudyDate", "20240229", Between("20240229", "20240229")),
        ("StudyDate", "2024.02.29", Between("20240229", "20240229")),
        ("StudyDate", "20240101-20240131", Between("20240101", "20240131", True)),
        ("StudyDate", "20240101-", Between("20240101", "", True)),
        ("StudyDate", " - 20240131", Between("", "20240131", True)),
        ("StudyTime", "10", Between("100000", "105959.999999")),
        ("StudyTime", "1015", Between("101500", "101559.999999")),
        ("StudyTime", "101530", Between("101530", "101530.999999")),
        ("StudyTime", "101530.5", Between("101530.5", "101530.5")),
        ("StudyTime", "10-1130", Between("100000", "113059.999999", True)),
        ("StudyTime", "-10:15", Between("", "101559.999999", True)),
        ("StudyTime", "1015-", Between("101500", "", True)),
        ("PatientName", "Müller^Änne^^", Name(("muller^anne",))),
        ("PatientName", "SMI*", Name(("smi*",))),
        ("PatientName", "a=b=", Name(("a", "b"))),
        ("PatientName", "Doe\\Roe", Several((Name(("doe",)), Name(("roe",))))),
    ],
)
def test_a_value_becomes_a_rule(key: str, value: str, rule: Rule) -> None:
    assert parse(key, value) == rule


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PatientID", ""),
        ("PatientID", "  "),
        ("PatientID", "*"),
        ("PatientID", "**"),
        ("PatientName", "^="),
        ("StudyDate", ""),
        ("SliceThickness", ""),  # returned, not matched
        ("00091001", "*"),
    ],
)
def test_no_value_and_a_star_alone_match_everything(key: str, value: str) -> None:
    assert parse(key, value) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("StudyDate", "garbage"),
        ("StudyDate", "2024"),
        ("StudyDate", "20240230"),
        ("StudyDate", "2024*"),
        ("StudyDate", "*"),
        ("StudyDate", "-"),
        ("StudyDate", "20240101-x"),
        ("StudyDate", "x-20240101"),
        ("StudyDate", "2024-01-01"),
        ("StudyTime", "25"),
        ("StudyTime", "noon"),
        ("StudyInstanceUID", "1.2.*"),
        ("StudyInstanceUID", "abc"),
        ("StudyInstanceUID", ","),
        ("StudyInstanceUID", "1" * 65),
        ("SeriesNumber", "one"),
        ("SeriesNumber", "1*"),
        ("SeriesNumber", "9" * 20),
        ("InstanceNumber", "1.5"),
        ("PatientID", "x" * 1025),
        ("PatientID", "\\".join("abcdefgh" * 20)),
        ("StudyInstanceUID", ",".join(f"1.2.{n}" for n in range(2001))),
        ("PatientName.PatientID", "x"),
        ("PatientName.PatientID", '""'),
        ("TransferSyntaxUID", "1.2"),  # of the file, not of the Data Set
        ("RetrieveURL", "x"),
        ("InstanceAvailability", "ONLINE"),
        ("RequestAttributesSequence", "x"),
        ("PixelData", "x"),
        ("SliceThickness", "thick"),
        ("SliceThickness", "1_0"),
        ("SliceThickness", "*"),
        ("AcquisitionNumber", "1.5"),
        ("AcquisitionDateTime", "2024-02-29"),
        ("AcquisitionDateTime", "20240229+0100"),
        ("AcquisitionDateTime", "20240230"),
        ("AcquisitionDateTime", "-"),
    ],
)
def test_a_value_that_cannot_be_matched_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidQuery):
        parse(key, value)


def test_a_name_of_endless_words_is_refused_where_each_is_looked_for() -> None:
    assert parse("PatientName", "a " * 25) is not None
    with pytest.raises(InvalidQuery, match="24 words"):
        parse("PatientName", "a " * 25, fuzzy=True)
    assert parse("PatientName", "*^*-?", fuzzy=True) == Name(("*^*-?",))  # no word: as it stands


def test_a_query_knows_which_of_its_matches_have_no_column() -> None:
    both = [parse_match(path, "1") for path in ((0x00200013,), (0x00200012,))]
    query = Query(Level.INSTANCE, matches=tuple(match for match in both if match))
    assert [match.attribute.keyword for match in query.unindexed] == ["AcquisitionNumber"]


def test_why_an_attribute_is_not_matched_is_told() -> None:
    with pytest.raises(InvalidQuery, match=r"RetrieveURL cannot be matched: no object"):
        parse("RetrieveURL", "x")
    with pytest.raises(InvalidQuery, match=r"PixelData cannot be matched: its VR is OW"):
        parse("PixelData", "x")


@pytest.mark.parametrize(
    ("key", "level", "vr"),
    [
        ("SliceThickness", Level.INSTANCE, "DS"),
        ("PatientAge", Level.STUDY, "AS"),
        ("ProtocolName", Level.SERIES, "LO"),
        ("OtherPatientIDsSequence.PatientID", Level.STUDY, "LO"),
        ("00400275.00400007", Level.SERIES, "LO"),
        ("00091001", Level.INSTANCE, "UN"),
        ("00091001.00091002", Level.INSTANCE, "UN"),
        ("SmallestImagePixelValue", Level.INSTANCE, "US"),
        ("7FFE0001", Level.INSTANCE, "UN"),
    ],
)
def test_an_attribute_without_a_column_is_known_by_the_dictionary(
    key: str, level: Level, vr: str
) -> None:
    path = parse_path(key)
    assert path is not None
    match = parse_match(path, "5" if vr != "AS" else "005Y")
    assert match is not None
    attribute = match.attribute
    assert (attribute.level, attribute.vr, attribute.column) == (level, vr, None)


def test_a_private_attribute_is_known_by_its_creator() -> None:
    creators = {0x00090010: "GEMS_IDEN_01"}
    match = parse_match((0x00091027,), "7", creators=creators)  # SL
    assert match is not None
    assert (match.attribute.vr, match.rule) == ("SL", Equal((7,)))
    match = parse_match((0x00091001,), "A*", creators=creators)  # LO
    assert match is not None
    assert match.rule == Like("A*")


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("SliceThickness", "5", Equal((5.0,))),
        ("SliceThickness", "-.5e1", Equal((-5.0,))),
        ("PatientAge", "054y", Equal(("054Y",))),
        ("FrameIncrementPointer", "0018,1063", Equal(("00181063",))),
        ("PatientComments", "a\\b", Equal(("a\\b",))),
        ("ImageType", "ORIGINAL\\AXIAL", Equal(("ORIGINAL", "AXIAL"))),
        ("AcquisitionDateTime", "2024", Between("20240101000000", "2024~")),
        ("AcquisitionDateTime", "202402-", Between("20240201000000", "", True)),
        (
            "AcquisitionDateTime",
            "-20240229101530.5",
            Between("", "20240229101530.5", True),
        ),
        ("00091001", "x*", Like("x*")),
        ("00091001", "5", Equal(("5",))),
    ],
)
def test_attributes_without_a_column_have_rules_by_their_vr(
    key: str, value: str, rule: Rule
) -> None:
    assert parse(key, value) == rule


def test_messages_do_not_repeat_the_value() -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse("SeriesNumber", "Müller")
    assert "Müller" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("Modality", "CT,MR", Several((Equal(("CT",)), Equal(("MR",))), every=True)),
        ("SOPClassesInStudy", "1.2,1.3", Several((Equal(("1.2",)), Equal(("1.3",))), every=True)),
        ("SOPClassesInStudy", "1.2", Equal(("1.2",))),
    ],
)
def test_all_of_several_values_may_be_asked_for(key: str, value: str, rule: Rule) -> None:
    assert parse(key, value, every=True) == rule


def test_two_quotes_mean_no_value_only_where_that_is_asked_for() -> None:
    assert parse("PatientID", '""', empty=True) == Empty()
    assert parse("PatientID", '""') == Equal(('""',))


@pytest.mark.parametrize(
    ("value", "minutes"),
    [("+0100", 60), (" 0100", 60), ("-0330", -210), ("+1400", 840), ("+0000", 0), ("", None)],
)
def test_a_time_zone_is_minutes_east_of_utc(value: str, minutes: int | None) -> None:
    assert parse_zone(value) == minutes


@pytest.mark.parametrize("value", ["Z", "+1", "+01:00", "+0160", "+1500", "*", "+0100-0200"])
def test_what_is_no_time_zone_is_refused(value: str) -> None:
    with pytest.raises(InvalidQuery):
        parse_zone(value)


INCLUDES: list[tuple[dict[str, Any], set[Level], bool, bool]] = [
    # fields of the query; the levels it answers with, extra attributes, the Metadata
    ({"level": Level.STUDY}, {Level.STUDY}, False, False),
    ({"level": Level.SERIES}, {Level.STUDY, Level.SERIES}, False, False),
    ({"level": Level.SERIES, "study": "1"}, {Level.SERIES}, False, False),
    ({"level": Level.INSTANCE}, set(Level), False, False),
    ({"level": Level.INSTANCE, "study": "1"}, {Level.SERIES, Level.INSTANCE}, False, False),
    ({"level": Level.INSTANCE, "study": "1", "series": "2"}, {Level.INSTANCE}, False, False),
    ({"level": Level.STUDY, "include": {0x00080060}}, {Level.STUDY}, False, False),
    ({"level": Level.STUDY, "include": {0x00081030}}, {Level.STUDY}, False, False),
    # Weasis asks for the Retrieve URL of a Series, which Studies have too
    (
        {"level": Level.SERIES, "study": "1", "include": {0x00081190, 0x0020000D, 0x00080060}},
        {Level.SERIES},
        False,
        False,
    ),
    ({"level": Level.STUDY, "include": {0x00101010}}, {Level.STUDY}, True, False),
    ({"level": Level.STUDY, "include_all": True}, {Level.STUDY}, True, False),
    (
        {"level": Level.SERIES, "study": "1", "include": {0x00100010}},
        {Level.STUDY, Level.SERIES},
        False,
        False,
    ),
    ({"level": Level.SERIES, "study": "1", "include": {0x00181030}}, {Level.SERIES}, True, False),
    (
        {"level": Level.INSTANCE, "study": "1", "series": "2", "include": {0x00180050}},
        {Level.INSTANCE},
        False,
        True,
    ),
    (
        {"level": Level.INSTANCE, "study": "1", "series": "2", "include": {0x00280010}},
        {Level.INSTANCE},
        False,
        False,
    ),
    (
        {"level": Level.INSTANCE, "study": "1", "series": "2", "include_all": True},
        set(Level),
        False,
        True,
    ),
]


@pytest.mark.parametrize(("fields", "levels", "extra", "metadata"), INCLUDES)
def test_a_query_knows_what_its_answers_hold(
    fields: dict[str, Any], levels: set[Level], extra: bool, metadata: bool
) -> None:
    query = Query(**{**fields, "include": frozenset(fields.get("include", ()))})
    assert {level for level in Level if query.wants(level)} == levels
    assert query.wants_extra(query.level) is extra
    assert query.wants_metadata() is metadata
