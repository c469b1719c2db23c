"""Rendered resources and thumbnails over HTTP: what comes, in which form, and what is refused."""

from io import BytesIO
from typing import Any

import httpx
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage

from app.archive.context import Archive
from app.dicom.pictures import FORMATS
from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import split_multipart

GREY = {
    "Rows": 40,
    "Columns": 60,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "WindowCenter": None,
    "WindowWidth": None,
    "RescaleIntercept": None,
    "RescaleSlope": None,
}


def picture(answer: httpx.Response) -> NDArray[Any]:
    """Return the decoded body of a success."""
    assert answer.status_code == 200, answer.text
    return decoded(answer.content)


def decoded(body: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(body)) as image:
        return np.asarray(image.convert("RGB" if image.mode == "P" else image.mode))


def stored_grey(dataset: Dataset, frame: int = 0) -> NDArray[np.uint8]:
    size = dataset.Rows * dataset.Columns
    data = dataset.PixelData[frame * size : (frame + 1) * size]
    return np.frombuffer(data, np.uint8).reshape(dataset.Rows, dataset.Columns)


@pytest.fixture
async def grey(client: httpx.AsyncClient) -> Dataset:
    """A stored image of 8 bits whose values are its shades."""
    dataset = make_dataset(**GREY)
    await store(client, make_part10(dataset))
    return dataset


@pytest.fixture
async def moving(client: httpx.AsyncClient) -> Dataset:
    """A stored image of five frames."""
    dataset = make_dataset(**GREY, NumberOfFrames=5, FrameTime="250")
    await store(client, make_part10(dataset))
    return dataset


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "image/*", "image/jpeg", "image/webp, */*;q=0.5", "image/tiff, image/jpeg"],
)
async def test_an_instance_is_a_jpeg_by_default(
    client: httpx.AsyncClient, grey: Dataset, accept: str
) -> None:  # R-01 R-04
    answer = await client.get(f"{path_of(grey)}/rendered", headers={"accept": accept})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert np.abs(picture(answer).astype(int) - stored_grey(grey)).mean() < 5


async def test_what_is_refused_by_q_0_is_not_sent(
    client: httpx.AsyncClient, grey: Dataset
) -> None:  # G-05
    for accept in ("image/jpeg;q=0, */*", "image/jpeg;q=0, image/*;q=0.1"):
        answer = await client.get(f"{path_of(grey)}/rendered", headers={"accept": accept})
        assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("door", ["rendered", "thumbnail", "frames/1/rendered"])
