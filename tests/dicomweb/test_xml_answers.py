"""Answers in XML: metadata, matches and reports, the same as in JSON."""

from typing import Any

import httpx
import pytest

from app.dicom.limits import Limits
from app.dicom.xml_reader import read_xml
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import RELATED, make_multipart, split_multipart

JSON, XML = "application/dicom+json", "application/dicom+xml"
PARTS = f'multipart/related; type="{XML}"'
ANYTHING = "*/*"


async def store(client: httpx.AsyncClient, *parts: bytes, accept: str = ANYTHING) -> httpx.Response:
    headers = {"content-type": RELATED, "accept": accept}
    return await client.post("/studies", content=make_multipart(*parts), headers=headers)


async def get(client: httpx.AsyncClient, path: str, accept: str, **more: str) -> httpx.Response:
    return await client.get(path, headers={"accept": accept, **more})


def read_parts(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(f'multipart/related; type="{XML}"; boundary=')
    parts = split_multipart(answer)
    assert {head["Content-Type"] for head, _ in parts} == {XML}
    return [read_xml(document, Limits()) for _, document in parts]


@pytest.fixture
async def series(client: httpx.AsyncClient) -> str:
    """The path of a Series of 40 Instances, some of whose names are hard to write."""
    datasets = make_series(40, PatientName='<Ä&ß>^"Q"=山田^花子', Laterality="")
    answer = await store(client, *(make_part10(dataset) for dataset in datasets))
    assert answer.status_code == 200
    return f"/studies/{datasets[0].StudyInstanceUID}/series/{datasets[0].SeriesInstanceUID}"


@pytest.mark.parametrize("level", ["study", "series", "instance"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_metadata_in_xml_is_that_in_json(  # X-01, M-18, G-18
    client: httpx.AsyncClient, series: str, level: str, coding: str
) -> None:
    (*_, last) = (await client.get(f"{series}/instances")).json()
    instance = f"{series}/instances/{last['00080018']['Value'][0]}"
    paths = {"study": series.partition("/series")[0], "series": series, "instance": instance}
    path = f"{paths[level]}/metadata"
    expected = (await get(client, path, JSON)).json()
    answer = await get(client, path, PARTS, **{"accept-encoding": coding})
    assert read_parts(answer) == expected
    assert answer.headers.get("content-encoding", "identity") == coding
    assert "Accept-Encoding" in answer.headers["vary"]


async def test_an_xml_answer_has_an_etag_of_its_own(client: httpx.AsyncClient, series: str) -> None:
    path = f"{series}/metadata"
    json, xml = await get(client, path, JSON), await get(client, path, PARTS)
    assert json.headers["etag"] != xml.headers["etag"]
    again = await get(client, path, PARTS, **{"if-none-match": xml.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await get(client, path, PARTS, **{"if-none-match": json.headers["etag"]})
    assert other.status_code == 200


async def test_one_instance_is_one_document_if_asked(
    client: httpx.AsyncClient, series: str
) -> None:
    (one, *_) = (await client.get(f"{series}/instances")).json()
    path = f"{series}/instances/{one['00080018']['Value'][0]}/metadata"
    answer = await get(client, path, XML)
    assert answer.headers["content-type"] == XML
    assert [read_xml(answer.content, Limits())] == (await get(client, path, JSON)).json()
    assert (await get(client, f"{series}/metadata", XML)).status_code == 406  # M-12


@pytest.mark.parametrize("path", ["/studies", "/series", "/instances?includefield=all&limit=3"])
async def test_matches_in_xml_are_those_in_json(
    client: httpx.AsyncClient, series: str, path: str
) -> None:
    answer = await get(client, path, PARTS)
    assert read_parts(answer) == (await get(client, path, JSON)).json()
    json = await get(client, path, JSON)
    assert answer.headers.get("warning") == json.headers.get("warning")


async def test_no_match_is_204_in_xml_too(client: httpx.AsyncClient) -> None:
    answer = await get(client, "/studies?PatientID=nobody", PARTS)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),  # S-14
        (ANYTHING, JSON),
        ("application/*", JSON),
        (JSON, JSON),
        ("application/json", "application/json"),
        (XML, XML),
        (f"{JSON};q=0.5, {XML}", XML),
        (f"{XML};q=0.1, {JSON};q=0.9", JSON),
        (f"{XML};q=0, */*", JSON),
        (f"{JSON};q=0, */*", "application/json"),
        (f"{JSON};q=0, application/json;q=0, */*", XML),
        (f"text/html, {XML}", XML),
    ],
)
async def test_a_report_comes_in_the_form_that_is_asked_for(
    client: httpx.AsyncClient, accept: str, media_type: str
) -> None:
    dataset = make_dataset()
    answer = await store(client, make_part10(dataset), b"junk", accept=accept)
    assert answer.status_code == 202
    assert answer.headers["content-type"] == media_type
    found = read_xml(answer.content, Limits()) if media_type == XML else answer.json()
    (stored,) = found["00081199"]["Value"]
    assert stored["00081155"]["Value"] == [dataset.SOPInstanceUID]
    assert found["0008119A"]["Value"][0]["00081197"]["Value"] == [0xC000]


@pytest.mark.parametrize(
    ("accept", "parameter", "media_type"),
    [
        (f"{PARTS}, {JSON}", None, "multipart/related"),  # G-05
        (f"{PARTS};q=0.2, {JSON};q=0.4", None, JSON),
        (f'{JSON};q=0.1, multipart/related;q=0.2;type="{XML}"', None, "multipart/related"),
        (f"multipart/related; type={XML}", None, "multipart/related"),  # M-20
        ('multipart/related; type="*/*"', None, "multipart/related"),  # M-21
        (ANYTHING, None, JSON),
        (JSON, PARTS, "multipart/related"),  # G-06
        (PARTS, JSON, JSON),
        (JSON, "image/png", JSON),  # G-07
        (JSON, "multipart/related; type=application/dicom xml", "multipart/related"),
    ],
)
async def test_the_most_wanted_form_wins(
    client: httpx.AsyncClient, series: str, accept: str, parameter: str | None, media_type: str
) -> None:
    for path in (f"{series}/metadata", "/studies"):
        query = {} if parameter is None else {"accept": parameter}
        answer = await client.get(path, params=query, headers={"accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == media_type


@pytest.mark.parametrize("accept", ["image/jpeg", f"{XML};q=0", "text/xml"])
async def test_what_would_do_is_listed_with_406(  # G-03
    client: httpx.AsyncClient, series: str, accept: str
) -> None:
    answer = await get(client, f"{series}/metadata", accept)
    assert answer.status_code == 406
    assert answer.json()["offered"] == [JSON, "application/json", PARTS]
    answer = await store(client, make_part10(), accept=accept)
    assert answer.status_code == 406
    assert answer.json()["offered"] == [JSON, "application/json", XML]


async def test_an_unknown_study_is_404_in_xml_too(client: httpx.AsyncClient) -> None:
    assert (await get(client, "/studies/1.2.3/metadata", PARTS)).status_code == 404
