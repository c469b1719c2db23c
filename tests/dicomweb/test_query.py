"""Query strings as queries."""

from urllib.parse import quote

import pytest

from app.dicom.attributes import Level
from app.dicom.rules import Between, Equal, Like, Name, Near, Rule, Several
from app.dicomweb.query import LONGEST, MOST_PARAMETERS, read_query
from app.errors import InvalidQuery

OHIF = (
    "PatientName=*v*&00100020=*7*&AccessionNumber=*A*&StudyDescription=*t*&ModalitiesInStudy=CT,MR"
    "&StudyDate=19700102-20261124&StudyInstanceUID=1.2%5C1.3&limit=101&offset=0"
    "&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
)
WEASIS = (
    "00100020=7&00100021=issuer&includefield=00080020,00080030,00080050,00080061,00080090,00081030,"
    "00100010,00100020,00100021,00100030,00100040,0020000D,00200010"
)


def rules(query_string: str) -> dict[str, Rule]:
    query = read_query(query_string.encode(), Level.STUDY)
    return {match.attribute.keyword: match.rule for match in query.matches}


def test_the_study_list_of_ohif_is_understood_in_one_go() -> None:
    query = read_query(OHIF.encode(), Level.STUDY)
    assert rules(OHIF) == {
        "PatientName": Name(("*v*",)),
        "PatientID": Like("*7*"),
        "AccessionNumber": Like("*A*"),
        "StudyDescription": Like("*t*"),
        "ModalitiesInStudy": Equal(("CT", "MR")),
        "StudyDate": Between("19700102", "20261124", True),
        "StudyInstanceUID": Equal(("1.2", "1.3")),
    }
    assert (query.limit, query.offset, query.warnings) == (101, 0, ())
    assert query.include >= {0x00081030, 0x00080060, 0x00080090, 0x00100030}
    assert not query.wants_extra(Level.STUDY)


def test_the_study_list_of_weasis_is_understood() -> None:
    query = read_query(WEASIS.encode(), Level.STUDY)
    assert set(rules(WEASIS)) == {"PatientID", "IssuerOfPatientID"}
    assert (query.limit, query.warnings) == (None, ())


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("A%2CB", "A,B"),  # G-26
        ("A%252CB", "A%2CB"),  # once only
        ("A+B", "A B"),
        ("A%2BB", "A+B"),
        ("M%C3%BCller", "Müller"),
        ("A%3DB", "A=B"),
        ("A=B", "A=B"),
        ("A%26B", "A&B"),
        ("A%ZZ", "A%ZZ"),
        ("A%00", "A"),
        ("A%20%20", "A"),
    ],
)
def test_values_are_decoded_once(encoded: str, value: str) -> None:
    assert rules(f"PatientID={encoded}") == {"PatientID": Equal((value,))}


@pytest.mark.parametrize(
    "query_string",
    [
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1.5",
        "limit=+1",
        "limit=9223372036854775808",  # Z-04
        f"limit=1{'0' * 30}",
        "limit=１",
        "offset=-1",
        "offset=x",
        "limit=1&limit=2",
        "fuzzymatching=maybe",
        "fuzzymatching=true&fuzzymatching=false",
        "StudyDate=garbage",
        "SeriesNumber=one",
        "RetrieveURL=x",  # known, but not matched
        "PatientID=A%00B",  # Z-07
        "PatientID=%FF%FE",
        "PatientID=A%0D%0AB",  # Z-03
        "%00=1",
        "%FF=1",
        f"PatientID={'x' * 9000}",  # Z-05
        f"x={'x' * LONGEST}",
        "&".join(f"a{n}=1" for n in range(MOST_PARAMETERS + 1)),
    ],
)
def test_what_is_malformed_is_refused(query_string: str) -> None:
    with pytest.raises(InvalidQuery):
        read_query(query_string.encode(), Level.STUDY)


@pytest.mark.parametrize(
    ("query_string", "warnings"),
    [
        ("PatientNme=x", ("The PatientNme parameter is not known and has been ignored.",)),  # G-09
        ("x%0D%0ASet-Cookie=1", None),
        ("a%22b=1", ("A parameter is not known and has been ignored.",)),  # Z-03
        ("_=1732400000", ()),
        ("_dc=1&accept=application/json&charset=utf-8", ()),
        (
            "includefield=Nonsense",
            ("The includefield Nonsense is not known and has been ignored.",),
        ),
        ("includefield=%22,", ("An includefield is not known and has been ignored.",)),
        ("fuzzymatching=true", ()),
        ("fuzzymatching=false", ()),
        (
            "includefield=SliceThickness",
            (
                "The includefield SliceThickness is not returned in a search for Studies and has "
                "been ignored.",
            ),
        ),
        ("includefield=Modality,NumberOfPatientRelatedStudies,00081190,PatientAge", ()),
        (
            "0010,0020=7",
            (
                "The 0010,0020 parameter is not known and has been ignored. Write a tag as eight "
                "hexadecimal digits.",
            ),
        ),
        ("emptyvaluematching=true&multiplevaluematching=TRUE", ()),
        ("", ()),
        ("&&", ()),
    ],
)
def test_what_is_not_heeded_is_told(query_string: str, warnings: tuple[str, ...] | None) -> None:
    if warnings is None:
        with pytest.raises(InvalidQuery):
            read_query(query_string.encode(), Level.STUDY)
    else:
        assert read_query(query_string.encode(), Level.STUDY).warnings == warnings