async def test_a_picture_comes_in_ranges(
    client: httpx.AsyncClient, grey: Dataset, door: str
) -> None:  # G-17
    url = f"{path_of(grey)}/{door}"
    for _ in range(2):  # made, and known
        whole = await client.get(url)
        part = await client.get(url, headers={"range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, whole.content[5:10])
        assert part.headers["content-range"] == f"bytes 5-9/{len(whole.content)}"
        assert whole.headers["accept-ranges"] == "bytes"
    beyond = await client.get(url, headers={"range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize("media_type", FORMATS)
async def test_a_frame_comes_in_each_format(
    client: httpx.AsyncClient, grey: Dataset, media_type: str
) -> None:  # R-02 R-04
    url = f"{path_of(grey)}/frames/1/rendered"
    answer = await client.get(url, headers={"accept": media_type}, params={"quality": "100"})
    assert answer.headers["content-type"] == media_type
    if media_type == "image/jp2":
        assert (imagecodecs.jpeg2k_decode(answer.content) == stored_grey(grey)).all()
    elif media_type != "image/jpeg":
        assert (picture(answer) == stored_grey(grey)).all()
    by_parameter = await client.get(url, params={"accept": media_type, "quality": "100"})
    assert by_parameter.content == answer.content


async def test_colours_of_a_png_are_those_that_are_stored(client: httpx.AsyncClient) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    dataset = make_dataset(
        **GREY | {"Rows": 20, "Columns": 30},
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelData=noise.tobytes(),
    )
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/rendered", headers={"accept": "image/png"})
    assert (picture(answer) == noise).all()


@pytest.mark.parametrize("accept", ["image/tiff", "application/dicom", "text/html", "video/mp4"])
async def test_a_form_that_is_not_offered_is_406(
    client: httpx.AsyncClient, grey: Dataset, accept: str
) -> None:
    for end in ("/rendered", "/frames/1/rendered", "/thumbnail"):
        answer = await client.get(path_of(grey) + end, headers={"accept": accept})
        assert answer.status_code == 406
        assert answer.json()["offered"] == list(FORMATS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("quality", text) for text in ("0", "101", "-1", "x", "1.5", "")],
        *[
            ("viewport", text)
            for text in (
                "",
                "10",
                "0,10",
                "10,0",
                "-5,5",
                "a,b",
                "1.5,2",
                "10,10,",
                "9000,10",
                "10,10,0,0,0",
                "10,10,-1,0,5,5",
                "10,10,60,0,5,5",
                "nan",
                "nan,10",
                "inf,inf",
                "10,10,1e308,0,1e308,1",
                "10,10,inf,0,1,1",
                "1_0,10",
            )
        ],
        *[
            ("window", text)
            for text in ("", "40,400", "40,400,cubic", "40,0.5,linear", "a,1,linear", "1,0,sigmoid")
        ],
        ("annotation", "weather"),
        ("iccprofile", "maybe"),
    ],
)
async def test_a_malformed_parameter_is_400(
    client: httpx.AsyncClient, grey: Dataset, name: str, value: str
) -> None:
    answer = await client.get(f"{path_of(grey)}/rendered", params={name: value})
    assert answer.status_code == 400, answer.text


async def test_quality_decides_on_the_size(client: httpx.AsyncClient, grey: Dataset) -> None:
    url = f"{path_of(grey)}/rendered"
    sizes = [
        len((await client.get(url, params={"quality": quality})).content)
        for quality in ("10", "60", "100")
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("viewport", "shape"),
    [("30,30", (20, 30)), ("600,100", (100, 150)), ("60,40", (40, 60)), ("1,1", (1, 1))],
)
async def test_a_viewport_keeps_the_proportion(
    client: httpx.AsyncClient, grey: Dataset, viewport: str, shape: tuple[int, int]
) -> None:
    answer = await client.get(f"{path_of(grey)}/rendered", params={"viewport": viewport})
    assert picture(answer).shape == shape


async def test_a_viewport_cuts_a_region_and_flips_it(
    client: httpx.AsyncClient, grey: Dataset
) -> None:
    params = {"viewport": "20,10,5,7,-20,-10"}
    url, headers = f"{path_of(grey)}/frames/1/rendered", {"accept": "image/png"}
    answer = await client.get(url, params=params, headers=headers)
    assert (picture(answer) == stored_grey(grey)[7:17, 5:25][::-1, ::-1]).all()


async def test_a_window_is_in_the_units_of_the_modality(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url, headers = f"{path_of(dataset)}/rendered", {"accept": "image/png"}
    hounsfield = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 16) - 1024.0
    shades = {
        "linear": ((hounsfield + 500 + 0.5) / 599 + 0.5).clip(0, 1),
        "linear-exact": ((hounsfield + 500) / 600 + 0.5).clip(0, 1),
        "sigmoid": 1 / (1 + np.exp(-4 * (hounsfield + 500) / 600)),
    }
    for function, expected in shades.items():
        params = {"window": f"-500,600,{function}"}
        answer = await client.get(url, params=params, headers=headers)
        assert np.abs(picture(answer) - expected * 255).max() <= 0.5 + 1e-9


async def test_several_frames_are_parts(client: httpx.AsyncClient, moving: Dataset) -> None:
    for accept in ("image/png", 'multipart/related; type="image/png"'):
        url, headers = f"{path_of(moving)}/frames/4,2/rendered", {"accept": accept}
        parts = split_multipart(await client.get(url, headers=headers))
        assert [head["Content-Type"] for head, _ in parts] == ["image/png"] * 2
        for (_, body), frame in zip(parts, (3, 1), strict=True):
            assert (decoded(body) == stored_grey(moving, frame)).all()


async def test_an_image_of_several_frames_is_one_picture_or_all(
    client: httpx.AsyncClient, moving: Dataset
) -> None:
    url = f"{path_of(moving)}/rendered"
    one = await client.get(url, headers={"accept": "image/png"})
    assert (picture(one) == stored_grey(moving)).all()
    every = await client.get(url, headers={"accept": "multipart/related; type=image/png"})
    assert len(split_multipart(every)) == 5


async def test_a_gif_of_several_frames_moves(client: httpx.AsyncClient, moving: Dataset) -> None:
    answer = await client.get(f"{path_of(moving)}/rendered", headers={"accept": "image/gif"})
    assert answer.headers["content-type"] == "image/gif"
    with Image.open(BytesIO(answer.content)) as image:
        assert getattr(image, "n_frames", 1) == 5
        for frame in range(5):
            image.seek(frame)
            assert image.info["duration"] == 250
            shown = np.asarray(image.convert("RGB"))
            assert (shown == stored_grey(moving, frame)[..., None]).all()


async def test_a_study_and_a_series_are_all_their_instances(client: httpx.AsyncClient) -> None:
    series = make_series(3, **GREY)
    other = make_dataset(
        StudyInstanceUID=series[0].StudyInstanceUID, Rows=None, SOPClassUID=RawDataStorage
    )
    await store(client, *map(make_part10, [*series, other]))
    url = path_of(series[0]).rpartition("/instances")[0]
    for path in (url, url.rpartition("/series")[0]):
        answer = await client.get(f"{path}/rendered", headers={"accept": "image/png"})
        parts = split_multipart(answer)
        assert len(parts) == 3
        for (_, body), dataset in zip(parts, series, strict=True):
            assert (decoded(body) == stored_grey(dataset)).all()
        refused = await client.get(f"{path}/rendered", headers={"accept": "text/html"})
        assert refused.status_code == 406


async def test_what_is_made_once_is_kept_and_not_sent_again(
    client: httpx.AsyncClient, grey: Dataset, app: Any
) -> None:
    archive: Archive = app.state.archive
    for end in ("/rendered", "/thumbnail", "/frames/1/rendered"):
        first = await client.get(path_of(grey) + end)
        assert first.headers["cache-control"] == "private, no-cache"
        kept = {path.name for path in archive.cache.directory.glob("rendered-*")}
        headers = {"if-none-match": first.headers["etag"]}
        again = await client.get(path_of(grey) + end, headers=headers)
        assert again.status_code == 304
        same = await client.get(path_of(grey) + end)
        assert same.content == first.content
        assert {path.name for path in archive.cache.directory.glob("rendered-*")} == kept
        other = await client.get(path_of(grey) + end, params={"viewport": "7,7"}, headers=headers)
        assert other.status_code == 200
        assert other.headers["etag"] != first.headers["etag"]


async def test_an_unknown_resource_is_404(client: httpx.AsyncClient, moving: Dataset) -> None:
    instance = path_of(moving)
    series = instance.rpartition("/instances")[0]
    for path in ("/studies/1.2", f"{series}.1", f"{instance}.1", f"{instance}/frames/6"):
        for end in ("/rendered", "/thumbnail"):
            assert (await client.get(path + end)).status_code == 404
    for frames in ("0", "x", "1,0"):
        assert (await client.get(f"{instance}/frames/{frames}/rendered")).status_code == 400
    assert (await client.get(f"{instance}/frames/1,2/thumbnail")).status_code == 400


async def test_what_is_no_image_has_no_picture(client: httpx.AsyncClient) -> None:
    raw = make_dataset(Rows=None, SOPClassUID=RawDataStorage)
    await store(client, make_part10(raw))
    assert (await client.get(f"{path_of(raw)}/rendered")).status_code == 406
    assert (await client.get(f"{path_of(raw)}/frames/1/rendered")).status_code == 404
    assert (await client.get(f"{path_of(raw)}/thumbnail")).status_code == 404
    series = path_of(raw).rpartition("/instances")[0]
    assert (await client.get(f"{series}/thumbnail")).status_code == 404
    assert (await client.get(f"{series}/rendered")).status_code == 406


async def test_a_hostile_description_is_refused_at_once(client: httpx.AsyncClient) -> None:
    dataset = make_dataset(Rows=65535, Columns=65535, PixelData=b"\0" * 100)
    await store(client, make_part10(dataset, transfer_syntax="1.2.840.10008.1.2.4.90"))
    answer = await client.get(f"{path_of(dataset)}/rendered")
    assert answer.status_code == 409
    broken = make_dataset(PixelData=b"\0" * 100)
    await store(client, make_part10(broken, transfer_syntax="1.2.840.10008.1.2.4.90"))
    assert (await client.get(f"{path_of(broken)}/rendered")).status_code == 409


async def test_a_large_table_is_read_from_bulk_data(client: httpx.AsyncClient) -> None:
    data, dataset = sample("mlut_18.dcm")
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    await store(client, data)
    answer = await client.get(f"{path_of(dataset)}/rendered", headers={"accept": "image/png"})
    assert len(np.unique(picture(answer))) > 10


async def test_a_segmentation_is_drawn_over_its_image_when_it_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    data, liver = sample("liver.dcm")
    (source,) = (
        liver.PerFrameFunctionalGroupsSequence[1].DerivationImageSequence[0].SourceImageSequence
    )
    image = make_dataset(
        **GREY | {"Rows": 512, "Columns": 512},
        SOPInstanceUID=source.ReferencedSOPInstanceUID,
        PixelData=bytes([100]) * 512 * 512,
    )
    await store(client, data, make_part10(image))
    segments = liver.pixel_array[1] > 0
    assert segments.any()
    png, asked = {"accept": "image/png"}, {"segmentation": liver.SOPInstanceUID}
    plain = picture(await client.get(f"{path_of(image)}/rendered", headers=png))
    assert (plain == 100).all()
    for end in ("/rendered", "/frames/1/rendered"):
        for _ in range(2):
            answer = await client.get(path_of(image) + end, headers=png, params=asked)
            shown = picture(answer)
            assert ((shown != 100).any(axis=-1) == segments).all()
        known = {**png, "if-none-match": answer.headers["etag"]}
        again = await client.get(path_of(image) + end, headers=known, params=asked)
        assert again.status_code == 304
    for uid, status in ((image.SOPInstanceUID, 400), ("1.2.3", 404), ("x", 400), ("", 400)):
        answer = await client.get(f"{path_of(image)}/rendered", params={"segmentation": uid})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"Rows": 65535, "Columns": 65535}, "over the limit"),
        ({"SamplesPerPixel": 60000}, "Samples per Pixel must be 1, 3 or 4"),
        ({"Rows": 0}, "does not describe its pixels"),
        ({"BitsAllocated": 3}, "Bits Allocated must be"),
        ({"PixelData": None}, "has no pixels"),
    ],
)
async def test_what_is_not_rendered_says_why(
    client: httpx.AsyncClient, changed: dict[str, Any], why: str
) -> None:
    dataset = make_dataset()
    for keyword, value in changed.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    await store(client, make_part10(dataset))
    answer = await client.get(f"{path_of(dataset)}/rendered")
    assert answer.status_code == 406
    assert why in answer.json()["detail"]
