"""Searches against a real index: what matches, in which order, and how many there are."""

import warnings
from random import Random
from typing import Any

import pytest

from app.dicom.attributes import Level, split_members
from app.dicom.matching import Query, parse_match, parse_path
from app.dicom.rules import Match
from app.index.engine import Index
from app.index.instances import add_instances
from app.index.search import Found, count_matches, find_matches
from app.rights import Scope
from tests.index_factories import make_new_instance
from tests.searched_studies import NAMES, ROOT, STUDIES, UIDS, fill

REQUEST = "RequestAttributesSequence"


@pytest.fixture
async def filled(index: Index) -> Index:
    await fill(index)
    return index


def ask(level: Level = Level.STUDY, /, **parts: Any) -> Query:
    """Return a query; what is not a field of it is a key to match, `__` stands for a dot."""
    matches: list[Match] = []
    flags = {name: parts.pop(name, False) for name in ("every", "empty", "fuzzy")}
    fields = {name: parts.pop(name) for name in list(parts) if name in Query.__slots__}
    for key, value in parts.items():
        path = parse_path(key.replace("__", ".").removeprefix("_"))
        assert path is not None
        match = parse_match(path, value, **flags)
        matches += [match] if match else []
    return Query(level=level, matches=tuple(matches), **fields)


def uids(found: list[Found]) -> list[str]:
    lowest = [[part for part in row if part is not None][-1] for row in found]
    return [row[0] for row in lowest]


async def search(index: Index, query: Query, scope: Scope = Scope()) -> list[str]:  # noqa: B008
    return uids(await find_matches(index, scope, query, 100))


async def search_studies(index: Index, **parts: Any) -> set[str]:
    return {NAMES[uid] for uid in await search(index, ask(**parts))}