def test_fuzzy_matching_is_of_person_names_alone() -> None:
    found = rules("PatientName=Doe*&StudyDescription=Doe*&fuzzymatching=true")
    assert found["StudyDescription"] == Like("Doe*")
    assert isinstance(found["PatientName"], Near)
    assert found["PatientName"].name == Name(("doe*",))
    assert rules("PatientName=Doe*&fuzzymatching=false")["PatientName"] == Name(("doe*",))


@pytest.mark.parametrize(
    ("query_string", "tags"),
    [
        ("includefield=PatientAge", {0x00101010}),
        ("includefield=00101010", {0x00101010}),
        ("includefield=00101010,PatientSize", {0x00101010, 0x00101020}),
        ("includefield=00101010&includefield=PatientSize", {0x00101010, 0x00101020}),
        ("includefield=RequestAttributesSequence.ScheduledProcedureStepID", {0x00400275}),
        ("includefield=", set()),
        ("PatientAge=", {0x00101010}),
        ("PatientID=7", {0x00100020}),
        ("includefield=00091001", {0x00091001}),
    ],
)
def test_attributes_are_asked_for_in_every_form(query_string: str, tags: set[int]) -> None:
    query = read_query(query_string.encode(), Level.STUDY)
    assert query.include == tags
    assert not query.include_all


@pytest.mark.parametrize(
    "query_string", ["includefield=all", "includefield=PatientAge,all", "includefield=ALL"]
)
def test_all_attributes_may_be_asked_for(query_string: str) -> None:
    assert read_query(query_string.encode(), Level.STUDY).include_all


def test_a_private_element_comes_with_its_creator() -> None:
    query = read_query(b"00090010=ACME%201.0&includefield=00091001", Level.INSTANCE)
    assert query.creators == ((0x00090010, "ACME 1.0"),)
    assert query.matches == ()


def test_a_creator_whose_block_nothing_asks_for_is_a_key() -> None:
    query = read_query(b"00090010=ACME", Level.INSTANCE)
    assert [(match.attribute.path, match.rule) for match in query.unindexed] == [
        ((0x00090010,), Equal(("ACME",)))
    ]


def test_a_private_key_is_read_as_its_creator_means_it() -> None:
    query = read_query(b"00091027=7&00090010=GEMS_IDEN_01", Level.INSTANCE)
    assert [match.rule for match in query.unindexed] == [Equal((7,))]
    assert query.creators == ((0x00090010, "GEMS_IDEN_01"),)


def test_a_time_zone_is_no_key_but_says_how_the_others_are_meant() -> None:
    query = read_query(b"StudyTime=10&TimezoneOffsetFromUTC=+0100", Level.STUDY)
    assert query.zone == 60
    assert [match.attribute.keyword for match in query.matches] == ["StudyTime"]
    assert read_query(b"00080201=", Level.STUDY).zone is None


def test_a_key_given_twice_has_to_be_met_twice() -> None:
    query = read_query(b"PatientID=A&00100020=B", Level.STUDY)
    assert [match.rule for match in query.matches] == [Equal(("A",)), Equal(("B",))]


def test_flags_change_how_values_are_read_wherever_they_stand() -> None:
    value = quote('""')
    query = read_query(f"StudyDate={value}&emptyvaluematching=true".encode(), Level.STUDY)
    assert str(query.matches[0].rule) == "Empty()"
    query = read_query(b"Modality=CT,MR&multiplevaluematching=true", Level.STUDY)
    assert query.matches[0].rule == Several((Equal(("CT",)), Equal(("MR",))), every=True)


def test_the_path_says_below_what_is_searched() -> None:
    query = read_query(b"", Level.INSTANCE, "1.2", "1.2.3")
    assert (query.level, query.study, query.series) == (Level.INSTANCE, "1.2", "1.2.3")


@pytest.mark.parametrize("value", [b"%00", b"%00%00"])
def test_a_value_of_padding_alone_does_not_match_everything(value: bytes) -> None:  # Z-07
    with pytest.raises(InvalidQuery):
        read_query(b"PatientName=" + value, Level.STUDY)
