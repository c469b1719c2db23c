"""WADO-RS: Instances, metadata and bulk data as they leave."""

from io import BytesIO
from pathlib import Path

import httpx
import orjson
import pytest
from fastapi import FastAPI
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import RELATED, make_multipart, split_multipart

DICOM, OCTETS = "application/dicom", "application/octet-stream"
ANY = f'multipart/related; type="{DICOM}"; transfer-syntax=*'
EXPLICIT = f'multipart/related; type="{DICOM}"'


async def store(client: httpx.AsyncClient, *parts: bytes) -> None:
    headers = {"content-type": RELATED}
    answer = await client.post("/studies", content=make_multipart(*parts), headers=headers)
    assert answer.status_code == 200, answer.text


def path_of(dataset: Dataset) -> str:
    return (
        f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


def sample(name: str) -> tuple[bytes, Dataset]:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found).read_bytes(), dcmread(found)


@pytest.mark.parametrize("accept", [ANY, EXPLICIT, "*/*", "multipart/related", ""])
async def test_a_series_comes_whole_and_in_order(client: httpx.AsyncClient, accept: str) -> None:
    series = make_series(12)
    parts = [make_part10(dataset) for dataset in series]
    await store(client, *reversed(parts))
    url = path_of(series[0]).rpartition("/instances")[0]
    for path in (url, url.rpartition("/series")[0]):  # W-01, W-02
        answer = await client.get(path, headers={"accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(f'multipart/related; type="{DICOM}"')
        assert [content for _, content in split_multipart(answer)] == parts
        fields = {head["Content-Type"] for head, _ in split_multipart(answer)}
        assert fields == {f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}"}  # M-08


async def test_an_instance_comes_alone_if_asked(client: httpx.AsyncClient) -> None:  # M-11
    dataset = make_dataset()
    part10 = make_part10(dataset)
    await store(client, part10)
    answer = await client.get(path_of(dataset), headers={"accept": DICOM})
    assert answer.content == part10
    assert answer.headers["content-length"] == str(len(part10))
    answer = await client.get(path_of(dataset), headers={"accept": ANY})
    assert answer.headers["content-length"] == str(len(answer.content))  # G-02


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
async def test_any_uncompressed_source_leaves_explicit(
    client: httpx.AsyncClient, syntax: str
) -> None:  # M-03, M-05
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=syntax))
    answer = await client.get(path_of(dataset), headers={"accept": DICOM})
    got = dcmread(BytesIO(answer.content))
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert got.PixelData == dataset.PixelData
    assert got.PatientName == dataset.PatientName


async def test_deflated_leaves_as_it_is_for_any(client: httpx.AsyncClient) -> None:  # M-06, M-27
    dataset = make_dataset()
    part10 = make_part10(dataset, transfer_syntax=DeflatedExplicitVRLittleEndian)
    await store(client, part10)
    answer = await client.get(path_of(dataset), headers={"accept": ANY})
    assert split_multipart(answer)[0][1] == part10


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"],
)
async def test_lossless_pixels_are_decoded(client: httpx.AsyncClient, name: str) -> None:
    part10, dataset = sample(name)  # M-03, M-24
    await store(client, part10)
    answer = await client.get(path_of(dataset), headers={"accept": DICOM})
    got = dcmread(BytesIO(answer.content))
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (got.pixel_array == dataset.pixel_array).all()


async def test_lossy_pixels_stay(client: httpx.AsyncClient) -> None:  # M-04
    part10, dataset = sample("SC_rgb_jpeg_dcmtk.dcm")
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    await store(client, part10)
    answer = await client.get(path_of(dataset), headers={"accept": DICOM})
    assert answer.content == part10


async def test_an_unpixelled_object_of_a_compressed_syntax_leaves_explicit(
    client: httpx.AsyncClient,
) -> None:
    dataset = make_dataset(PixelData=None, Rows=None, Columns=None)
    await store(client, make_part10(dataset, transfer_syntax=RLELossless))
    answer = await client.get(path_of(dataset), headers={"accept": DICOM})
    got = dcmread(BytesIO(answer.content))
    assert got.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert got.PatientName == dataset.PatientName


