"""Pictures as files: quality, colour profiles, palettes, animations."""

from collections.abc import AsyncIterator
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.dicom.picture_encoders import encode_picture, to_indexed
from app.dicom.pictures import FORMATS, Wanted, animated
from app.errors import InvalidDataset

NOISE = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
ACROSS, DOWN = np.meshgrid(np.arange(200), np.arange(150), indexing="xy")
SMOOTH: NDArray[np.uint8] = np.stack([ACROSS, DOWN, ACROSS // 2], axis=2).astype(np.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def rgb(data: bytes) -> NDArray[np.uint8]:
    with opened(data) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("picture", [SMOOTH, SMOOTH[..., 0]])
def test_every_format_shows_the_picture(media_type: str, picture: NDArray[np.uint8]) -> None:
    shown = rgb(encode_picture(picture, Wanted(media_type)))
    expected = picture if picture.ndim == 3 else picture[..., None]
    assert np.abs(shown.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jp2"])
def test_quality_counts_where_something_is_lost(media_type: str) -> None:
    sizes = [len(encode_picture(NOISE, Wanted(media_type, quality))) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_colours_are_exact_without_loss() -> None:
    assert (rgb(encode_picture(NOISE, Wanted("image/png"))) == NOISE).all()
    best = encode_picture(NOISE, Wanted("image/jp2", 100))
    assert (imagecodecs.jpeg2k_decode(best) == NOISE).all()


def test_few_colours_are_exact_in_a_palette() -> None:
    few = NOISE // 128 * 128
    assert (rgb(encode_picture(few, Wanted("image/gif"))) == few).all()
    indices, colours = to_indexed(np.zeros((2, 3, 3), np.uint8))
    assert colours[indices].sum() == 0


@pytest.mark.parametrize("name", ["srgb", "adobergb", "rommrgb", "yes"])
@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png"])
def test_a_colour_picture_has_the_profile_that_is_asked(name: str, media_type: str) -> None:
    wanted = Wanted(media_type, 100, name)
    with opened(encode_picture(SMOOTH, wanted)) as image:
        profile = image.info["icc_profile"]
    assert profile[36:40] == b"acsp"
    plain = rgb(encode_picture(SMOOTH, Wanted(media_type, 100)))
    same = np.abs(rgb(encode_picture(SMOOTH, wanted)).astype(int) - plain).max() <= 2
    assert same == (name in {"srgb", "yes"})


def test_the_profile_of_the_image_is_used() -> None:
    own = bytes(imagecodecs.cms_profile("adobergb")) + bytes(70_000)
    with opened(encode_picture(SMOOTH, Wanted(profile="yes"), own)) as image:
        assert image.info["icc_profile"] == own
    changed = encode_picture(SMOOTH, Wanted("image/png", profile="srgb"), own[:-70_000])
    assert np.abs(rgb(changed).astype(int) - SMOOTH).max() > 10
    with pytest.raises(InvalidDataset):
        encode_picture(SMOOTH, Wanted("image/png", profile="srgb"), b"no profile at all")


def test_grey_pictures_have_no_profile() -> None:
    with opened(encode_picture(SMOOTH[..., 0], Wanted(profile="srgb"))) as image:
        assert "icc_profile" not in image.info


async def each(pictures: list[bytes]) -> AsyncIterator[bytes]:
    for picture in pictures:
        yield picture


@pytest.mark.parametrize(
    ("delay", "milliseconds"), [(0.04, 40), (0.001, 20), (9999, 655350), (1e308, 655350)]
)
async def test_pictures_become_an_animation(delay: float, milliseconds: int) -> None:
    frames = [SMOOTH[..., 0], SMOOTH, NOISE[:30].repeat(5, axis=0).repeat(4, axis=1)]
    gifs = [encode_picture(frame, Wanted("image/gif")) for frame in frames]
    data = b"".join([piece async for piece in animated(each(gifs), delay)])
    with opened(data) as image:
        assert getattr(image, "n_frames", 1) == 3
        for number, gif in enumerate(gifs):
            image.seek(number)
            assert image.info["duration"] == milliseconds
            shown = imagecodecs.gif_decode(data, index=number)
            assert (shown == rgb(gif)).all()
