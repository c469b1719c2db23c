"""Instances of no Patient, over the whole application: stored, found, retrieved, deleted."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pydicom.data
import pytest
from fastapi import FastAPI
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ColorPaletteStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GenericImplantTemplateStorage,
    HangingProtocolStorage,
    ImplicitVRLittleEndian,
    InventoryStorage,
    JPEGBaseline8Bit,
    ProtocolApprovalStorage,
    XADefinedProcedureProtocolStorage,
)

from app.archive.context import Archive
from app.archive.non_patient import find_non_patient, search_non_patient
from app.archive.store import store_instances
from app.dicom.attributes import Level
from app.dicom.store_report import FailureReason
from app.dicom.uids import NonPatientRef
from app.dicomweb.query import read_query
from app.errors import Forbidden, NotFound
from app.index.events import Position, read_events
from app.index.overview import Overview, count_everything
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import objects, parts
from tests.dicomweb.conftest import BASE
from tests.factories import make_dataset, make_non_patient, make_part10, new_uid
from tests.multipart import RELATED, make_multipart, split_multipart

DICOM, JSON, XML = "application/dicom", "application/dicom+json", "application/dicom+xml"
HEADERS = {"Content-Type": DICOM, "Accept": JSON}
PALETTES = Path(pydicom.data.__file__).parent / "palettes"
KINDS = {
    "color-palettes": ColorPaletteStorage,
    "defined-procedure-protocols": XADefinedProcedureProtocolStorage,
    "hanging-protocols": HangingProtocolStorage,
    "implant-templates": GenericImplantTemplateStorage,
    "inventories": InventoryStorage,
    "protocol-approvals": ProtocolApprovalStorage,
}
each_kind = pytest.mark.parametrize(("name", "sop_class"), KINDS.items())


def protocol(**keywords: Any) -> Dataset:
    definition = Dataset()
    definition.Modality = "CT"
    described = {
        "HangingProtocolName": "CHEST",
        "HangingProtocolDescription": "Thorax mit Vergleich",
        "HangingProtocolLevel": "SITE",
        "HangingProtocolCreator": "Müller^Änne",
        "HangingProtocolCreationDateTime": "20240229101530",
        "NumberOfPriorsReferenced": 1,
        "HangingProtocolDefinitionSequence": [definition],
    }
    return make_non_patient(HangingProtocolStorage, **{**described, **keywords})


async def post(client: httpx.AsyncClient, path: str, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, content=body, headers={**HEADERS, **named})


async def store(client: httpx.AsyncClient, path: str, *datasets: Dataset) -> None:
    body = make_multipart(*map(make_part10, datasets))
    answer = await post(client, path, body, Content_Type=RELATED)
    assert answer.status_code == 200, answer.text


def failures(answer: httpx.Response) -> list[tuple[str, int, str]]:
    return [
        (
            item["00081155"].get("Value", [""])[0],
            item["00081197"]["Value"][0],
            item["00000902"]["Value"][0],
        )
        for item in answer.json()["00081198"]["Value"]
    ]


@each_kind
async def test_each_kind_is_stored_named_and_comes_back_as_it_was(  # N-01, N-02
    client: httpx.AsyncClient, name: str, sop_class: str
) -> None:
    dataset = make_non_patient(sop_class)
    uid, sent = dataset.SOPInstanceUID, make_part10(dataset)
    answer = await post(client, f"/{name}", sent)
    assert answer.status_code == 200
    report = answer.json()
    (stored,) = report["00081199"]["Value"]
    url = f"{BASE}/{name}/{uid}"
    assert stored["00081150"]["Value"] == [sop_class]
    assert stored["00081155"]["Value"] == [uid]
    assert stored["00081190"]["Value"] == [url]
    assert report["00081190"] == {"vr": "UR"}  # of no Study
    back = await client.get(url, headers={"Accept": DICOM})
    assert back.status_code == 200
    assert back.content == sent
    found = await client.get(f"/{name}")
    assert [row["00080018"]["Value"] for row in found.json()] == [[uid]]
    assert found.json()[0]["00081190"] == {"vr": "UR", "Value": [url]}


async def test_an_instance_comes_as_json_xml_or_a_stream(client: httpx.AsyncClient) -> None:  # N-02
    dataset = protocol()
    await store(client, "/hanging-protocols", dataset)
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    for accept in ("*/*", JSON, "application/json", f"text/html, {JSON}"):
        answer = await client.get(path, headers={"Accept": accept})
        said = "application/json" if accept == "application/json" else JSON
        assert answer.headers["content-type"] == said
        (metadata,) = answer.json()
        assert metadata["00720002"] == {"vr": "SH", "Value": ["CHEST"]}
        assert metadata["00720008"]["Value"] == ["Müller^Änne"]
        assert not [tag for tag in metadata if tag.startswith("0002")]
    answer = await client.get(path, headers={"Accept": XML})
    assert answer.headers["content-type"] == XML
    assert "CHEST" in "".join(ElementTree.fromstring(answer.content).itertext())  # noqa: S314
    answer = await client.get(path, headers={"Accept": f'multipart/related; type="{XML}"'})
    ((fields, content),) = split_multipart(answer)
    assert fields["Content-Type"] == XML
    assert b"CHEST" in content
    answer = await client.get(path, headers={"Accept": f'multipart/related; type="{DICOM}"'})
    ((fields, content),) = split_multipart(answer)
    assert dcmread(BytesIO(content)).HangingProtocolName == "CHEST"
    refused = await client.get(path, headers={"Accept": "image/jpeg"})
    assert refused.status_code == 406
    assert JSON in refused.json()["offered"]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
async def test_what_may_not_leave_is_written_anew(client: httpx.AsyncClient, syntax: str) -> None:
    dataset = protocol()
    sent = make_part10(dataset, transfer_syntax=syntax)
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    assert (await post(client, path, sent)).status_code == 200
    answer = await client.get(path, headers={"Accept": DICOM})
    assert answer.headers["content-type"].endswith(f"transfer-syntax={ExplicitVRLittleEndian}")
    back = dcmread(BytesIO(answer.content))
    assert back.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert back == dataset
    named = f"{DICOM}; transfer-syntax={JPEGBaseline8Bit}"
    assert (await client.get(path, headers={"Accept": named})).status_code == 406


async def test_what_the_caller_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    dataset = protocol()
    await store(client, "/hanging-protocols", dataset)
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    tags = set()
    for accept in (JSON, XML, DICOM, f'multipart/related; type="{DICOM}"'):
        first = await client.get(path, headers={"Accept": accept})
        tags.add(first.headers["etag"])
        assert first.headers["etag"].startswith('"' if accept == DICOM else 'W/"')
        again = {"Accept": accept, "If-None-Match": first.headers["etag"]}
        assert (await client.get(path, headers=again)).status_code == 304
    assert len(tags) == 4
    part = await client.get(path, headers={"Accept": DICOM, "Range": "bytes=128-131"})
    assert (part.status_code, part.content) == (206, b"DICM")


@pytest.mark.parametrize("name", ["hotiron.dcm", "spring.dcm"])
async def test_the_well_known_palettes_are_kept_with_their_tables(
    client: httpx.AsyncClient, name: str
) -> None:
    sent = (PALETTES / name).read_bytes()
    dataset = dcmread(BytesIO(sent))
    assert (await post(client, "/color-palettes", sent)).status_code == 200
    path = f"/color-palettes/{dataset.SOPInstanceUID}"
    (metadata,) = (await client.get(path)).json()
    for element in dataset:
        if element.VR not in {"OB", "OW"}:
            continue
        kept = metadata[f"{element.tag:08X}"]
        assert b64decode(kept["InlineBinary"]) == element.value
    (row,) = (await client.get("/color-palettes?includefield=all")).json()
    assert {tag: row[tag] for tag in metadata} == metadata


async def test_a_long_value_is_bulk_data_that_can_be_had(client: httpx.AsyncClient) -> None:
    profile = bytes(range(256)) * 64
    palette = make_non_patient(ColorPaletteStorage, ContentLabel="X", ICCProfile=profile)
    await store(client, "/color-palettes", palette)
    url = f"{BASE}/color-palettes/{palette.SOPInstanceUID}"
    (metadata,) = (await client.get(url)).json()
    uri = metadata["00282000"]["BulkDataURI"]
    assert uri == f"{url}/bulkdata/00282000"
    value = await client.get(uri)
    assert value.content == profile
    known = {"If-None-Match": value.headers["etag"]}
    assert (await client.get(uri, headers=known)).status_code == 304
    ((fields, content),) = split_multipart(
        await client.get(uri, headers={"Accept": "multipart/related"})
    )
    assert (fields["Content-Location"], content) == (uri, profile)
    (row,) = (await client.get("/color-palettes?includefield=ICCProfile")).json()
    assert row["00282000"]["BulkDataURI"] == uri
    assert (await client.get(f"{url}/bulkdata/00282001")).status_code == 404
    assert (await client.get(uri, headers={"Accept": "image/png"})).status_code == 406


async def test_the_same_again_is_a_success_and_another_under_its_uid_is_refused(  # N-04
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = protocol()
    uid, path = dataset.SOPInstanceUID, "/hanging-protocols"
    await store(client, path, dataset)
    again = make_multipart(make_part10(dataset), make_part10(dataset))
    assert (await post(client, path, again, Content_Type=RELATED)).status_code == 200
    implicit = make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian)
    assert (await post(client, path, implicit)).status_code == 200
    dataset.HangingProtocolName = "OTHER"
    answer = await post(client, path, make_part10(dataset))
    assert answer.status_code == 409
    ((of, reason, _),) = failures(answer)
    assert (of, reason) == (uid, FailureReason.DUPLICATE_INSTANCE)
    (row,) = (await client.get(path)).json()
    assert row["00720002"]["Value"] == ["CHEST"]
    archive: Archive = app.state.archive
    assert len([key async for key in archive.objects.keys("t/")]) == 1
    events = await read_events(archive.index, 1, Position())
    assert [event.kind for event in events] == ["accepted", "refused"]
    assert events[0].payload["category"] == "hanging-protocols"
    (((digest, attempt),),) = [events[0].payload["instances"].values()]
    assert len(digest) == 64
    assert len(attempt.removesuffix(".dcm")) == 26


async def test_each_resource_refuses_what_is_not_its_own(client: httpx.AsyncClient) -> None:  # N-01
    patient, palette = make_dataset(), make_non_patient(ColorPaletteStorage)
    supported = FailureReason.SOP_CLASS_NOT_SUPPORTED
    for path, dataset, place in [
        ("/studies", palette, "/color-palettes"),
        (f"/studies/{new_uid()}", palette, "/color-palettes"),
        ("/hanging-protocols", palette, "/color-palettes"),
        ("/hanging-protocols", patient, "/studies"),
        (f"/color-palettes/{patient.SOPInstanceUID}", patient, "/studies"),
    ]:
        answer = await post(client, path, make_part10(dataset))
        assert answer.status_code == 409
        ((uid, reason, comment),) = failures(answer)
        assert (uid, reason) == (dataset.SOPInstanceUID, supported)
        assert comment.endswith(f"store it at {place}")
    answer = await post(client, f"/color-palettes/{new_uid()}", make_part10(palette))
    assert failures(answer)[0][1] == FailureReason.OTHER_INSTANCE
    compressed = make_part10(palette, transfer_syntax=JPEGBaseline8Bit)
    answer = await post(client, "/color-palettes", compressed)
    assert failures(answer)[0][1] == FailureReason.TRANSFER_SYNTAX_NOT_SUPPORTED
    body = make_multipart(make_part10(palette), make_part10(patient), b"no DICOM")
    answer = await post(client, "/color-palettes", body, Content_Type=RELATED)
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert (await post(client, "/color-palettes", b"x", Content_Type="a/b")).status_code == 415


async def test_it_is_stored_from_metadata_too(client: httpx.AsyncClient) -> None:  # N-01
    palette = make_non_patient(ColorPaletteStorage, ContentLabel="GREY", ICCProfile=bytes(16))
    metadata = palette.to_json().encode()
    answer = await post(client, "/color-palettes", metadata, Content_Type=JSON, Accept=XML)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == XML
    (row,) = (await client.get("/color-palettes?ContentLabel=GREY")).json()
    assert row["00080018"]["Value"] == [palette.SOPInstanceUID]


async def test_what_is_unknown_is_404_and_what_was_deleted_410(  # N-04
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    dataset = protocol()
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await client.get("/hanging-protocols/abc")).status_code == 400
    await store(client, path, dataset)
    other_kind = f"/color-palettes/{dataset.SOPInstanceUID}"
    assert (await client.get(other_kind)).status_code == 404
    assert (await client.delete(other_kind)).status_code == 404
    assert (await client.delete(path)).status_code == 204
    assert (await client.get("/hanging-protocols")).status_code == 204
    assert (await client.get(path)).status_code == 410
    assert (await client.get(f"{path}/bulkdata/00282000")).status_code == 410
    assert (await client.delete(path)).status_code == 410
    await store(client, path, dataset)
    assert (await client.get(path)).status_code == 200
    events = await read_events(app.state.archive.index, 1, Position())
    assert [event.kind for event in events] == ["accepted", "removed", "accepted"]
    assert events[1].payload["instances"].keys() == {dataset.SOPInstanceUID}


async def test_it_counts_in_no_study(app: FastAPI, client: httpx.AsyncClient) -> None:
    await store(client, "/hanging-protocols", protocol())
    assert await count_everything(app.state.archive.index, Scope()) == Overview(0, 0, 0, 0)
    assert (await client.get("/instances")).status_code == 204


async def test_who_sees_named_studies_alone_sees_none_of_it(
    archive: Archive, principal: Principal
) -> None:
    dataset = make_non_patient(InventoryStorage)
    ref, uid = NonPatientRef("inventories"), dataset.SOPInstanceUID
    await store_instances(archive, principal, parts(make_part10(dataset)), ref)
    guest = Principal("guest", Scope(studies=frozenset({"1.2.3"})))
    query = read_query(b"", Level.INSTANCE)
    assert (await search_non_patient(archive, principal, "inventories", query, BASE)).rows
    assert not (await search_non_patient(archive, guest, "inventories", query, BASE)).rows
    with pytest.raises(NotFound):
        await find_non_patient(archive, guest, "inventories", uid, BASE)
    with pytest.raises(Forbidden):
        await store_instances(archive, guest, parts(make_part10(dataset)), ref)
    assert len(await objects(archive)) == 1


@pytest.mark.parametrize("verb", [Verb.SEARCH, Verb.VIEW, Verb.STORE, Verb.DELETE])
async def test_each_verb_is_asked_for(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    dataset = protocol()
    path = f"/hanging-protocols/{dataset.SOPInstanceUID}"
    await store(client, path, dataset)
    less = Principal("less", verbs=frozenset(Verb) - {verb})

    async def principal(*_: object) -> Principal:
        return less

    monkeypatch.setattr(app.state.identity, "principal", principal)
    answers = {
        Verb.SEARCH: await client.get("/hanging-protocols"),
        Verb.VIEW: await client.get(path),
        Verb.STORE: await post(client, path, make_part10(dataset)),
        Verb.DELETE: await client.delete(path),
    }
    assert {one for one, answer in answers.items() if answer.status_code == 403} == {verb}


async def test_the_capabilities_name_every_kind(client: httpx.AsyncClient) -> None:  # N-05
    answer = await client.options("", headers={"Accept": "application/json"})
    described = answer.json()["application"]["resources"]["resource"]
    tree = {one["path"]: one for one in described}
    for name in KINDS:
        assert {method["name"] for method in tree[name]["method"]} == {"GET", "POST"}
        (one,) = tree[name]["resource"]
        assert {method["name"] for method in one["method"]} == {"GET", "POST", "DELETE"}