async def test_what_cannot_be_made_is_left_out_and_said(client: httpx.AsyncClient) -> None:
    one, other = make_series(2)  # W-11
    one.BitsAllocated, one.Columns = 32, 8  # which JPEG-LS does not hold
    await store(client, make_part10(one), make_part10(other, transfer_syntax=JPEGLSLossless))
    url = path_of(one).rpartition("/series")[0]
    accept = f'multipart/related; type="{DICOM}"; transfer-syntax={JPEGLSLossless}'
    answer = await client.get(url, headers={"accept": accept})
    assert answer.status_code == 206
    assert len(split_multipart(answer)) == 1


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        f'multipart/related; type="{DICOM}"; transfer-syntax={ImplicitVRLittleEndian}',
        f'multipart/related; type="{DICOM}"; transfer-syntax=1.2.3.bad',  # M-09
        f'multipart/related; type="{OCTETS}"',
    ],
)
async def test_nothing_acceptable_is_406_with_a_list(
    client: httpx.AsyncClient, accept: str
) -> None:  # G-03, M-07
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(path_of(dataset), headers={"accept": accept})
    assert answer.status_code == 406
    assert any(DICOM in form for form in answer.json()["offered"])


async def test_one_body_is_no_answer_for_a_series(client: httpx.AsyncClient) -> None:  # M-12
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url = path_of(dataset).rpartition("/instances")[0]
    assert (await client.get(url, headers={"accept": DICOM})).status_code == 406


async def test_a_lost_object_is_a_clean_503(client: httpx.AsyncClient, tmp_path: Path) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    (path,) = (tmp_path / "objects" / "t").rglob("*.dcm")
    path.rename(tmp_path / "elsewhere")
    for accept in (ANY, DICOM):
        answer = await client.get(path_of(dataset), headers={"accept": accept})
        assert answer.status_code == 503
        assert str(tmp_path) not in answer.text


# --- metadata -----------------------------------------------------------------------------------


def expected(dataset: Dataset) -> dict[str, object]:
    document: dict[str, object] = dataset.to_json_dict(bulk_data_threshold=10**9)
    document.pop("7FE00010", None)
    return document


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_metadata_comes_on_three_levels(client: httpx.AsyncClient, coding: str) -> None:
    series = make_series(3)  # W-04, J-01, J-06
    await store(client, *map(make_part10, series))
    instance = path_of(series[0])
    for path, count in [
        (instance, 1),
        (instance.rpartition("/instances")[0], 3),
        (instance.rpartition("/series")[0], 3),
    ]:
        for _ in ("made", "kept"):
            answer = await client.get(f"{path}/metadata", headers={"accept-encoding": coding})
            assert answer.headers["content-type"] == "application/dicom+json"
            assert answer.headers.get("content-encoding", "identity") == coding
            documents = answer.json()
            pixels = [document.pop("7FE00010") for document in documents]
            assert documents == [expected(dataset) for dataset in series[:count]]
            assert (
                pixels[0]["BulkDataURI"]
                == f"{client.base_url}{instance.lstrip('/')}/bulkdata/7FE00010"
            )


async def test_metadata_that_the_client_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    one, other = make_series(2)  # G-16
    await store(client, make_part10(one))
    url = path_of(one).rpartition("/instances")[0] + "/metadata"
    first = await client.get(url)
    headers = {"if-none-match": first.headers["etag"]}
    assert (await client.get(url, headers=headers)).status_code == 304
    await store(client, make_part10(other))
    second = await client.get(url, headers=headers)
    assert (second.status_code, len(second.json())) == (200, 2)


