"""Native bytes as samples: bits, planes, signs, shared chrominance."""

from typing import Any

import numpy as np
import pytest

from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.samples import samples_of
from app.errors import InvalidDataset


def describe(**more: Any) -> PixelDescription:
    plain: dict[str, Any] = {
        "rows": 2,
        "columns": 2,
        "bits_allocated": 8,
        "bits_stored": 8,
        "photometric_interpretation": "MONOCHROME2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    }
    return PixelDescription(**(plain | more))


def samples(data: bytes, pixels: PixelDescription, high_bit: int = 99, **more: Any) -> Any:
    space, planes = pixels.photometric_interpretation, pixels.planar_configuration
    return samples_of(DecodedFrame(data, space, planes), pixels, high_bit, **more).tolist()


def test_one_bit_samples_begin_at_the_lowest_bit() -> None:
    pixels = describe(bits_allocated=1, bits_stored=1)
    assert samples(b"\x05", pixels) == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("sign", "high_bit", "first", "second"),
    [(0, 11, 0xFFF, 0x123), (1, 11, -1, 0x123), (0, 15, 0x0FF, 0x412), (1, 99, -1, 0x123)],
)
def test_only_stored_bits_count(sign: int, high_bit: int, first: int, second: int) -> None:
    pixels = describe(rows=1, bits_allocated=16, bits_stored=12, pixel_representation=sign)
    assert samples(b"\xff\x0f\x23\x41", pixels, high_bit) == [[first, second]]


def test_planes_are_put_together() -> None:
    by_pixel = describe(rows=1, samples_per_pixel=3, photometric_interpretation="RGB")
    by_plane = describe(
        rows=1, samples_per_pixel=3, photometric_interpretation="RGB", planar_configuration=1
    )
    assert samples(b"\1\2\3\4\5\6", by_pixel) == [[[1, 2, 3], [4, 5, 6]]]
    assert samples(b"\1\4\2\5\3\6", by_plane) == [[[1, 2, 3], [4, 5, 6]]]


def test_shared_chrominance_is_given_to_both_pixels() -> None:
    pixels = describe(rows=1, samples_per_pixel=3, photometric_interpretation="YBR_FULL_422")
    assert samples(b"\x01\x02\x07\x09", pixels) == [[[1, 7, 9], [2, 7, 9]]]
    assert samples(b"\1\2\3\4\5\6", pixels) == [[[1, 2, 3], [4, 5, 6]]]
    with pytest.raises(InvalidDataset):
        samples(b"\1\2", pixels)


def test_floats_are_floats() -> None:
    pixels = describe(rows=1, bits_allocated=32, bits_stored=32)
    data = np.array([1.5, -2.5], "<f4").tobytes()
    assert samples(data, pixels, floating=True) == [[1.5, -2.5]]
    with pytest.raises(InvalidDataset):
        samples(data, describe(bits_allocated=16), floating=True)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(InvalidDataset):
        samples(b"\1\2\3", describe())
