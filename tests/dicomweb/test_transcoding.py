"""Frames and Instances in another Transfer Syntax than the stored one, end to end."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from fastapi import FastAPI
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app.archive import transcoding
from app.dicom.codecs import decode_frame
from app.dicom.pixel_description import PixelDescription
from app.errors import Unavailable
from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import split_multipart
from tests.pydicom_oracle import quiet, read

JPEGXLLossless = "1.2.840.10008.1.2.4.110"
DICOM, OCTETS = "application/dicom", "application/octet-stream"
MEDIA_TYPES = {
    JPEGLSLossless: "image/jls",
    JPEG2000Lossless: "image/jp2",
    HTJ2KLossless: "image/jphc",
    HTJ2KLosslessRPCL: "image/jphc",
    JPEGLosslessSV1: "image/jpeg",
    RLELossless: "image/dicom-rle",
    JPEGXLLossless: "image/jxl",
}
DEFAULTS = [uid for uid in MEDIA_TYPES if uid != HTJ2KLosslessRPCL]


def frames_of(*media_types: str, **parameters: str) -> dict[str, str]:
    """Return the header that accepts multiparts of these."""
    more = "".join(f"; {name.replace('_', '-')}={value}" for name, value in parameters.items())
    ranges = [f'multipart/related; type="{name}"{more}' for name in media_types]
    return {"accept": ", ".join(ranges)}


def decoded(codestream: bytes, dataset: Dataset, uid: str, colour: str = "") -> bytes:
    """Return a frame as our decoders have it, which others judge in `dicom/test_encoders`."""
    description = PixelDescription(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.SamplesPerPixel,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        pixel_representation=dataset.PixelRepresentation,
        photometric_interpretation=colour or dataset.PhotometricInterpretation,
        transfer_syntax_uid=uid,
    )
    return decode_frame(codestream, description).data


@pytest.mark.parametrize("uid", MEDIA_TYPES)
async def test_native_frames_are_encoded(client: httpx.AsyncClient, uid: str) -> None:
    dataset = make_dataset(NumberOfFrames=3)  # M-07 M-16 M-24 W-19
    await store(client, make_part10(dataset))
    headers = frames_of(MEDIA_TYPES[uid], transfer_syntax=uid)
    answer = await client.get(f"{path_of(dataset)}/frames/3,1", headers=headers)
    assert answer.headers["content-type"].startswith("multipart/related")
    parts = split_multipart(answer)
    size = len(dataset.PixelData) // 3
    expected = [dataset.PixelData[2 * size :], dataset.PixelData[:size]]
    assert [decoded(content, dataset, uid) for _, content in parts] == expected
    told = f"{MEDIA_TYPES[uid]}; transfer-syntax={uid}"
    assert {head["Content-Type"] for head, _ in parts} == {told}


@pytest.mark.parametrize("uid", DEFAULTS)
@pytest.mark.parametrize("multipart", [True, False])
async def test_a_media_type_means_its_default_syntax(
    client: httpx.AsyncClient, uid: str, multipart: bool
) -> None:  # M-16 M-14
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    name = MEDIA_TYPES[uid]
    headers = frames_of(name) if multipart else {"accept": name}
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers=headers)
    content = split_multipart(answer)[0][1] if multipart else answer.content
    assert decoded(content, dataset, uid) == dataset.PixelData
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("uid", [JPEGLSLossless, JPEG2000Lossless])
async def test_any_native_source_is_encoded(
    client: httpx.AsyncClient, syntax: str, uid: str
) -> None:  # M-24 M-26 M-27
    dataset = make_dataset(NumberOfFrames=2)
    await store(client, make_part10(dataset, transfer_syntax=syntax))
    half = len(dataset.PixelData) // 2
    answer = await client.get(
        f"{path_of(dataset)}/frames/2", headers=frames_of("*/*", transfer_syntax=uid)
    )
    ((_, content),) = split_multipart(answer)
    assert decoded(content, dataset, uid) == dataset.PixelData[half:]
    headers = {"accept": f"{DICOM}; transfer-syntax={uid}"}
    answer = await client.get(path_of(dataset), headers=headers)
    assert answer.headers["content-type"] == f"{DICOM}; transfer-syntax={uid}"
    copy = read(answer.content)
    assert copy.file_meta.TransferSyntaxUID == uid
    assert quiet(pixel_array)(copy, raw=True).tobytes() == dataset.PixelData
    assert copy.PatientName == dataset.PatientName


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "emri_small_jpeg_2k_lossless.dcm"])
async def test_what_is_compressed_is_encoded_anew(client: httpx.AsyncClient, name: str) -> None:
    part10, dataset = sample(name)  # M-24 W-19
    await store(client, part10)
    expected = pixel_array(dataset, raw=True)
    headers = frames_of(DICOM, transfer_syntax=JPEGLSLossless)
    for url in (path_of(dataset), path_of(dataset).rpartition("/instances")[0]):
        ((_, content),) = split_multipart(await client.get(url, headers=headers))
        copy = dcmread(BytesIO(content))
        assert copy.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert np.array_equal(quiet(pixel_array)(copy, raw=True), expected)
        assert copy.get("NumberOfFrames") == dataset.get("NumberOfFrames")


async def test_lossy_pixels_may_go_on_without_more_loss(client: httpx.AsyncClient) -> None:
    part10, dataset = sample("SC_rgb_jpeg_dcmtk.dcm")  # M-25
    await store(client, part10)
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers=frames_of("image/jls"))
    ((_, content),) = split_multipart(answer)
    assert np.array_equal(imagecodecs.jpegls_decode(content), pixel_array(dataset, raw=True))
    for uid in ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"):
        headers = frames_of("*/*", transfer_syntax=uid)
        answer = await client.get(f"{path_of(dataset)}/frames/1", headers=headers)
        assert answer.status_code == 406


async def test_loss_has_to_be_asked_for_by_name(client: httpx.AsyncClient) -> None:  # M-25
    dataset = make_dataset(BitsAllocated=8, BitsStored=8, HighBit=7, Rows=64, Columns=64)
    await store(client, make_part10(dataset))
    path = f"{path_of(dataset)}/frames/1"
    plain = split_multipart(await client.get(path, headers=frames_of("image/jpeg")))
    assert decoded(plain[0][1], dataset, JPEGLosslessSV1) == dataset.PixelData
    headers = frames_of("image/jpeg", transfer_syntax=JPEGBaseline8Bit)
    ((head, content),) = split_multipart(await client.get(path, headers=headers))
    assert head["Content-Type"] == f"image/jpeg; transfer-syntax={JPEGBaseline8Bit}"
    assert imagecodecs.jpeg8_decode(content).shape == (64, 64)
    headers = {"accept": f"{DICOM}; transfer-syntax={JPEGBaseline8Bit}"}
    assert (await client.get(path_of(dataset), headers=headers)).status_code == 406


@pytest.mark.parametrize(
    ("accept", "uid"),
    [
        # M-10: the first that can be had, by weight
        (f'multipart/related; type="*/*"; transfer-syntax=1.2.3; transfer-syntax={RLELossless}', 0),
        ('multipart/related; type="image/jls", multipart/related; type="image/dicom-rle"', 0),
        ('multipart/related; type="image/jxl"; q=0.9, image/dicom-rle; q=0.5', 0),
        ('multipart/related; type="image/x-dicom-rle"', 0),
        ('multipart/related; type="image/*"', 0),  # M-21
        ('multipart/related; type="*/*"', 1),
        ("application/octet-stream; q=0, multipart/related", 0),  # G-05
        ('image/jls, multipart/related; type="application/octet-stream"; q=0.1', 1),
    ],
)
async def test_the_first_that_can_be_had_is_sent(
    client: httpx.AsyncClient, accept: str, uid: int
) -> None:  # 32 bits: of all codecs RLE alone keeps them
    dataset = make_dataset(BitsAllocated=32, BitsStored=32, HighBit=31)
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    syntax = (RLELossless, ExplicitVRLittleEndian)[uid]
    found = (
        answer.headers["content-type"]
        + "".join(head["Content-Type"] for head, _ in split_multipart(answer))
        if "multipart" in answer.headers["content-type"]
        else answer.headers["content-type"]
    )
    assert syntax in re.findall(r"transfer-syntax=([0-9.]+)", found)


@pytest.mark.parametrize(
    ("keywords", "offered"),
    [
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, {RLELossless}),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, set()),
        ({"PixelRepresentation": 1}, set(MEDIA_TYPES) - {JPEGXLLossless}),
        ({}, set(MEDIA_TYPES)),
    ],
)
async def test_406_lists_what_could_be_had_of_this_object(
    client: httpx.AsyncClient, keywords: dict[str, Any], offered: set[str]
) -> None:  # M-07 M-09
    dataset = make_dataset(**keywords)
    await store(client, make_part10(dataset))
    for path, accept, own in (
        (f"{path_of(dataset)}/frames/1", frames_of("image/jpx"), {"*"}),
        (
            path_of(dataset),
            {"accept": f"{DICOM}; transfer-syntax=1.2.3"},
            {"*", ExplicitVRLittleEndian},
        ),
    ):
        answer = await client.get(path, headers=accept)
        assert answer.status_code == 406
        forms = answer.json()["offered"]
        found = {form.partition("transfer-syntax=")[2] for form in forms} - {""}
        assert found == offered | own
        for form in forms:  # each is true
            again = await client.get(path, headers={"accept": form})
            assert again.status_code == 200, form


@pytest.mark.parametrize(
    "dataset",
    [
        make_dataset(PixelData=None, Rows=None, Columns=None),
        make_dataset(
            PixelData=None, FloatPixelData=bytes(4 * 256), BitsAllocated=32, BitsStored=None
        ),
    ],
    ids=["no pixels", "float"],
)
async def test_what_cannot_be_encapsulated_is_406(
    client: httpx.AsyncClient, dataset: Dataset
) -> None:
    await store(client, make_part10(dataset))
    headers = {"accept": f"{DICOM}; transfer-syntax={RLELossless}"}
    assert (await client.get(path_of(dataset), headers=headers)).status_code == 406


@pytest.mark.parametrize(("fits", "status"), [(3, 200), (2, 206), (0, 406)])
async def test_a_series_is_encoded_as_far_as_it_can_be(
    client: httpx.AsyncClient, fits: int, status: int
) -> None:  # W-11
    series = make_series(3)
    for dataset in series[fits:]:
        dataset.BitsAllocated, dataset.Columns = 32, 8  # which JPEG-LS does not hold
    await store(client, *map(make_part10, series))
    url = path_of(series[0]).rpartition("/instances")[0]
    answer = await client.get(url, headers=frames_of(DICOM, transfer_syntax=JPEGLSLossless))
    assert answer.status_code == status
    if fits:
        copies = [dcmread(BytesIO(content)) for _, content in split_multipart(answer)]
        assert [copy.InstanceNumber for copy in copies] == [*range(1, fits + 1)]
        assert {copy.file_meta.TransferSyntaxUID for copy in copies} == {JPEGLSLossless}


def spoil_kept(directory: Path) -> None:
    """Put what cannot be read in place of the kept frame: it counts as thrown away."""
    (kept,) = directory.rglob("encoded-*")
    kept.unlink()
    kept.mkdir()


async def test_a_frame_is_encoded_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    path, headers = f"{path_of(dataset)}/frames/1", frames_of("image/jls")
    first = split_multipart(await client.get(path, headers=headers))

    async def fail(*_: object) -> None:
        raise Unavailable("no worker was asked for")

    monkeypatch.setattr(transcoding, "transcode_frame", fail)
    assert split_multipart(await client.get(path, headers=headers)) == first
    spoil_kept(tmp_path)
    assert (await client.get(path, headers=headers)).status_code == 503


async def test_a_cache_that_is_full_does_no_harm(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        type(app.state.archive.cache), "temporary", lambda _: tmp_path / "no directory" / "file"
    )
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers=frames_of("image/jls"))
    ((_, content),) = split_multipart(answer)
    assert decoded(content, dataset, JPEGLSLossless) == dataset.PixelData


@pytest.mark.parametrize(
    "uid", [*(uid for uid in MEDIA_TYPES if uid != JPEGXLLossless), JPEGBaseline8Bit]
)
async def test_broken_codestreams_end_one_request(client: httpx.AsyncClient, uid: str) -> None:
    dataset = make_dataset(BitsAllocated=8, BitsStored=8, HighBit=7)  # I-11
    junk = np.random.default_rng(1).bytes(500)
    await store(client, make_part10(dataset, transfer_syntax=uid, frames=[b"\xff\xd8\xff" + junk]))
    target = JPEG2000Lossless if uid != JPEG2000Lossless else RLELossless
    for path, headers in (
        (f"{path_of(dataset)}/frames/1", {"accept": "*/*"}),
        (f"{path_of(dataset)}/frames/1", frames_of("*/*", transfer_syntax=target)),
        (path_of(dataset), {"accept": f"{DICOM}; transfer-syntax={target}"}),
    ):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
    fine = make_dataset()
    await store(client, make_part10(fine))
    path = f"{path_of(fine)}/frames/1"
    assert (await client.get(path, headers=frames_of("image/jls"))).status_code == 200


@pytest.mark.parametrize(
    "hostile",
    [
        {"Rows": 65535, "Columns": 65535},
        {"SamplesPerPixel": 60000},
        {"NumberOfFrames": 2**31 - 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("uid", [JPEGLSLossless, ExplicitVRLittleEndian])
async def test_hostile_descriptions_are_refused(
    client: httpx.AsyncClient, hostile: dict[str, int], uid: str
) -> None:  # Z-04
    dataset = make_dataset(PixelData=bytes(100), **hostile)
    part10 = make_part10(dataset, transfer_syntax=uid, frames=[bytes(100)])
    await client.post("/studies", content=part10, headers={"content-type": "application/dicom"})
    for path, headers in (
        (f"{path_of(dataset)}/frames/1", {"accept": "*/*"}),
        (f"{path_of(dataset)}/frames/1", frames_of("*/*", transfer_syntax=JPEG2000Lossless)),
        (path_of(dataset), {"accept": f"{DICOM}; transfer-syntax={JPEG2000Lossless}"}),
    ):
        answer = await client.get(path, headers=headers)
        assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_video_passes_through(client: httpx.AsyncClient, pieces: int) -> None:  # M-17
    stream = b"\0\0\0\x20ftypisom" + np.random.default_rng(2).bytes(996)
    step = -(-len(stream) // pieces)
    fragments = [stream[at : at + step] for at in range(0, len(stream), step)]
    uid = MPEG4HP41 if pieces == 1 else f"{MPEG4HP41}.1"
    dataset = make_dataset(
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_PARTIAL_420",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SOPClassUID=EnhancedCTImageStorage,
    )
    dataset.NumberOfFrames = 30
    part10 = make_part10(dataset, transfer_syntax=uid, frames=fragments)
    assert encapsulate(fragments) in part10
    await store(client, part10)
    for accept, media_type in (
        (frames_of("video/mp4", transfer_syntax=uid), "video/mp4"),
        (frames_of("video/*"), "video/mp4"),
        (frames_of("video/mp4", transfer_syntax="*"), "video/mp4"),
        (frames_of("*/*"), "video/mp4"),
        (frames_of(OCTETS, transfer_syntax="*"), OCTETS),
    ):
        answer = await client.get(f"{path_of(dataset)}/frames/1", headers=accept)
        assert answer.status_code == 200, answer.text
        ((head, content),) = split_multipart(answer)
        assert content == stream
        assert head["Content-Type"] == f"{media_type}; transfer-syntax={uid}"
    for wanted in ("*/*", f"{DICOM}; transfer-syntax={uid}", f"{DICOM}; transfer-syntax=*"):
        answer = await client.get(path_of(dataset), headers={"accept": wanted})
        body = answer.content
        if "multipart" in answer.headers["content-type"]:
            ((_, body),) = split_multipart(answer)
        assert body == part10
    headers = {"accept": f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}"}
    assert (await client.get(path_of(dataset), headers=headers)).status_code == 406
