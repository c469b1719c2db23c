"""Searches over HTTP, as viewers send them."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.archive.search import SearchResult
from app.dicomweb.qido import search_warnings
from app.index.instances import add_instances
from tests.factories import make_dataset
from tests.index_factories import make_new_instance

ROOT = "1.2.826.0.1.3680043.8.498.7"
BASE = "http://127.0.0.1:8080/dicom-web"
STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"


async def fill(app: FastAPI, *several: dict[str, Any]) -> None:
    new = [make_new_instance(**keywords) for keywords in several]
    async with app.state.archive.index.writing() as connection:
        await add_instances(connection, 1, "test", new)


def make_request() -> Any:
    item = make_dataset(Rows=None)
    item.clear()
    item.ScheduledProcedureStepID = "STEP1"
    return item


@pytest.fixture
async def filled(app: FastAPI, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """An archive of three Studies; the one of interest has a Series of three Instances."""
    shared = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "PatientAge": "054Y"}
    rest = {
        "TimezoneOffsetFromUTC": "+0100",
        "RequestAttributesSequence": [make_request()],
        "ProtocolName": "Routine",
        "NumberOfFrames": 2,
    }
    await fill(
        app,
        *(
            {**shared, **rest, "SOPInstanceUID": f"{SERIES}.{n}", "InstanceNumber": n}
            for n in (3, 1, 2)
        ),
        {"StudyInstanceUID": f"{ROOT}.2", "StudyDate": "20240301", "PatientID": "B"},
        {"StudyInstanceUID": f"{ROOT}.3", "StudyDate": "20240101", "PatientID": "C"},
    )
    return client


async def get(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/dicom+json"
    rows: list[dict[str, Any]] = answer.json()
    assert isinstance(rows, list)
    for row in rows:
        assert list(row) == sorted(row)  # J-02
        assert all(element.get("Value") != [] for element in row.values())  # J-07
    return rows


def value(row: dict[str, Any], tag: str) -> Any:
    return row[tag].get("Value", [None])[0]


async def test_a_study_is_answered_with_all_that_the_standard_names(
    filled: httpx.AsyncClient,
) -> None:
    (row,) = await get(filled, f"/studies?StudyInstanceUID={STUDY}")
    assert row == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20240229"]},
        "00080030": {"vr": "TM", "Value": ["101530"]},
        "00080050": {"vr": "SH", "Value": ["A0001"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00080062": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "00080201": {"vr": "SH", "Value": ["+0100"]},
        "00081030": {"vr": "LO", "Value": ["Thorax mit KM"]},
        "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/{STUDY}"]},
        "00100010": {
            "vr": "PN",
            "Value": [
                {
                    "Alphabetic": "Müller^Änne",
                    "Ideographic": "山田^花子",
                    "Phonetic": "やまだ^はなこ",
                }
            ],
        },
        "00100020": {"vr": "LO", "Value": ["FR-0001"]},
        "00100021": {"vr": "LO", "Value": ["Fileroom"]},
        "00100030": {"vr": "DA", "Value": ["19700131"]},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "00200010": {"vr": "SH", "Value": ["S1"]},
        "00201206": {"vr": "IS", "Value": [1]},
        "00201208": {"vr": "IS", "Value": [3]},
    }


async def test_a_series_is_answered_with_all_that_the_standard_names(
    filled: httpx.AsyncClient,
) -> None:
    (row,) = await get(filled, f"/studies/{STUDY}/series")
    assert row["00400275"]["Value"][0]["00400009"]["Value"] == ["STEP1"]
    expected = {
        "00080056": "ONLINE",
        "00080060": "CT",
        "00080201": "+0100",
        "0008103E": "Axial 5.0 B30f",
        "00081190": f"{BASE}/studies/{STUDY}/series/{SERIES}",
        "0020000D": STUDY,
        "0020000E": SERIES,
        "00200011": 2,
        "00201209": 3,
        "00400244": None,
        "00400245": None,
    }
    assert {tag: value(row, tag) for tag in expected} == expected
    assert "00100010" not in row


async def test_an_instance_is_answered_with_all_that_the_standard_names(
    filled: httpx.AsyncClient,
) -> None:
    rows = await get(filled, f"/studies/{STUDY}/series/{SERIES}/instances")
    assert [value(row, "00200013") for row in rows] == [1, 2, 3]
    assert rows[0] == {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": [f"{SERIES}.1"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080201": {"vr": "SH", "Value": ["+0100"]},
        "00081190": {
            "vr": "UR",
            "Value": [f"{BASE}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1"],
        },
        "00083002": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "0020000E": {"vr": "UI", "Value": [SERIES]},
        "00200013": {"vr": "IS", "Value": [1]},
        "00280008": {"vr": "IS", "Value": [2]},
        "00280010": {"vr": "US", "Value": [16]},
        "00280011": {"vr": "US", "Value": [16]},
        "00280100": {"vr": "US", "Value": [16]},
    }


async def test_an_instance_without_image_or_number_says_so(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await fill(app, {"StudyInstanceUID": STUDY, "InstanceNumber": None, "Rows": None})
    (row,) = await get(client, "/instances")
    assert row["00200013"] == {"vr": "IS"}
    assert "00280010" not in row


async def test_relational_searches_add_the_levels_above(filled: httpx.AsyncClient) -> None:
    #
    series = await get(filled, f"/series?SeriesInstanceUID={SERIES}")
    assert {"00100010", "00201208", "00201209", "0008103E"} <= set(series[0])
    assert value(series[0], "00081190") == f"{BASE}/studies/{STUDY}/series/{SERIES}"
    instances = await get(filled, f"/instances?SOPInstanceUID={SERIES}.2")
    assert {"00100010", "00201208", "00201209", "0008103E", "00280010"} <= set(instances[0])
    assert str(value(instances[0], "00081190")).endswith(f"/instances/{SERIES}.2")
    of_study = await get(filled, f"/studies/{STUDY}/instances")
    assert len(of_study) == 3
    assert "0008103E" in of_study[0]
    assert "00100010" not in of_study[0]


@pytest.mark.parametrize(
    ("path", "present", "absent"),
    [
        ("/studies?PatientID=FR-0001", (), ("00101010",)),
        ("/studies?PatientID=FR-0001&includefield=PatientAge", ("00101010",), ("0008103E",)),
        ("/studies?PatientID=FR-0001&includefield=PatientAge", ("00101010",), ("00101030",)),
        ("/studies?PatientID=FR-0001&includefield=00101010,0008103E", ("00101010",), ("0008103E",)),
        ("/studies?PatientID=FR-0001&includefield=00080060", ("00080060",), ("0008103E",)),  # OHIF
        ("/studies?PatientID=FR-0001&includefield=SOPInstanceUID", (), ("00080018",)),
        ("/studies?PatientID=FR-0001&PatientAge=", ("00101010",), ()),
        ("/studies?PatientID=FR-0001&includefield=all", ("00101010", "00081190"), ("00080060",)),
        ("/studies?PatientID=FR-0001&includefield=PatientWeight", ("00101030",), ()),  # empty
        (f"/studies/{STUDY}/series?includefield=0008103E,00080021", ("0008103E", "00080021"), ()),
        (f"/studies/{STUDY}/series?includefield=PatientName", ("00100010", "0020000E"), ()),
        (f"/studies/{STUDY}/series?includefield=ProtocolName", ("00181030",), ("00100010",)),
        (f"/studies/{STUDY}/series?includefield=all", ("00181030", "00100010"), ("00080018",)),
        (f"/studies/{STUDY}/series/{SERIES}/instances", (), ("00180050",)),
        (
            f"/studies/{STUDY}/series/{SERIES}/instances?includefield=SliceThickness",
            ("00180050", "00280010"),
            ("00100010",),
        ),
        (
            f"/studies/{STUDY}/series/{SERIES}/instances?includefield=all",
            ("00180050", "00100010", "00200032", "00081190"),
            (),
        ),
        (f"/studies/{STUDY}/instances?includefield=KVP", ("00180060", "0008103E"), ("00100010",)),
        (
            f"/studies/{STUDY}/series/{SERIES}/instances?includefield=ScheduledProcedureStepID",
            (),
            ("00400009",),
        ),
        (
            f"/studies/{STUDY}/series?includefield=00400275.00400009",
            ("00400275",),
            (),
        ),
    ],
)
async def test_includefield_adds_attributes_of_the_level_and_above(
    filled: httpx.AsyncClient, path: str, present: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    rows = await get(filled, path)
    assert rows
    for row in rows:
        assert [tag for tag in present if tag not in row] == []
        assert [tag for tag in absent if tag in row] == []


async def test_counts_of_the_patient_come_when_asked_for(filled: httpx.AsyncClient) -> None:
    fields = "NumberOfPatientRelatedStudies,00201202,00201204"
    (row,) = await get(filled, f"/studies?PatientID=FR-0001&includefield={fields}")
    assert [value(row, tag) for tag in ("00201200", "00201202", "00201204")] == [1, 1, 3]


async def test_a_private_element_is_found_by_its_creator(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = make_dataset(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)
    dataset.private_block(0x0009, "OTHER", create=True).add_new(1, "LO", "other's")
    dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", "ours")
    async with app.state.archive.index.writing() as connection:
        await add_instances(connection, 1, "test", [make_new_instance(dataset)])
    path = f"/studies/{STUDY}/series/{SERIES}/instances"
    (row,) = await get(client, f"{path}?00090010=ACME&includefield=00091001")
    assert value(row, "00091101") == "ours"
    assert value(row, "00090011") == "ACME"
    assert "00091001" not in row
    (row,) = await get(client, f"{path}?includefield=00091001")
    assert value(row, "00091001") == "other's"
    (row,) = await get(client, f"{path}?00090010=NOBODY&includefield=00091001")
    assert "00091001" not in row


async def test_bulk_data_in_an_answer_has_an_address(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await fill(app, {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "Rows": 256})
    series = f"/studies/{STUDY}/series/{SERIES}"
    (row,) = await get(client, f"{series}/instances?includefield=PixelData")
    url = f"{BASE}{series}/instances/{value(row, '00080018')}/bulkdata/7FE00010"
    assert row["7FE00010"] == {"vr": "OW", "BulkDataURI": url}


async def test_nothing_found_is_204_without_a_body(filled: httpx.AsyncClient) -> None:
    for path in (
        "/studies?PatientID=nobody",
        "/studies?offset=3",
        "/studies?limit=0",
        "/studies/1.2.3/series",
        f"/studies/{STUDY}/series/1.2.3/instances",
    ):
        answer = await filled.get(path)
        assert (answer.status_code, answer.content) == (204, b""), path


async def test_what_remains_is_announced(filled: httpx.AsyncClient) -> None:
    answer = await filled.get("/studies?limit=2")
    assert len(answer.json()) == 2
    text = "There are 1 additional results that can be requested"
    assert answer.headers["warning"] == f'299 {BASE}: "{text}"'
    answer = await filled.get("/studies?limit=2&offset=1")
    assert "warning" not in answer.headers


async def test_what_is_not_heeded_is_announced(filled: httpx.AsyncClient) -> None:  # G-09, G-23
    answer = await filled.get("/studies?limit=1&fuzzymatching=true&colour=blue")
    assert answer.headers["warning"] == (
        f'299 {BASE}: "The colour parameter is not known and has been ignored.", '
        f'299 {BASE}: "There are 2 additional results that can be requested"'
    )


@pytest.mark.parametrize(
    "path",
    [
        "/studies?StudyDate=garbage",
        "/studies?limit=-1",
        "/studies?SliceThickness=thick",
        "/studies?RetrieveURL=x",
        "/studies?PatientID=%FF",
        "/studies/not-a-uid/series",
        "/studies/..%2F..%2Fetc/series",
    ],
)
async def test_a_malformed_search_is_400_and_says_what_was_expected(
    filled: httpx.AsyncClient, path: str
) -> None:  # G-12, Q-35, Q-39
    answer = await filled.get(path)
    assert answer.status_code in {400, 404}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("*/*", "application/dicom+json"),
        (
            "application/dicom+json, multipart/related; type=application/octet-stream;"
            " transfer-syntax=*; transfer-syntax=*",
            "application/dicom+json",
        ),
        ('multipart/related; type="application/pdf"', None),
        ("text/html", None),
    ],
)
async def test_the_answer_is_dicom_json_or_406(
    filled: httpx.AsyncClient, accept: str, media_type: str | None
) -> None:  # G-03, G-04
    answer = await filled.get("/studies", headers={"Accept": accept})
    if media_type is None:
        assert answer.status_code == 406
    else:
        assert answer.headers["content-type"] == media_type


async def test_head_answers_as_get_does(filled: httpx.AsyncClient) -> None:  # G-15
    whole, head = await filled.get("/studies"), await filled.head("/studies")
    assert head.status_code == 200
    assert head.headers["content-type"] == whole.headers["content-type"]


async def test_long_answers_are_packed_for_those_who_take_it(filled: httpx.AsyncClient) -> None:
    packed = await filled.get("/studies", headers={"Accept-Encoding": "gzip"})  # G-18
    assert packed.headers["content-encoding"] == "gzip"
    plain = await filled.get("/studies", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


async def test_the_retrieve_url_of_a_series_leads_to_its_instances(
    filled: httpx.AsyncClient,
) -> None:  # Q-43; Weasis takes it as it is
    (series,) = await get(filled, f"/studies/{STUDY}/series?includefield=0020000E,00081190")
    url = value(series, "00081190")
    rows = await get(filled, f"{url}/instances?includefield=00080018,00200013,00081190")
    assert len(rows) == 3
    (again,) = await get(filled, f"{value(rows[0], '00081190')}/../../instances?InstanceNumber=1")
    assert value(again, "00080018") == f"{SERIES}.1"


async def test_what_would_take_too_long_to_look_into_is_413(
    app: FastAPI, filled: httpx.AsyncClient
) -> None:
    archive = app.state.archive
    app.state.archive = replace(archive, limits=replace(archive.limits, looked_into=2))
    answer = await filled.get("/studies?SliceThickness=5")
    assert answer.status_code == 413
    assert "SliceThickness is not in the index" in answer.json()["detail"]
    assert (await filled.get("/studies?SliceThickness=5&PatientID=B")).status_code in {200, 204}


def test_more_matches_than_are_counted_are_at_least_so_many() -> None:
    result = SearchResult([], 1000, (), at_least=True)
    assert "There are at least 1000 additional results" in search_warnings(BASE, result)["Warning"]
