"""STOW-RS of metadata and Bulk Data, as clients write it and as none should."""

import base64
import gzip
import json
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pydicom import dcmread

from app.dicom.limits import Limits
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from tests.dicomweb.conftest import BASE
from tests.factories import make_dataset, make_part10, new_uid

JSON, XML, OCTETS = "application/dicom+json", "application/dicom+xml", "application/octet-stream"
Part = tuple[dict[str, str], bytes]
PIXELS = "7FE00010"


def body_of(*parts: Part) -> bytes:
    pieces = []
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        pieces.append(f"--b\r\n{lines}\r\n".encode() + content + b"\r\n")
    return b"".join(pieces) + b"--b--\r\n"


async def post(
    client: httpx.AsyncClient, *parts: Part, kind: str = JSON, path: str = "/studies", **more: str
) -> httpx.Response:
    headers = {"content-type": f'multipart/related; type="{kind}"; boundary=b', **more}
    return await client.post(path, content=body_of(*parts), headers=headers)


def metadata(*datasets: Any) -> Part:
    return {"Content-Type": JSON}, json.dumps(datasets).encode()


def bulk(location: str, data: bytes, media_type: str = OCTETS) -> Part:
    return {"Content-Type": media_type, "Content-Location": location}, data


def described(uri: str | None = "bulk/1", **keywords: Any) -> dict[str, Any]:
    """Return the DICOM JSON object of a new CT Image whose Pixel Data is elsewhere."""
    dataset = make_dataset(**keywords)
    if "PixelData" in dataset:
        del dataset.PixelData
    found: dict[str, Any] = dataset.to_json_dict()
    if uri is not None:
        found[PIXELS] = {"vr": "OW", "BulkDataURI": uri}
    return found


def secondary_capture(uri: str) -> dict[str, Any]:
    """Return what a client knows of a picture: who and what, nothing of pixels."""
    nothing = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
               "PixelRepresentation", "PhotometricInterpretation", "PixelSpacing")  # fmt: skip
    return described(uri, PixelData=None, **dict.fromkeys(nothing))


def path_of(dataset: dict[str, Any]) -> str:
    study, series, instance = (
        dataset[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")
    )
    return f"/studies/{study}/series/{series}/instances/{instance}"


async def frame(client: httpx.AsyncClient, dataset: dict[str, Any], accept: str = OCTETS) -> bytes:
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer.content


async def stored(client: httpx.AsyncClient, dataset: dict[str, Any]) -> dict[str, Any]:
    (found,) = (await client.get(f"{path_of(dataset)}/metadata")).json()
    assert isinstance(found, dict)
    return found


NATIVE = bytes(range(256)) * 2


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("bulk/1", "bulk/1"),
        ("bulk/1", "http://elsewhere.example/bulk/1"),
        (f"{BASE}/bulk/1", "/dicom-web/bulk/1"),
        ("./bulk%201", "bulk 1"),
        ("urn:uuid:0-1", "urn:uuid:0-1"),
    ],
)
async def test_native_pixels_come_beside_json(  # S-17
    client: httpx.AsyncClient, uri: str, location: str
) -> None:
    dataset = described(uri)
    answer = await post(client, metadata(dataset), bulk(location, NATIVE))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == JSON
    assert await frame(client, dataset) == NATIVE
    found = await stored(client, dataset)
    assert found[PIXELS]["vr"] == "OW"
    del found[PIXELS], dataset[PIXELS]
    assert found == dataset


async def test_a_part_may_be_named_by_its_content_id(client: httpx.AsyncClient) -> None:
    dataset = described("cid:pixels@here")
    named = {"Content-Type": OCTETS, "Content-ID": "<pixels@here>"}
    assert (await post(client, metadata(dataset), (named, NATIVE))).status_code == 200
    assert await frame(client, dataset) == NATIVE


async def test_metadata_and_pixels_come_in_xml(client: httpx.AsyncClient) -> None:
    one, two = described("bulk/1"), described("bulk/2")
    documents = [({"Content-Type": XML}, write_xml(dataset)) for dataset in (one, two)]
    parts = [*documents, bulk("bulk/1", NATIVE), bulk("bulk/2", NATIVE[::-1])]
    answer = await post(client, *parts, kind=XML, accept=XML)
    assert answer.status_code == 200, answer.text
    assert len(read_xml(answer.content, Limits())["00081199"]["Value"]) == 2
    assert await frame(client, one) == NATIVE
    assert await frame(client, two) == NATIVE[::-1]


