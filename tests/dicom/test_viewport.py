"""Viewports: regions, flips, proportions, scaling."""

import numpy as np
import pytest

from app.dicom.viewport import Region, Viewport, scale
from app.errors import InvalidRequest

RAMP = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)


@pytest.mark.parametrize(
    ("region", "shown"),
    [
        (Region(), RAMP),
        (Region(2, 1), RAMP[1:, 2:]),
        (Region(2, 1, 3, 4), RAMP[1:5, 2:5]),
        (Region(0, 0, -8, 6), RAMP[:, ::-1]),
        (Region(0, 2, 8, -4), RAMP[2:][::-1]),
        (Region(2, 1, -3, -4), RAMP[1:5, 2:5][::-1, ::-1]),
        (Region(6, 4, 100, 100), RAMP[4:, 6:]),
        (Region(6, 4, 1e308, -1e308), RAMP[4:, 6:][::-1]),
        (Region(0.25, 0.5, 0.5, 0.5, relative=True), RAMP[3:, 2:6]),
    ],
)
def test_a_region_is_what_is_shown(region: Region, shown: np.ndarray) -> None:
    assert (RAMP[region.pixels(*RAMP.shape)] == shown).all()


@pytest.mark.parametrize(
    "region", [Region(8, 0), Region(0, 6, 1, 1), Region(0, 0, 0.2, 0), Region(1e308, 0, 1e308, 1)]
)
def test_a_region_beside_the_image_is_refused(region: Region) -> None:
    with pytest.raises(InvalidRequest):
        region.pixels(*RAMP.shape)


@pytest.mark.parametrize(
    ("viewport", "aspect", "size"),
    [
        (Viewport(100, 100), 1.0, (50, 100)),
        (Viewport(100, 20), 1.0, (20, 40)),
        (Viewport(100, 100), 2.0, (100, 100)),
        (Viewport(100, 100), 0.5, (25, 100)),
        (Viewport(None, 100), 1.0, (100, 200)),
        (Viewport(100, None), 1.0, (50, 100)),
        (Viewport(None, None), 2.0, (200, 400)),
        (Viewport(1, 1), 1.0, (1, 1)),
    ],
)
def test_a_picture_fits_its_viewport(
    viewport: Viewport, aspect: float, size: tuple[int, int]
) -> None:
    assert viewport.size(200, 400, aspect) == size


def test_shrinking_averages_whole_and_parts_of_pixels() -> None:
    assert scale(np.array([[0, 100, 200, 60]], np.uint8), 1, 2).tolist() == [[50, 130]]
    assert scale(np.array([[0, 90, 240]], np.uint8), 1, 2).tolist() == [[30, 190]]
    assert scale(RAMP, 1, 1).tolist() == [[round(float(RAMP.mean()))]]


def test_growing_interpolates_between_pixels() -> None:
    assert scale(np.array([[0], [100]], np.uint8), 4, 1).tolist() == [[0], [25], [75], [100]]
    colours = np.array([[[0, 10, 20], [100, 110, 120]]], np.uint8)
    assert scale(colours, 1, 4)[0, 1].tolist() == [25, 35, 45]


def test_a_large_picture_is_scaled_like_a_small_one() -> None:
    large = np.tile(RAMP.repeat(300, axis=0).repeat(300, axis=1), (1, 1))
    assert (scale(large, 6, 8) == RAMP).all()
    assert scale(RAMP, 6, 8) is not None
