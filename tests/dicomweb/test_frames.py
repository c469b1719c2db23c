"""Frames: the hot route, and all that is no plain range of bytes."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames, itemize_fragment
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from app.dicomweb.frames import FRAMES_CONTRACT, MOST_FRAMES, frame_numbers
from app.errors import InvalidRequest
from app.web.faults import BrokenOff
from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10
from tests.multipart import split_multipart

OCTETS = "application/octet-stream"
ANY = f"multipart/related; type={OCTETS}; transfer-syntax=*"


def split_frames(dataset: Dataset) -> list[bytes]:
    """Return native frames as pydicom has them."""
    array = dataset.pixel_array
    frames = array if int(dataset.get("NumberOfFrames") or 1) > 1 else array[np.newaxis]
    return [np.ascontiguousarray(frame).tobytes() for frame in frames]


def test_the_contract_names_all_media_types_of_frames() -> None:  # M-16, M-17
    (item,) = FRAMES_CONTRACT.values()
    content = item["get"]["responses"]["200"]["content"]
    for media_type in ("image/jls", "image/jp2", "image/jphc", "image/jxl", "video/mp4", OCTETS):
        assert media_type in content
        assert f'multipart/related; type="{media_type}"' in content


@pytest.mark.parametrize("accept", [ANY, f'multipart/related; type="{OCTETS}"', "*/*", ""])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
async def test_frames_come_in_the_order_of_the_list(
    client: httpx.AsyncClient, accept: str, syntax: str
) -> None:  # W-06, M-13, M-28
    dataset = make_dataset(NumberOfFrames=4)
    await store(client, make_part10(dataset, transfer_syntax=syntax))
    size = len(dataset.PixelData) // 4
    frames = [dataset.PixelData[i * size : (i + 1) * size] for i in range(4)]
    for wanted in ([1], [3, 1], [4, 4, 2]):
        path = f"{path_of(dataset)}/frames/{','.join(map(str, wanted))}"
        answer = await client.get(path, headers={"accept": accept})
        assert answer.headers["content-length"] == str(len(answer.content))
        parts = split_multipart(answer)
        assert [content for _, content in parts] == [frames[number - 1] for number in wanted]
        # viewers read the syntax there, and take its absence for implicit VR
        expected = f"{OCTETS}; transfer-syntax={ExplicitVRLittleEndian}"
        assert {head["Content-Type"] for head, _ in parts} == {expected}


async def test_one_frame_can_come_alone(client: httpx.AsyncClient) -> None:  # M-14
    dataset = make_dataset(NumberOfFrames=2)
    await store(client, make_part10(dataset))
    path = f"{path_of(dataset)}/frames/2"
    half = len(dataset.PixelData) // 2
    for _ in ("cold", "hot"):
        answer = await client.get(path, headers={"accept": OCTETS})
        assert answer.content == dataset.PixelData[half:]
        assert answer.headers["content-type"].startswith(OCTETS)
    answer = await client.get(f"{path_of(dataset)}/frames/1,2", headers={"accept": OCTETS})
    assert answer.status_code == 406  # M-12


async def test_the_accept_parameter_counts(client: httpx.AsyncClient) -> None:  # G-06
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/frames/1?accept={OCTETS}")
    assert answer.content == dataset.PixelData


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("shape", [(5, 3), (4, 4)])
async def test_big_endian_frames_are_turned(
    client: httpx.AsyncClient, bits: int, shape: tuple[int, int]
) -> None:  # M-05, M-15
    rows, columns = shape
    dataset = make_dataset(
        NumberOfFrames=3,
        Rows=rows,
        Columns=columns,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
    )
    native = dataset.PixelData
    word = max(bits // 8, 2)  # pixels of one byte are pairs in a word of OW
    padded = native + bytes(-len(native) % word)
    dataset.PixelData = np.frombuffer(padded, f"<u{word}").byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    part10 = BytesIO()
    dcmwrite(part10, dataset, enforce_file_format=True)
    await store(client, part10.getvalue())
    size = rows * columns * bits // 8
    answer = await client.get(f"{path_of(dataset)}/frames/1,2,3", headers={"accept": ANY})
    expected = [native[i * size : (i + 1) * size] for i in range(3)]
    assert [content for _, content in split_multipart(answer)] == expected


async def test_one_bit_frames_come_out_one_by_one(client: httpx.AsyncClient) -> None:  # W-13
    pixels = np.random.default_rng(1).integers(0, 2, (3, 5, 5), np.uint8)
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    dataset = make_dataset(
        NumberOfFrames=3,
        Rows=5,
        Columns=5,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=packed + bytes(len(packed) % 2),
    )
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/frames/1,2,3")
    expected = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in pixels]
    assert [content for _, content in split_multipart(answer)] == expected


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "emri_small_RLE.dcm", "emri_small_jpeg_2k_lossless.dcm"],
)
async def test_compressed_frames_decoded_or_as_stored(
    client: httpx.AsyncClient, name: str
) -> None:  # M-03, M-16, M-28, I-04
    part10, dataset = sample(name)
    await store(client, part10)
    count = int(dataset.get("NumberOfFrames") or 1)
    stored = list(generate_frames(dataset.PixelData, number_of_frames=count))
    path = f"{path_of(dataset)}/frames/" + ",".join(map(str, range(1, count + 1)))
    uid = dataset.file_meta.TransferSyntaxUID
    decoded = split_multipart(await client.get(path, headers={"accept": "*/*"}))
    assert [content for _, content in decoded] == split_frames(dataset)
    for accept in (ANY, 'multipart/related; type="image/*"; transfer-syntax=*'):
        parts = split_multipart(await client.get(path, headers={"accept": accept}))
        assert [content for _, content in parts] == stored
        assert all(head["Content-Type"].endswith(f"transfer-syntax={uid}") for head, _ in parts)


async def test_a_frame_of_several_fragments_is_joined(client: httpx.AsyncClient) -> None:  # W-12
    dataset = make_dataset()
    part10 = make_part10(dataset, transfer_syntax=JPEGLSLossless, frames=[b"\xff\xd8" + bytes(98)])
    whole = encapsulate([b"\xff\xd8" + bytes(98)])
    start = whole.index(itemize_fragment(b"\xff\xd8" + bytes(98)))
    split = whole[:start] + itemize_fragment(b"\xff\xd8" + bytes(48)) + itemize_fragment(bytes(50))
    assert whole in part10
    await store(client, part10.replace(whole, split))
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers={"accept": ANY})
    ((_, content),) = split_multipart(answer)
    assert content == b"\xff\xd8" + bytes(98)


async def test_a_broken_codestream_ends_one_request(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=JPEGLSLossless))
    answer = await client.get(f"{path_of(dataset)}/frames/1")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers={"accept": ANY})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ("2", 404),
        ("1,2", 404),
        ("999999999", 404),
        ("0", 400),
        ("-1", 400),
        ("x", 400),
        ("", 400),
        ("1,", 400),
        ("1,,1", 400),
        ("1.0", 400),
        ("9999999999999999999999", 404),
        ("%D9%A1", 400),  # an Arabic digit
    ],
)
async def test_frames_that_cannot_be(
    client: httpx.AsyncClient, frames: str, status: int
) -> None:  # W-07, Z-04
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/frames/{frames}")
    assert answer.status_code == status


def test_the_number_of_frames_is_bounded() -> None:  # Z-04
    with pytest.raises(InvalidRequest):
        frame_numbers("1," * MOST_FRAMES + "1")


async def test_what_has_no_pixels_has_no_frames(client: httpx.AsyncClient) -> None:  # W-15
    dataset = make_dataset(PixelData=None, Rows=None, Columns=None)
    await store(client, make_part10(dataset))
    assert (await client.get(f"{path_of(dataset)}/frames/1")).status_code == 404


async def test_frames_are_read_only(client: httpx.AsyncClient) -> None:  # G-10
    answer = await client.post("/studies/1/series/2/instances/3/frames/1")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_frames_not_offered_are_406(client: httpx.AsyncClient) -> None:  # G-03
    part10, dataset = sample("MR_small_RLE.dcm")
    await store(client, part10)
    answer = await client.get(f"{path_of(dataset)}/frames/1", headers={"accept": "image/png"})
    assert answer.status_code == 406
    assert any("image/dicom-rle" in form for form in answer.json()["offered"])


async def test_a_lost_object_is_a_problem(client: httpx.AsyncClient, tmp_path: Path) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    (path,) = (tmp_path / "objects" / "t").rglob("*.dcm")
    path.rename(tmp_path / "elsewhere")
    answer = await client.get(f"{path_of(dataset)}/frames/1")
    assert answer.status_code == 503


async def test_a_broken_frame_among_others_breaks_off_in_a_line(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    data, dataset = sample("SC_rgb_rle_2frame.dcm")
    first, second = generate_frames(dataset.PixelData, number_of_frames=2)
    at = data.rindex(second)
    await store(client, data[:at] + b"\xff" * 64 + data[at + 64 :])
    with pytest.raises(BrokenOff):
        await client.get(f"{path_of(dataset)}/frames/1,2")
    assert first != second
    assert not any(record.exc_info for record in caplog.records)