@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize("multipart", [True, False])
async def test_binary_values_may_stand_in_the_metadata(  # S-18
    client: httpx.AsyncClient, kind: str, multipart: bool
) -> None:
    dataset = described(None)
    dataset[PIXELS] = {"vr": "OW", "InlineBinary": base64.b64encode(NATIVE).decode()}
    document = write_xml(dataset) if kind == XML else json.dumps([dataset]).encode()
    if multipart:
        answer = await post(client, ({"Content-Type": kind}, document), kind=kind)
    else:
        headers = {"content-type": kind}
        answer = await client.post("/studies", content=document, headers=headers)
    assert answer.status_code == 200, answer.text
    assert await frame(client, dataset) == NATIVE


async def test_several_parts_of_json_and_no_type_are_taken(client: httpx.AsyncClient) -> None:
    one, two = described("1"), described("2")
    parts = [metadata(one), metadata(two), bulk("2", NATIVE[::-1]), bulk("1", NATIVE)]
    headers = {"content-type": "multipart/related; boundary=b"}
    answer = await client.post("/studies", content=body_of(*parts), headers=headers)
    assert answer.status_code == 200, answer.text
    assert await frame(client, one) == NATIVE


def picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    made = BytesIO()
    pixels = np.arange(24 * 16 * 3, dtype=np.uint32).reshape(16, 24, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(made, form, **options)
    return made.getvalue()


JPEG, COLOUR_444 = picture("JPEG", "L"), picture("JPEG", subsampling=0)
JP2 = picture("JPEG2000", irreversible=False, mct=1)
CODESTREAM = JP2[JP2.index(b"\xff\x4f\xff\x51") :]


@pytest.mark.parametrize(
    ("media_type", "data", "syntax", "samples", "interpretation"),
    [
        ("image/jpeg", JPEG, "1.2.840.10008.1.2.4.50", 1, "MONOCHROME2"),
        ("image/jpeg", COLOUR_444, "1.2.840.10008.1.2.4.50", 3, "YBR_FULL"),
        ("image/jp2", JP2, "1.2.840.10008.1.2.4.90", 3, "YBR_RCT"),
        ("image/jp2; transfer-syntax=1.2.840.10008.1.2.4.91", CODESTREAM,
         "1.2.840.10008.1.2.4.91", 3, "YBR_RCT"),
    ],
)  # fmt: skip
async def test_compressed_pixels_describe_themselves(  # S-19
    client: httpx.AsyncClient,
    media_type: str,
    data: bytes,
    syntax: str,
    samples: int,
    interpretation: str,
) -> None:
    dataset = secondary_capture("picture")
    answer = await post(client, metadata(dataset), bulk("picture", data, media_type))
    assert answer.status_code == 200, answer.text
    found = await stored(client, dataset)
    tags = ("00280010", "00280011", "00280002", "00280100", "00280101", "00280102", "00280103")
    assert [found[tag]["Value"] for tag in tags] == [[16], [24], [samples], [8], [8], [7], [0]]
    assert found["00280004"]["Value"] == [interpretation]
    assert found.get("00280006") == (None if samples == 1 else {"vr": "US", "Value": [0]})
    original = await client.get(
        path_of(dataset), headers={"accept": "application/dicom;transfer-syntax=*"}
    )
    read = dcmread(BytesIO(original.content))
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.pixel_array.shape[:2] == (16, 24)
    kept = CODESTREAM if data is JP2 else data
    wanted = f"{media_type.partition(';')[0]}; transfer-syntax={syntax}"
    assert (await frame(client, dataset, wanted)).rstrip(b"\0") == kept.rstrip(b"\0")


@pytest.mark.parametrize("suffix", ["", "/frames/{number}"])
async def test_each_frame_may_be_a_part(client: httpx.AsyncClient, suffix: str) -> None:
    dataset = secondary_capture("movie")
    frames = [picture("JPEG", "L", quality=quality) for quality in (20, 50, 90)]
    order = [0, 1, 2] if not suffix else [2, 0, 1]
    parts = [bulk(f"movie{suffix.format(number=at + 1)}", frames[at], "image/jpeg") for at in order]
    answer = await post(client, metadata(dataset), *parts)
    assert answer.status_code == 200, answer.text
    assert (await stored(client, dataset))["00280008"]["Value"] == [3]
    for number, data in enumerate(frames, 1):
        found = await client.get(
            f"{path_of(dataset)}/frames/{number}", headers={"accept": "image/*"}
        )
        assert found.content.rstrip(b"\0") == data.rstrip(b"\0")


async def test_the_same_metadata_and_bytes_are_the_same_instance(client: httpx.AsyncClient) -> None:
    dataset = described()
    for _ in range(2):  # S-15
        answer = await post(client, metadata(dataset), bulk("bulk/1", NATIVE))
        assert answer.status_code == 200
    answer = await post(client, metadata(dataset), bulk("bulk/1", NATIVE[::-1]))
    assert answer.status_code == 409  # S-16
    assert await frame(client, dataset) == NATIVE


async def test_what_is_stored_can_be_stored_again_from_its_own_answers(  # S-17, J-26
    client: httpx.AsyncClient,
) -> None:
    source = make_dataset(Rows=64, Columns=64)
    headers = {"content-type": "application/dicom"}
    assert (await client.post("/studies", content=make_part10(source), headers=headers)).is_success
    (first,) = (await client.get(path_of(source.to_json_dict()) + "/metadata")).json()
    uri = first[PIXELS]["BulkDataURI"]
    pixels = (await client.get(uri, headers={"accept": OCTETS})).content
    dataset = json.loads(json.dumps(first).replace(str(source.SOPInstanceUID), new_uid()))
    assert (
        await post(client, metadata(dataset), bulk(dataset[PIXELS]["BulkDataURI"], pixels))
    ).is_success
    again = await stored(client, dataset)
    assert await frame(client, dataset) == pixels
    assert again == dataset


async def test_one_bad_instance_does_not_stop_the_others(client: httpx.AsyncClient) -> None:  # S-05
    good, lost, bad = described("1"), described("nowhere"), described("1", SOPClassUID=None)
    bad["00280010"] = {"vr": "US", "Value": ["many"]}
    answer = await post(client, metadata(good, lost, bad, 7), bulk("1", NATIVE))
    assert answer.status_code == 202, answer.text
    report = answer.json()
    assert len(report["00081199"]["Value"]) == 1
    failed = {
        item["00081155"]["Value"][0]: (item["00081197"]["Value"][0], item["00000902"]["Value"][0])
        for item in report["00081198"]["Value"]
    }
    assert failed[lost["00080018"]["Value"][0]] == (
        0xC000,
        f"no part has the Content-Location of {PIXELS}",
    )
    assert failed[bad["00080018"]["Value"][0]] == (
        0xC000,
        "a value of 00280010 (US) is no whole number",
    )
    assert len(report["0008119A"]["Value"]) == 1


async def test_nothing_is_fetched_from_elsewhere(client: httpx.AsyncClient) -> None:  # Z-12
    for uri in ("file:///etc/hostname", "http://127.0.0.1:1/x", "../../../etc/hostname", ""):
        answer = await post(client, metadata(described(uri)), bulk("1", NATIVE))
        assert answer.status_code == 409
        (item,) = answer.json()["00081198"]["Value"]
        assert item["00081197"]["Value"] == [0xC000]


async def test_bulk_data_of_nobody_is_a_warning(client: httpx.AsyncClient) -> None:  # S-12
    dataset = described("1")
    answer = await post(client, metadata(dataset), bulk("1", NATIVE), bulk("2", b"x"))
    assert answer.status_code == 202
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081196"] == {"vr": "US", "Value": [0xB006]}
    assert await frame(client, dataset) == NATIVE


async def test_only_instances_of_the_named_study_are_stored(client: httpx.AsyncClient) -> None:
    dataset = described("1")
    answer = await post(client, metadata(dataset), bulk("1", NATIVE), path="/studies/1.2.3")
    assert answer.status_code == 409  # S-03
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA901]


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[NaN]"),
        (JSON, b'"text"'),
        (JSON, b"17"),
        (JSON, b"[" * 100_000),  # Z-11
        (JSON, b"[1e999999999999999999999999" * 10),
        (JSON, b"\xff\xfe[]"),
        (JSON, b"[]"),
        (JSON, b'[{"00080018": {"vr": "UI"}, "00080018": {"vr": "UI", "Value": ["1.2.3"]}}]'),
        (XML, b"<NativeDicomModel>"),
        (XML, b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel>&a;</NativeDicomModel>'),  # Z-10
        (XML, b"{}"),
    ],
)
async def test_malformed_metadata_is_400_and_nothing_is_stored(
    client: httpx.AsyncClient, kind: str, document: bytes
) -> None:
    good = described("1")
    parts = [metadata(good)] if document and document != b"[]" else []
    if kind == XML:
        parts = [({"Content-Type": XML}, write_xml(good))]
    answer = await post(
        client, *parts, ({"Content-Type": kind}, document), bulk("1", NATIVE), kind=kind
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get(path_of(good))).status_code == 404