EVERYTHING = set(STUDIES)
# Q-46: the one Study that says its zone was made at 10:15 in +0900, at 01:15 UTC
ZONES: list[tuple[int, dict[str, Any], set[str]]] = [
    (0, {"StudyTime": "0115"}, {"yamada"}),
    (0, {"StudyTime": "1015"}, {"mueller"}),
    (540, {"StudyTime": "1015"}, {"mueller", "yamada"}),
    (-300, {"StudyDate": "20240229"}, {"mueller", "yamada"}),
    (-300, {"StudyDate": "20240301"}, set()),
    (-300, {"StudyDate": "20240229-", "StudyTime": "2000-"}, {"yamada"}),
    (-210, {"StudyTime": "2145"}, {"yamada"}),
    (-210, {"StudyDate": '""', "empty": True}, {"undated"}),
]
KEYS: list[tuple[dict[str, Any], set[str]]] = [
    # Q-12: whole, and in its own case
    ({"PatientID": "A_1"}, {"mueller"}),
    ({"PatientID": "AB1"}, {"yamada"}),
    ({"PatientID": "ab1"}, set()),
    ({"PatientID": "a_1"}, {"smith"}),  # Q-53: padding
    ({"PatientID": "A"}, set()),
    ({"AccessionNumber": "ACC1"}, {"mueller"}),
    ({"StudyID": "S2"}, {"yamada"}),
    ({"StudyDescription": "Thorax"}, {"smith"}),
    ({"IssuerOfPatientID": "Fileroom"}, EVERYTHING),
    ({"PatientSex": "F"}, EVERYTHING),
    ({"PatientBirthDate": "19700131"}, EVERYTHING),
    ({"NumberOfStudyRelatedInstances": "7"}, {"mueller"}),
    # Q-16: tags, in any case
    ({"_00100020": "A_1"}, {"mueller"}),
    ({"_0020000d": UIDS["smith"]}, {"smith"}),
    # Q-18, Q-19
    ({"StudyInstanceUID": f"{UIDS['smith']},{UIDS['yamada']}"}, {"smith", "yamada"}),
    ({"StudyInstanceUID": f"{UIDS['smith']}\\{UIDS['yamada']}"}, {"smith", "yamada"}),
    ({"StudyInstanceUID": "1.2.3"}, set()),
    # Q-20, Q-21, Q-22
    ({"StudyDescription": "Thorax*"}, {"mueller", "smith"}),
    ({"StudyDescription": "*KM"}, {"mueller"}),
    ({"StudyDescription": "?opf"}, {"yamada"}),
    ({"StudyDescription": "thorax*"}, set()),
    ({"StudyDescription": "*100%*"}, {"mueller"}),
    ({"StudyDescription": "*0%m*"}, set()),
    ({"StudyDescription": "*"}, EVERYTHING),
    ({"PatientID": "A?1"}, {"mueller", "yamada"}),
    ({"PatientID": "A_*"}, {"mueller"}),
    ({"PatientID": "x'; DROP TABLE study; --"}, {"undated"}),
    ({"PatientID": "*'; DROP*"}, {"undated"}),
    ({"AccessionNumber": "ACC[4]"}, {"undated"}),
    ({"AccessionNumber": "ACC[1-4]*"}, set()),
    ({"AccessionNumber": "ACC*"}, {"mueller", "yamada", "undated"}),
    ({"StudyID": "S.*"}, {"undated"}),
    ({"StudyDescription": "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"}, set()),  # Z-08
    # Q-23
    ({"StudyDate": "20240229"}, {"mueller"}),
    ({"StudyDate": "2024.02.29"}, {"mueller"}),
    ({"StudyDate": "20240101-20240229"}, {"mueller"}),
    ({"StudyDate": "20240229-"}, {"mueller", "yamada"}),
    ({"StudyDate": "-20240229"}, {"mueller", "smith"}),
    ({"StudyDate": "20240302-20240228"}, set()),
    # Q-24
    ({"StudyTime": "101530.25"}, {"mueller"}),
    ({"StudyTime": "1015"}, {"mueller", "yamada"}),
    ({"StudyTime": "101530"}, {"mueller"}),
    ({"StudyTime": "10:15:00"}, {"yamada"}),
    ({"StudyTime": "10-1015"}, {"mueller", "yamada"}),
    ({"StudyTime": "1016-"}, {"smith"}),
    ({"StudyTime": "-10"}, {"mueller", "yamada"}),
    ({"StudyTime": "23"}, {"smith"}),
    # Q-25: both ranges together are one
    ({"StudyDate": "20231231-20240229", "StudyTime": "2300-1014"}, {"smith"}),
    ({"StudyDate": "20231231-20240229", "StudyTime": "2300-1016"}, {"smith", "mueller"}),
    ({"StudyDate": "20240229-", "StudyTime": "1016-"}, {"yamada"}),
    ({"StudyDate": "-20240229", "StudyTime": "-1014"}, {"smith"}),
    ({"StudyDate": "20240229", "StudyTime": "1016-"}, set()),
    # Q-40, Q-41, Q-42, Q-53, Q-61
    ({"PatientName": "Müller^Änne"}, {"mueller"}),
    ({"PatientName": "muller^anne"}, {"mueller"}),
    ({"PatientName": "MU\u0308LLER^A\u0308NNE^^"}, {"mueller"}),
    ({"PatientName": "Müller"}, set()),
    ({"PatientName": "Smith^John"}, {"smith"}),
    ({"PatientName": "smith*"}, {"smith"}),
    ({"PatientName": "*john"}, {"smith"}),
    ({"PatientName": "*ohn"}, {"smith"}),
    ({"PatientName": "s*n"}, {"smith"}),
    ({"PatientName": "s?ith^john"}, {"smith"}),
    ({"PatientName": "*a*"}, {"mueller", "yamada"}),
    ({"PatientName": "山田^太郎"}, {"yamada"}),
    ({"PatientName": "山*"}, {"yamada"}),
    ({"PatientName": "やまだ*"}, {"yamada"}),
    ({"PatientName": "*たろう"}, {"yamada"}),
    ({"PatientName": "yamada*=山田*"}, {"yamada"}),
    ({"PatientName": "=山田^太郎"}, {"yamada"}),
    ({"PatientName": "==やまだ*"}, {"yamada"}),
    ({"PatientName": "山田*=yamada*"}, set()),
    ({"PatientName": "y*郎"}, set()),  # a wildcard stays in its group
    ({"PatientName": "?amada^tarou"}, {"yamada"}),
    ({"PatientName": "*%*"}, set()),
    ({"PatientName": "*_*"}, set()),
    ({"PatientName": "(*"}, set()),
    ({"PatientName": "s*[h]*"}, set()),
    ({"PatientName": "s*\\d*"}, {"smith"}),  # a list of two, of which `d*` matches none
    ({"PatientName": "^="}, EVERYTHING),
    ({"ReferringPhysicianName": "doe*"}, {"mueller"}),
    # Q-47: of any Series; a list is any of its values
    ({"ModalitiesInStudy": "SR"}, {"mueller", "undated"}),
    ({"ModalitiesInStudy": "CT,MR"}, {"mueller", "yamada"}),
    ({"ModalitiesInStudy": "CT\\MR"}, {"mueller", "yamada"}),
    ({"ModalitiesInStudy": "P*"}, {"mueller", "smith"}),
    ({"ModalitiesInStudy": "CT,M*"}, {"mueller", "yamada"}),
    ({"ModalitiesInStudy": "ct"}, set()),
    ({"ModalitiesInStudy": "CT,SR", "every": True}, {"mueller"}),  # Q-38
    ({"ModalitiesInStudy": "C*,SR", "every": True}, {"mueller"}),
    ({"AccessionNumber": "ACC1\\ACC2"}, {"mueller", "yamada"}),
    ({"AccessionNumber": "ACC1\\*[4]"}, {"mueller", "undated"}),
    ({"AccessionNumber": "ACC1\\ACC2", "every": True}, set()),
    ({"ModalitiesInStudy": "CT,MR", "every": True}, set()),
    ({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.88.11"}, {"mueller"}),
    (
        {
            "SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.88.11,1.2.840.10008.5.1.4.1.1.2",
            "every": True,
        },
        {"mueller"},
    ),
    # Q-37
    ({"AccessionNumber": '""', "empty": True}, {"smith"}),
    ({"StudyDate": '""', "empty": True}, {"undated"}),
    ({"PatientName": '""', "empty": True}, {"undated"}),
    ({"ModalitiesInStudy": '""', "empty": True}, set()),
    ({"AccessionNumber": '""'}, set()),
    # Q-36
    ({"PatientName": "smyth", "fuzzy": True}, {"smith"}),
    ({"PatientName": "Jon Schmitt", "fuzzy": True}, {"smith"}),
    ({"PatientName": "anne^mueller", "fuzzy": True}, {"mueller"}),
    ({"PatientName": "Mulelr", "fuzzy": True}, {"mueller"}),
    ({"PatientName": "*üll*", "fuzzy": True}, {"mueller"}),  # what matches literally still does
    ({"PatientName": "*mi?h*", "fuzzy": True}, {"smith"}),
    ({"PatientName": "Taro Yamada", "fuzzy": True}, {"yamada"}),
    ({"PatientName": "山田太郎", "fuzzy": True}, {"yamada"}),
    ({"PatientName": "ヤマダ", "fuzzy": True}, {"yamada"}),
    ({"PatientName": "smith^anne", "fuzzy": True}, set()),
    ({"PatientName": "schmidt\\miller", "fuzzy": True}, {"smith", "mueller"}),
    ({"PatientName": "schmidt\\john", "fuzzy": True, "every": True}, {"smith"}),
    ({"PatientName": '""', "fuzzy": True, "empty": True}, {"undated"}),
    ({"PatientName": "-*", "fuzzy": True}, set()),  # no word: literal
    ({"ReferringPhysicianName": "dough", "fuzzy": True}, set()),
    ({"ReferringPhysicianName": "jayne", "fuzzy": True}, {"mueller"}),
    ({"StudyDescription": "torax", "fuzzy": True}, set()),
    ({"PatientName": "smyth", "PatientID": "a_1", "fuzzy": True}, {"smith"}),
    # Q-49, Q-26
    ({"PatientID": "A_1", "StudyDate": "20240229"}, {"mueller"}),
    ({"PatientID": "A_1", "StudyDate": "20240301"}, set()),
    ({"PatientID": "", "StudyDate": "20240301"}, {"yamada"}),
    # keys of lower levels ask for one child that meets them all
    ({"Modality": "SR"}, {"mueller", "undated"}),
    ({"Modality": "SR", "SeriesNumber": "3"}, {"mueller"}),
    ({"Modality": "CT", "SeriesNumber": "3"}, set()),
    ({"SOPInstanceUID": f"{UIDS['smith']}.1.1"}, {"smith"}),
    ({"SeriesInstanceUID": f"{UIDS['smith']}.1", "InstanceNumber": "1"}, {"smith"}),
    ({"SeriesInstanceUID": f"{UIDS['smith']}.1", "InstanceNumber": "2"}, set()),
]


async def test_studies_are_found_by_their_keys(filled: Index) -> None:
    wrong = {
        str(keys): found
        for keys, expected in KEYS
        if (found := await search_studies(filled, **keys)) != expected
    }
    assert wrong == {}


@pytest.mark.parametrize(("zone", "keys", "expected"), ZONES)
async def test_dates_and_times_are_meant_in_the_zone_of_the_request(
    filled: Index, zone: int, keys: dict[str, Any], expected: set[str]
) -> None:
    assert await search_studies(filled, zone=zone, **keys) == expected


SERIES: list[tuple[dict[str, Any], list[str] | None]] = [
    ({"study": UIDS["mueller"]}, ["mueller.2", "mueller.1", "mueller.3"]),
    ({"Modality": "MR"}, ["yamada.1"]),
    ({"Modality": "CT,MR"}, ["yamada.1", "mueller.1"]),
    ({"SeriesNumber": "07"}, ["yamada.1", "mueller.1", "smith.1", "undated.1"]),  # Q-51
    ({"SeriesNumber": '""', "empty": True}, ["mueller.3"]),
    ({"SeriesInstanceUID": f"{UIDS['smith']}.1"}, ["smith.1"]),
    ({"PerformedProcedureStepStartDate": "20240101-"}, ["mueller.2"]),
    ({"PerformedProcedureStepStartTime": "10"}, ["mueller.2"]),
    ({f"{REQUEST}__ScheduledProcedureStepID": "STEP2"}, ["mueller.2"]),  # Q-14, Q-17, Q-52
    ({"_00400275__00401001": "P?"}, ["mueller.2"]),
    ({f"{REQUEST}__00401001": "P2"}, []),
    ({f"{REQUEST}__ScheduledProcedureStepID": "STEP1\\STEP2", "every": True}, ["mueller.2"]),
    ({f"{REQUEST}__ScheduledProcedureStepID": "STEP1\\STEP9"}, ["mueller.2"]),
    ({"PatientName": "*yama*"}, ["yamada.1"]),
    ({"study": UIDS["mueller"], "Modality": "SR"}, ["mueller.2"]),
    ({"study": UIDS["mueller"], "SOPInstanceUID": f"{UIDS['mueller']}.1.4"}, ["mueller.1"]),
    ({"study": UIDS["smith"], "PatientID": "A_1"}, []),
    ({"study": "1.2.3"}, []),  # Q-58
    ({"BodyPartExamined": "CHEST", "StationName": "CT*", "Manufacturer": "*Works"}, None),
    ({"SeriesDescription": "*B30f", "InstitutionName": "Universitäts*"}, None),
]


async def test_series_are_found_in_the_order_of_their_numbers(filled: Index) -> None:
    every = ["yamada.1", "mueller.2", "mueller.1", "mueller.3", "smith.1", "undated.1"]
    for keys, expected in SERIES:
        found = await search(filled, ask(Level.SERIES, **keys))
        named = [f"{NAMES[uid.rpartition('.')[0]]}.{uid.rpartition('.')[2]}" for uid in found]
        assert named == (every if expected is None else expected), keys


INSTANCES: list[tuple[dict[str, Any], int]] = [
    ({"study": UIDS["mueller"]}, 7),
    ({"study": UIDS["mueller"], "series": f"{UIDS['mueller']}.1"}, 5),
    ({"study": UIDS["smith"], "series": f"{UIDS['mueller']}.1"}, 0),
    ({"InstanceNumber": "01"}, 5),
    ({"InstanceNumber": '""', "empty": True}, 1),
    ({"SOPInstanceUID": f"{UIDS['mueller']}.1.3"}, 1),
    ({"SOPInstanceUID": ",".join(f"{UIDS['mueller']}.1.{n}" for n in range(2, 5))}, 3),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, 1),
    ({"Rows": "16"}, 9),
    ({"Rows": "99999999999"}, 0),
    ({"Modality": "SR", "PatientName": "mu*"}, 1),
    ({"AvailableTransferSyntaxUID": "1.2.840.10008.1.2.1"}, 10),
]


async def test_instances_are_found_at_all_depths(filled: Index) -> None:
    for keys, expected in INSTANCES:
        assert len(await search(filled, ask(Level.INSTANCE, **keys))) == expected, keys


async def test_instances_of_a_series_come_in_the_order_of_their_numbers(filled: Index) -> None:
    series = f"{UIDS['mueller']}.1"
    query = ask(Level.INSTANCE, study=UIDS["mueller"], series=series)
    assert await search(filled, query) == [f"{series}.{number}" for number in range(1, 6)]


async def test_studies_come_newest_first_and_undated_ones_last(filled: Index) -> None:
    found = await search(filled, ask())
    assert [NAMES[uid] for uid in found] == ["yamada", "mueller", "smith", "undated"]


@pytest.mark.parametrize("level", Level)
async def test_pages_are_disjoint_and_complete_near_and_far(index: Index, level: Level) -> None:
    new = [
        make_new_instance(
            StudyInstanceUID=f"{ROOT}.{number}",
            SeriesInstanceUID=f"{ROOT}.{number}.1",
            SOPInstanceUID=f"{ROOT}.{number}.1.1",
            StudyDate="20240229" if number % 3 else "20240301",
        )
        for number in range(1, 261)
    ]
    async with index.writing() as connection:
        await add_instances(connection, 1, "test", new)
    whole = uids(await find_matches(index, Scope(), ask(level), 1000))
    pages: list[str] = []
    for offset in range(0, 300, 50):  # Q-32: beyond 200 the page is found by keys first
        pages += uids(await find_matches(index, Scope(), ask(level, offset=offset), 50))
    assert pages == whole
    assert len(set(whole)) == 260
    assert await search(index, ask(level, offset=260)) == []  # Q-34
    assert await search(index, ask(level, offset=2**63 - 1)) == []  # Z-04


async def test_the_longest_values_fit_the_index_and_are_found(index: Index) -> None:
    random = Random(3)

    def long(count: int) -> str:  # of four bytes each, so that nothing packs them well
        return "".join(chr(random.randrange(0x20000, 0x2A6D6)) for _ in range(count))

    name = "=".join(long(200) for _ in range(3))
    keys: dict[str, Any] = {
        "PatientID": long(300),
        "AccessionNumber": long(300),
        "StudyDescription": long(300),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's: these values are too long
        new = make_new_instance(PatientName=name, IssuerOfPatientID=long(300), **keys)
    async with index.writing() as connection:
        await add_instances(connection, 1, "test", [new])
    assert len(await search(index, ask(PatientName=name))) == 1
    assert len(await search(index, ask(**keys))) == 1


@pytest.mark.parametrize(
    ("skip", "most", "counted"), [(0, 100, 4), (1, 100, 3), (0, 2, 2), (4, 100, 0), (9, 9, 0)]
)
async def test_remaining_matches_are_counted_up_to_a_bound(
    filled: Index, skip: int, most: int, counted: int
) -> None:
    assert await count_matches(filled, Scope(), ask(), skip, most) == counted


@pytest.mark.parametrize("level", Level)
async def test_a_scope_hides_the_studies_that_it_does_not_name(filled: Index, level: Level) -> None:
    few = Scope(studies=frozenset({UIDS["smith"], "1.2.3"}))
    found = await find_matches(filled, few, ask(level), 100)
    assert [row.study.study_instance_uid for row in found] == [UIDS["smith"]]
    assert await count_matches(filled, few, ask(level), 0, 100) == 1
    assert await search(filled, ask(level), Scope(studies=frozenset())) == []
    assert await search(filled, ask(level), Scope(tenant_id=2)) == []


async def test_counts_of_a_patient_stay_within_the_scope(filled: Index) -> None:
    query = ask(include=frozenset({0x00201200}), PatientID="A_1")
    (found,) = await find_matches(filled, Scope(), query, 10)
    counts = (
        found.study.patient_studies,
        found.study.patient_series,
        found.study.patient_instances,
    )
    assert counts == (1, 3, 7)


async def test_documents_are_read_only_where_they_are_wanted(filled: Index) -> None:
    inner = ask(Level.INSTANCE, study=UIDS["mueller"], series=f"{UIDS['mueller']}.1")
    (found, *_) = await find_matches(filled, Scope(), inner, 1)
    assert found.series is not None
    assert found.instance is not None
    assert (found.study.document, found.series.document) == ("", "")
    assert found.instance.metadata == b""
    (found,) = await find_matches(filled, Scope(), ask(Level.INSTANCE), 1)
    assert found.series is not None
    assert len(split_members(found.study.document)) > 10
    assert len(split_members(found.series.document)) > 10