async def test_a_cache_that_cannot_be_written_stops_no_reader(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    (tmp_path / "cache").rmdir()
    url = path_of(dataset).rpartition("/instances")[0] + "/metadata"
    assert len((await client.get(url)).json()) == 1


async def test_metadata_in_another_form_is_406(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    headers = {"accept": 'multipart/related; type="application/pdf"'}
    answer = await client.get(path_of(dataset) + "/metadata", headers=headers)
    assert answer.status_code == 406


# --- bulk data ----------------------------------------------------------------------------------

WAVE = bytes(range(256)) * 40


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
async def test_bulk_values_come_by_their_uri_in_little_endian(
    client: httpx.AsyncClient, syntax: str
) -> None:  # W-08, J-17, M-15
    item = Dataset()
    item.LUTDescriptor = [5120, 0, 16]
    item.add_new(0x00283006, "OW", WAVE)
    dataset = make_dataset(ModalityLUTSequence=[item])
    encoded = make_dataset(**{"ModalityLUTSequence": [item]})
    encoded.SOPInstanceUID = dataset.SOPInstanceUID
    big = syntax == ExplicitVRBigEndian
    if big:
        swapped = b"".join(WAVE[i : i + 2][::-1] for i in range(0, len(WAVE), 2))
        encoded.ModalityLUTSequence[0]["LUTData"].value = swapped
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(encoded, keyword, getattr(dataset, keyword))
    await store(client, make_part10(encoded, transfer_syntax=syntax))
    document = (await client.get(path_of(dataset) + "/metadata")).json()[0]
    nested = document["00283000"]["Value"][0]["00283006"]["BulkDataURI"]
    assert nested.endswith("/bulkdata/00283000/1/00283006")
    for uri, value in [(nested, WAVE), (document["7FE00010"]["BulkDataURI"], dataset.PixelData)]:
        alone = await client.get(uri)
        assert alone.headers["content-type"].startswith(OCTETS)  # M-14
        assert alone.content == value
        accept = f'multipart/related; type="{OCTETS}"'  # M-13
        ((head, content),) = split_multipart(await client.get(uri, headers={"accept": accept}))
        assert content == value
        assert head["Content-Location"] == uri  # W-10


async def test_compressed_pixel_data_comes_as_its_frames(client: httpx.AsyncClient) -> None:
    part10, dataset = sample("MR_small_RLE.dcm")
    await store(client, part10)
    uri = f"{path_of(dataset)}/bulkdata/7FE00010"
    ((_, content),) = split_multipart(await client.get(uri))
    assert content == dataset.pixel_array.astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("00100010", "*/*", 404),
        ("..%2F..%2F..", "*/*", 404),
        ("nonsense/1", "*/*", 404),
        ("7FE00010", "image/png", 406),
        ("7FE00010", f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.5", 406),
        ("7FE00010", f"{OCTETS}; transfer-syntax=*", 200),
    ],
)
async def test_bulk_data_that_is_not_there_or_not_so(
    client: httpx.AsyncClient, path: str, accept: str, status: int
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url = f"{path_of(dataset)}/bulkdata/{path}"
    assert (await client.get(url, headers={"accept": accept})).status_code == status


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["", "/metadata", "/bulkdata/7FE00010", "/frames/1"])
@pytest.mark.parametrize(
    ("uid", "status"), [("1.2.3", 404), ("not-a-uid", 400), ("1" * 65, 400), ("..%2F..", 400)]
)
async def test_unknown_is_404_and_malformed_400(
    client: httpx.AsyncClient, tail: str, uid: str, status: int
) -> None:  # G-11, G-12, Z-01
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url = path_of(dataset).replace(f"/instances/{dataset.SOPInstanceUID}", f"/instances/{uid}")
    answer = await client.get(url + tail)
    assert answer.status_code in {status, 404}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("tail", ["", "/metadata", "/bulkdata/7FE00010", "/frames/1"])
async def test_a_right_instance_under_a_wrong_parent_is_404(
    client: httpx.AsyncClient, tail: str
) -> None:  # W-17
    one, other = make_dataset(), make_dataset()
    await store(client, make_part10(one), make_part10(other))
    for wrong in ("StudyInstanceUID", "SeriesInstanceUID"):
        url = path_of(one).replace(getattr(one, wrong), getattr(other, wrong))
        assert (await client.get(url + tail)).status_code == 404


@pytest.mark.parametrize("tail", ["", "/metadata", "/bulkdata/7FE00010", "/frames/1"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, tail: str) -> None:  # G-15
    dataset = make_dataset(Rows=2000, Columns=2000)
    await store(client, make_part10(dataset))
    path = path_of(dataset) + tail
    got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers.get("content-length") == got.headers.get("content-length")
    assert (
        head.headers["content-type"].partition("boundary")[0]
        == (got.headers["content-type"].partition("boundary")[0])
    )
    assert (await client.head(path.replace("/series/", "/series/1."))).status_code == 404


async def test_a_wrong_method_is_405_with_what_is_right(client: httpx.AsyncClient) -> None:
    answer = await client.put("/studies/1.2.3")  # G-10, S-34
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    assert answer.json()["detail"] == "This path takes DELETE, GET, HEAD, OPTIONS, POST, not PUT"


async def test_strangers_are_refused_everywhere(app: FastAPI, client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    paths = [path_of(dataset) + tail for tail in ("", "/metadata", "/bulkdata/7FE00010")]
    for path in [*paths, path_of(dataset) + "/frames/1", "/studies"]:
        answer = await client.get(path, headers={"host": "evil.example"})
        assert answer.status_code == 403
        assert orjson.loads(answer.content)["status"] == 403
