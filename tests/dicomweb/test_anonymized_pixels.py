"""WADO-URI with anonymize=yes: of pixels only pixels travel, nothing around them (U-09)."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicomweb.test_anonymized import DICOM, ask
from tests.dicomweb.test_wado_rs import sample, store
from tests.factories import make_dataset, make_part10

PLANTED = b"Doe^Jane was here!"
COMPRESSED = {
    "MR_small_RLE.dcm": RLELossless,
    "SC_rgb_rle_2frame.dcm": RLELossless,
    "SC_rgb_jpeg_gdcm.dcm": JPEGLosslessSV1,
    "SC_rgb_small_odd_jpeg.dcm": JPEGBaseline8Bit,
    "JPGExtended.dcm": JPEGExtended12Bit,
    "MR_small_jpeg_ls_lossless.dcm": JPEGLSLossless,
    "MR2_J2KR.dcm": JPEG2000Lossless,
    "MR2_J2KI.dcm": JPEG2000,
}
"""A sample of each compressed Transfer Syntax."""


def planted(name: str, place: str) -> Dataset:
    """Return a sample with a text in or behind its frames, and nothing else to refuse it for."""
    _, dataset = sample(name)
    dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.BurnedInAnnotation = "NO"
    count = int(dataset.get("NumberOfFrames", 1))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    if place == "behind each frame":
        frames = [frame + PLANTED for frame in frames]
    elif place == "within each frame" and frames[0].startswith(b"\xff\xd8"):
        frames = [frame[:2] + b"\xff\xfe\0\x14" + PLANTED + frame[2:] for frame in frames]
    elif place == "in one more fragment":
        frames.append(PLANTED)
    fragments = [frame + bytes(len(frame) % 2) for frame in frames]
    dataset.PixelData = encapsulate(fragments, has_bot=False)
    if place == "in the offset table":
        table = b"\xfe\xff\x00\xe0" + len(PLANTED).to_bytes(4, "little") + PLANTED
        dataset.PixelData = table + dataset.PixelData[8:]
    return dataset


def is_strict(stored: str, place: str) -> bool:
    """Say whether the decoder refuses a frame for what is behind it."""
    return stored == RLELossless and place in {"behind each frame", "in one more fragment"}


@pytest.mark.filterwarnings("ignore")  # samples of other classes
@pytest.mark.parametrize(
    "place",
    ["behind each frame", "within each frame", "in one more fragment", "in the offset table"],
)
@pytest.mark.parametrize(("name", "stored"), COMPRESSED.items())
async def test_of_compressed_pixels_nothing_else_travels(
    client: httpx.AsyncClient, name: str, stored: str, place: str
) -> None:
    dataset = planted(name, place)
    buffer = BytesIO()
    dataset.save_as(buffer)
    assert dataset.file_meta.TransferSyntaxUID == stored
    await store(client, buffer.getvalue())
    decoded = {"", "*", ExplicitVRLittleEndian}
    for wanted in (*decoded, stored, RLELossless, JPEGLSLossless):
        answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
        assert PLANTED not in answer.content
        if is_strict(stored, place):
            assert answer.status_code == 409
        elif answer.status_code == 406:
            assert wanted not in decoded
            assert f"{DICOM}; transfer-syntax={ExplicitVRLittleEndian}" in answer.json()["offered"]
        else:
            after = dcmread(BytesIO(answer.content))
            syntax = ExplicitVRLittleEndian if wanted in decoded else wanted
            assert after.file_meta.TransferSyntaxUID == syntax
            if wanted in decoded:
                size = after.Rows * after.Columns * after.SamplesPerPixel * after.BitsAllocated // 8
                size *= int(after.get("NumberOfFrames", 1))
                assert len(after.PixelData) == size + size % 2


@pytest.mark.parametrize(
    ("wanted", "status"),
    [(JPEG2000Lossless, 200), (JPEG2000, 406), (ImplicitVRLittleEndian, 406), ("9.9", 406)],
)
async def test_the_stored_syntax_is_encoded_anew_or_refused(
    client: httpx.AsyncClient, wanted: str, status: int
) -> None:
    dataset = planted("MR2_J2KR.dcm", "behind each frame")
    buffer = BytesIO()
    dataset.save_as(buffer)
    await store(client, buffer.getvalue())
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    assert answer.status_code == status
    if status == 406:
        assert wanted in answer.json()["detail"]
        assert f"{DICOM}; transfer-syntax={JPEG2000Lossless}" in answer.json()["offered"]
        assert not any(one.rpartition("=")[2] == JPEG2000 for one in answer.json()["offered"])
        return
    _, before = sample("MR2_J2KR.dcm")
    assert np.array_equal(dcmread(BytesIO(answer.content)).pixel_array, before.pixel_array)


@pytest.mark.parametrize("stored", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("wanted", ["", JPEGLSLossless])
async def test_of_native_pixels_nothing_else_travels(
    client: httpx.AsyncClient, stored: str, wanted: str
) -> None:
    dataset = make_dataset()
    pixels = dataset.PixelData
    dataset.PixelData = pixels + PLANTED
    await store(client, make_part10(dataset, transfer_syntax=stored))
    answer = await ask(client, dataset, contentType=DICOM, transferSyntax=wanted)
    assert PLANTED not in answer.content
    assert dcmread(BytesIO(answer.content)).pixel_array.tobytes() == pixels


@pytest.mark.parametrize("content_type", ["", DICOM, "video/mpeg", "video/mp4", "video/mpeg,*/*"])
async def test_a_video_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    dataset = make_dataset(NumberOfFrames=3)
    await store(client, make_part10(dataset, transfer_syntax=MPEG2MPML, frames=[PLANTED]))
    answer = await ask(client, dataset, contentType=content_type)
    assert answer.status_code == 406
    assert PLANTED not in answer.content
    assert "video" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("syntax", "keywords", "status", "words"),
    [
        ("1.2.840.10008.1.2.4.94", {}, 406, "compressed, where"),
        ("1.2.840.10008.1.2.4.52", {}, 406, "cannot be decoded"),
        (JPEGLSLossless, {}, 409, "JPEG codestream"),
        (ExplicitVRLittleEndian, {"Rows": 0}, 406, "how long"),
    ],
)
async def test_pixels_that_cannot_be_told_from_texts_are_refused(
    client: httpx.AsyncClient, syntax: str, keywords: dict[str, object], status: int, words: str
) -> None:
    dataset = make_dataset()
    for keyword, value in keywords.items():
        setattr(dataset, keyword, value)
    frames = None if syntax == ExplicitVRLittleEndian else [PLANTED]
    await store(client, make_part10(dataset, transfer_syntax=syntax, frames=frames))
    answer = await ask(client, dataset, contentType=DICOM)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_uids_of_vr_un_are_replaced(client: httpx.AsyncClient) -> None:
    data, dataset = sample("explicit_VR-UN.dcm")
    await store(client, data)
    answer = await ask(client, dataset, contentType=DICOM)
    after = dcmread(BytesIO(answer.content))
    assert after.SOPClassUID == dataset.SOPClassUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert after[keyword].value.startswith("2.25.")
        assert dataset[keyword].value.encode() not in answer.content
