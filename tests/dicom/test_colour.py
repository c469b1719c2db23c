"""Colour spaces, at the corners of the cube."""

import numpy as np
import pytest

from app.dicom.colour import to_rgb


@pytest.mark.parametrize(
    ("space", "samples", "rgb"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("YBR_FULL", (76, 85, 255), (254, 0, 0)),
        ("YBR_FULL_422", (150, 44, 21), (0, 255, 1)),
        ("YBR_PARTIAL_422", (235, 128, 128), (255, 255, 255)),
        ("YBR_PARTIAL_420", (16, 128, 128), (0, 0, 0)),
        ("ARGB", (9, 1, 2, 3), (1, 2, 3)),
        ("CMYK", (0, 255, 0, 0), (255, 0, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YBR_RCT", (1, 2, 3), (1, 2, 3)),
        ("CMYK", (1, 2, 3), (1, 2, 3)),
        ("PALETTE COLOR", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_every_colour_space_becomes_rgb(
    space: str, samples: tuple[int, ...], rgb: tuple[int, ...]
) -> None:
    pixel = np.array([[samples]], np.uint8)
    assert to_rgb(pixel, space, 8).tolist() == [[list(rgb)]]


def test_more_bits_are_scaled_to_eight() -> None:
    pixel = np.array([[[0, 0x7FF, 0xFFF]]], np.uint16)
    assert to_rgb(pixel, "RGB", 12).tolist() == [[[0, 127, 255]]]


def test_many_rows_are_converted_in_blocks() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (600, 3, 3), np.uint8)
    assert (to_rgb(picture, "RGB", 8) == picture).all()
