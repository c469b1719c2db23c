"""A Number of Frames that contradicts the pixels."""

import httpx

from tests.dicomweb.test_wado_rs import path_of, store
from tests.factories import make_dataset, make_part10


async def test_a_number_of_frames_that_is_not_that_of_the_pixels_is_not_copied(
    client: httpx.AsyncClient,
) -> None:
    one = make_dataset(NumberOfFrames=1)
    pixels = one.PixelData
    one.NumberOfFrames = 2**31 - 1
    one.PixelData = pixels
    await store(client, make_part10(one))
    accept = {"accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80"}
    answer = await client.get(path_of(one), headers=accept)
    assert answer.status_code == 409
    assert f"Number of Frames is {2**31 - 1}, but Pixel Data holds 1" in answer.json()["detail"]


async def test_where_there_are_no_frames_that_is_said(client: httpx.AsyncClient) -> None:
    dataset = make_dataset(Rows=None, PixelData=None)
    await store(client, make_part10(dataset))
    for door in ("frames/1", "frames/1/rendered"):
        answer = await client.get(f"{path_of(dataset)}/{door}")
        assert answer.status_code == 404
        assert "has no pixels, or describes them as no frame" in answer.json()["detail"]
