"""All Bulk Data at once, and documents under their own media type."""

from io import BytesIO
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRBigEndian

from tests.dicomweb.conftest import BASE
from tests.dicomweb.test_wado_rs import OCTETS, path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import split_multipart

H264, JPEG_PROGRESSIVE = "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.55"
PDF = b"%PDF-1.4 " + b"x" * 9001


def document(media_type: str) -> Any:
    return make_dataset(
        SOPClassUID=EncapsulatedPDFStorage,
        Rows=None,
        PixelData=None,
        Modality="DOC",
        EncapsulatedDocument=PDF,
        MIMETypeOfEncapsulatedDocument=media_type,
    )


async def test_all_values_come_each_with_its_address(client: httpx.AsyncClient) -> None:
    # W-09, W-10, W-16
    series = make_series(2)
    for dataset in series:
        dataset.add_new(0x60003000, "OW", bytes(range(256)) * 20)
    await store(client, *map(make_part10, series))
    instance = path_of(series[0])
    for url, count in (
        (instance, 2),
        (instance.rpartition("/instances")[0], 4),
        (instance.partition("/series")[0], 4),
    ):
        answer = await client.get(f"{url}/bulkdata")
        assert answer.headers["content-type"].startswith(f'multipart/related; type="{OCTETS}"')
        parts = split_multipart(answer)
        assert len(parts) == count
        for head, content in parts:
            assert head["Content-Location"].startswith(BASE + url)
            alone = await client.get(head["Content-Location"], headers={"accept": OCTETS})
            assert alone.content == content
        pixels = split_multipart(await client.get(f"{url}/pixeldata"))
        wanted = [dataset.PixelData for dataset in series[: count // 2]]
        assert [content for _, content in pixels] == wanted


async def test_digits_of_a_tag_are_of_any_case(client: httpx.AsyncClient) -> None:  # W-08
    plain = make_dataset()
    data, compressed = sample("SC_rgb_rle_2frame.dcm")
    await store(client, make_part10(plain), data)
    answer = await client.get(f"{path_of(plain)}/bulkdata/7fe00010", headers={"accept": OCTETS})
    assert answer.content == plain.PixelData
    assert answer.headers["content-location"].endswith("/bulkdata/7FE00010")
    url = f"{path_of(compressed)}/bulkdata/7fe00010"
    assert len(split_multipart(await client.get(url))) == 2


async def test_encapsulated_pixels_come_as_their_frames(client: httpx.AsyncClient) -> None:
    data, dataset = sample("SC_rgb_rle_2frame.dcm")
    await store(client, data)
    stored = {"accept": f'multipart/related; type="{OCTETS}"; transfer-syntax=*'}
    parts = split_multipart(await client.get(f"{path_of(dataset)}/pixeldata", headers=stored))
    assert [head["Content-Location"].rpartition("/frames/")[2] for head, _ in parts] == ["1", "2"]
    assert all("1.2.840.10008.1.2.5" in head["Content-Type"] for head, _ in parts)
    for head, content in parts:
        alone = await client.get(
            head["Content-Location"], headers={"accept": f"{OCTETS}; transfer-syntax=*"}
        )
        assert alone.content == content


async def test_pixels_are_decoded_unless_a_syntax_is_named(client: httpx.AsyncClient) -> None:
    data, dataset = sample("SC_rgb_rle_2frame.dcm")
    await store(client, data)
    for door in ("pixeldata", "bulkdata"):  # M-03
        parts = split_multipart(await client.get(f"{path_of(dataset)}/{door}"))
        assert b"".join(content for _, content in parts) == dataset.pixel_array.tobytes()
        assert all("1.2.840.10008.1.2.1" in head["Content-Type"] for head, _ in parts)


async def test_values_are_little_endian_whatever_is_stored(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=ExplicitVRBigEndian))
    ((_, content),) = split_multipart(await client.get(f"{path_of(dataset)}/pixeldata"))
    assert content == dataset.PixelData  # made little endian


async def test_where_there_is_none_it_is_not_found(client: httpx.AsyncClient) -> None:
    dataset = make_dataset(Rows=None, PixelData=None)
    await store(client, make_part10(dataset))
    for door in ("/bulkdata", "/pixeldata"):
        assert (await client.get(path_of(dataset) + door)).status_code == 404
        assert (await client.get(f"/studies/1.2.3{door}")).status_code == 404
    stored = make_dataset()
    await store(client, make_part10(stored))
    answer = await client.get(f"{path_of(stored)}/bulkdata", headers={"accept": "image/jpeg"})
    assert answer.status_code == 406
    alone = await client.get(f"{path_of(stored)}/bulkdata", headers={"accept": OCTETS})
    assert alone.status_code == 406  # M-12
    assert alone.json()["offered"] == [f'multipart/related; type="{OCTETS}"']


@pytest.mark.parametrize("syntax", [H264, JPEG_PROGRESSIVE])
async def test_pixels_that_nothing_decodes_break_off_no_answer(
    client: httpx.AsyncClient, syntax: str
) -> None:  # W-11
    native, other = make_series(2)
    frame = b"\xff\xd8" + b"video" * 99 + b"\0"
    other.PixelData = frame
    await store(client, make_part10(native), make_part10(other, transfer_syntax=syntax))
    octets = {"accept": f'multipart/related; type="{OCTETS}"'}
    instance = path_of(other)
    for url in (instance.rpartition("/instances")[0], instance.partition("/series")[0]):
        for door in ("pixeldata", "bulkdata"):
            answer = await client.get(f"{url}/{door}")
            assert answer.status_code == 200
            assert sorted(part for _, part in split_multipart(answer)) == sorted(
                [native.PixelData, frame]
            )
            answer = await client.get(f"{url}/{door}", headers=octets)
            assert answer.status_code == 206
            assert [part for _, part in split_multipart(answer)] == [native.PixelData]
    for door in ("pixeldata", "bulkdata"):
        ((head, content),) = split_multipart(answer := await client.get(f"{instance}/{door}"))
        alone = await client.get(f"{instance}/bulkdata/7FE00010")
        ((kept, _),) = split_multipart(alone)
        assert content == frame
        assert head["Content-Type"] == kept["Content-Type"]
        assert head["Content-Type"].partition(";")[0] in answer.headers["content-type"]
        refused = await client.get(f"{instance}/{door}", headers=octets)
        assert refused.status_code == 406
        (offered,) = refused.json()["offered"]
        answer = await client.get(f"{instance}/{door}", headers={"accept": offered})
        assert [part for _, part in split_multipart(answer)] == [frame]


@pytest.mark.parametrize(
    ("stored", "accept", "sent"),
    [
        ("application/pdf", "*/*", "application/pdf"),
        ("text/xml", "*/*", "text/xml"),
        ("application/pdf", "application/pdf", "application/pdf"),
        ("application/pdf", OCTETS, OCTETS),
        ("application/pdf", f'{OCTETS}, multipart/related; type="application/pdf"', OCTETS),
        ("text/html", "*/*", OCTETS),
        ("text/html; charset=utf-8", "*/*", OCTETS),
    ],
)
async def test_a_document_has_its_own_type_if_it_does_no_harm(
    client: httpx.AsyncClient, stored: str, accept: str, sent: str
) -> None:  # W-21
    dataset = document(stored)
    await store(client, make_part10(dataset))
    url = f"{path_of(dataset)}/bulkdata/00420011"
    answer = await client.get(url, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == sent
    assert answer.headers["x-content-type-options"] == "nosniff"
    sandboxed = "sandbox" in answer.headers.get("content-security-policy", "")
    assert sandboxed == (sent != "application/pdf")  # which has a viewer of the browser's own
    assert answer.content == dcmread(BytesIO(make_part10(dataset))).EncapsulatedDocument


async def test_a_document_comes_as_a_part_under_its_own_type(client: httpx.AsyncClient) -> None:
    dataset = document("application/pdf")
    await store(client, make_part10(dataset))
    accept = f'multipart/related; type="application/pdf", multipart/related; type="{OCTETS}"'
    url = f"{path_of(dataset)}/bulkdata/00420011"
    answer = await client.get(url, headers={"accept": accept})
    ((head, content),) = split_multipart(answer)
    assert head["Content-Type"] == "application/pdf"
    assert content.startswith(PDF)
    answer = await client.get(url, headers={"accept": "text/html"})
    assert answer.status_code == 406
    assert "application/pdf" in answer.json()["offered"]
