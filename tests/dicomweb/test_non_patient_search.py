"""Searches among Instances of no Patient (PS3.18 §12.6)."""

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from pydicom.dataset import Dataset
from pydicom.uid import ColorPaletteStorage

from app.archive.context import Archive
from app.archive.non_patient import search_non_patient
from app.dicom.attributes import Level
from app.dicomweb.query import read_query
from app.errors import TooLarge
from app.rights import Principal
from tests.dicomweb.conftest import BASE
from tests.dicomweb.test_non_patient import XML, protocol, store
from tests.factories import make_non_patient
from tests.multipart import split_multipart


async def names(client: httpx.AsyncClient, query: str) -> list[str]:
    answer = await client.get(f"/hanging-protocols?{query}")
    assert answer.status_code in {200, 204}, answer.text
    return [row["00720002"]["Value"][0] for row in answer.json()] if answer.content else []


SEARCHES = [
    ("", ["HEAD", "CHEST"]),
    ("HangingProtocolName=CHEST", ["CHEST"]),
    ("HangingProtocolName=chest", []),
    ("00720002=C*", ["CHEST"]),
    ("HangingProtocolLevel=SITE", ["HEAD", "CHEST"]),
    ("HangingProtocolCreator=M%C3%BC*", ["CHEST"]),
    ("HangingProtocolCreationDateTime=20240101-20240301", ["CHEST"]),
    ("NumberOfPriorsReferenced=2", ["HEAD"]),
    ("HangingProtocolDefinitionSequence.Modality=MR", ["HEAD"]),
    ("00720010=", ["HEAD", "CHEST"]),
    ("HangingProtocolUserGroupName=%22%22&emptyvaluematching=true", ["HEAD", "CHEST"]),
    ("HangingProtocolName=CHEST&NumberOfPriorsReferenced=2", []),
    ("limit=1", ["HEAD"]),
    ("limit=1&offset=1", ["CHEST"]),
    ("HangingProtocolLevel=SITE&limit=1&offset=1", ["CHEST"]),
    ("offset=2", []),
    ("SOPInstanceUID=1.2.3", []),
    ("PatientID=FR-0001", []),
]


@pytest.mark.parametrize(("query", "expected"), SEARCHES)
async def test_any_attribute_is_a_key(  # N-03
    client: httpx.AsyncClient, query: str, expected: list[str]
) -> None:
    modality = Dataset()
    modality.Modality = "MR"
    head = protocol(
        HangingProtocolName="HEAD",
        HangingProtocolCreator="Smith^Ann",
        HangingProtocolCreationDateTime="20250101",
        NumberOfPriorsReferenced=2,
        HangingProtocolDefinitionSequence=[modality],
    )
    await store(client, "/hanging-protocols", protocol())
    await store(client, "/hanging-protocols", head)
    await store(client, "/color-palettes", make_non_patient(ColorPaletteStorage))
    assert await names(client, query) == expected
    assert await names(client, f"{query}&SOPInstanceUID={head.SOPInstanceUID}") in ([], ["HEAD"])


@pytest.mark.parametrize("query", ["muller^*", "=山田*", "mueller&fuzzymatching=true"])
async def test_names_are_matched_as_in_studies(client: httpx.AsyncClient, query: str) -> None:
    named = {"ContentCreatorName": "Müller^Änne=山田^花子"}
    await store(client, "/color-palettes", make_non_patient(ColorPaletteStorage, **named))
    await store(client, "/color-palettes", make_non_patient(ColorPaletteStorage))
    (row,) = (await client.get(f"/color-palettes?ContentCreatorName={query}")).json()
    assert row["00700084"]["Value"][0]["Ideographic"] == "山田^花子"


async def test_a_match_has_what_its_kind_is_known_by_and_what_is_asked_for(  # N-03
    client: httpx.AsyncClient,
) -> None:
    dataset = protocol(Manufacturer="Works")
    dataset.private_block(0x0099, "ACME", create=True).add_new(1, "LO", "private")
    await store(client, "/hanging-protocols", dataset)
    (row,) = (await client.get("/hanging-protocols")).json()
    assert list(row) == sorted(row)
    assert row["00720008"]["Value"] == ["Müller^Änne"]
    assert row["00720010"] == {"vr": "LO"}  # no user group
    assert row["0072000C"]["Value"][0]["00080060"]["Value"] == ["CT"]
    assert "00080070" not in row
    asked = "includefield=Manufacturer,00991001,StationName&00990010=ACME"
    (row,) = (await client.get(f"/hanging-protocols?{asked}")).json()
    assert row["00080070"]["Value"] == ["Works"]
    assert row["00991001"]["Value"] == ["private"]
    assert row["00081010"] == {"vr": "SH"}
    (row,) = (await client.get("/hanging-protocols?includefield=all")).json()
    assert {"00080070", "00720004", "00990010", "00991001", "00081190"} <= row.keys()
    answer = await client.get(
        "/hanging-protocols", headers={"Accept": f'multipart/related; type="{XML}"'}
    )
    ((_, document),) = split_multipart(answer)
    assert b"CHEST" in document


@pytest.mark.parametrize(("step", "size"), [(2, 2**20), (50, 2**20), (50, 100)])
async def test_what_remains_of_a_search_is_told(  # N-03
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, step: int, size: int
) -> None:
    monkeypatch.setattr("app.archive.non_patient._STEP", step)
    monkeypatch.setattr("app.archive.non_patient._STEP_BYTES", size)
    await store(client, "/hanging-protocols", *[protocol() for _ in range(5)])
    for query in ("limit=2", "limit=2&HangingProtocolName=CHEST"):
        answer = await client.get(f"/hanging-protocols?{query}&unknown=1")
        assert len(answer.json()) == 2
        assert "There are 3 additional results" in answer.headers["warning"]
        assert "unknown" in answer.headers["warning"]
    pages = [
        uid
        for offset in range(0, 6, 2)
        for row in (await client.get(f"/hanging-protocols?limit=2&offset={offset}")).json()
        for uid in row["00080018"]["Value"]
    ]
    assert len(set(pages)) == 5
    assert (await client.get("/hanging-protocols?limit=x")).status_code == 400
    assert (await client.get("/hanging-protocols", headers={"Accept": "a/b"})).status_code == 406


async def test_a_search_looks_into_so_many_and_says_so(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    datasets = [protocol() for _ in range(3)]
    await store(client, "/hanging-protocols", *datasets)
    archive: Archive = app.state.archive
    small = replace(archive, limits=replace(archive.limits, looked_into=2))
    query = read_query(b"HangingProtocolName=CHEST", Level.INSTANCE)
    with pytest.raises(TooLarge, match="SOPInstanceUID"):
        await search_non_patient(small, Principal("t"), "hanging-protocols", query, BASE)
    narrowed = f"HangingProtocolName=CHEST&SOPInstanceUID={datasets[0].SOPInstanceUID}".encode()
    query = read_query(narrowed, Level.INSTANCE)
    found = await search_non_patient(small, Principal("t"), "hanging-protocols", query, BASE)
    assert len(found.rows) == 1


async def test_an_answer_that_would_be_too_large_is_413(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.non_patient._MOST_BYTES", 1000)
    await store(client, "/hanging-protocols", *[protocol() for _ in range(3)])
    answer = await client.get("/hanging-protocols?includefield=all")
    assert answer.status_code == 413
    assert "limit" in answer.json()["detail"]
    assert (await client.get("/hanging-protocols?limit=1")).status_code == 200