async def test_metadata_over_a_limit_is_413(client: httpx.AsyncClient) -> None:  # Z-11
    answer = await post(client, ({"Content-Type": JSON}, b"[" + b"{}," * 2_000_000 + b"{}]"))
    assert answer.status_code == 413


async def test_a_part_that_is_referred_to_again_and_again_is_refused(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.store_metadata._SMALL_REUSE", 2**20)
    dataset = described(None)
    for element in range(1, 200):
        dataset[f"0009{0x1000 + element:04X}"] = {"vr": "OB", "BulkDataURI": "1"}
    answer = await post(client, metadata(dataset), bulk("1", bytes(2**16)))
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC002]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": OCTETS, "Content-Transfer-Encoding": "base64"}, 415),
        ({"Content-Type": OCTETS, "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "nonsense"}, 400),
    ],
)
async def test_a_part_that_cannot_be_understood_fails_the_request(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await post(
        client, metadata(described("1")), ({**headers, "Content-Location": "1"}, b"x")
    )
    assert answer.status_code == status


async def test_an_unterminated_body_stores_nothing(client: httpx.AsyncClient) -> None:  # S-23
    dataset = described("1")
    headers = {"content-type": f'multipart/related; type="{JSON}"; boundary=b'}
    body = body_of(metadata(dataset), bulk("1", NATIVE)).removesuffix(b"--b--\r\n")
    assert (await client.post("/studies", content=body, headers=headers)).status_code == 400
    assert (await client.get(path_of(dataset))).status_code == 404


async def test_a_large_value_goes_through_a_file(client: httpx.AsyncClient, app: FastAPI) -> None:
    data = np.random.default_rng(1).bytes(3 * 2**22)
    dataset = described("1", Rows=3, Columns=4096, NumberOfFrames=512, PixelData=b"")
    dataset["00280008"]["Value"] = [512]
    answer = await post(client, metadata(dataset), bulk("1", data))
    assert answer.status_code == 200, answer.text
    assert await frame(client, dataset) == data[: 3 * 4096 * 2]
    assert list(app.state.archive.staging.directory.iterdir()) == []


async def test_a_body_in_gzip_is_unpacked(client: httpx.AsyncClient) -> None:  # G-19
    dataset = described("1")
    body = body_of(metadata(dataset), bulk("1", NATIVE))
    headers = {
        "content-type": f'multipart/related; type="{JSON}"; boundary=b',
        "content-encoding": "gzip",
    }
    two_members = gzip.compress(body[:100]) + gzip.compress(body[100:])
    assert (await client.post("/studies", content=two_members, headers=headers)).status_code == 200
    assert await frame(client, dataset) == NATIVE
    for broken in (gzip.compress(body)[:-9], body, gzip.compress(body)[:30] + b"\0" * 30):
        assert (await client.post("/studies", content=broken, headers=headers)).status_code == 400


async def test_a_bomb_in_gzip_is_413(client: httpx.AsyncClient) -> None:  # G-19, Z-06
    headers = {"content-type": "application/dicom", "content-encoding": "gzip"}
    bomb = gzip.compress(bytes(400 * 2**20), 9)
    assert (await client.post("/studies", content=bomb, headers=headers)).status_code == 413
