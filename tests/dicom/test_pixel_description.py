"""What no real frame is, is refused before anything is allocated for it."""

from typing import Any

import pytest

from app.dicom.pixel_description import PixelDescription
from app.errors import InvalidDataset


def describe(**more: Any) -> PixelDescription:
    plain: dict[str, Any] = {
        "rows": 512,
        "columns": 512,
        "bits_allocated": 16,
        "bits_stored": 12,
        "photometric_interpretation": "MONOCHROME2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
    }
    return PixelDescription(**(plain | more))


@pytest.mark.parametrize(
    ("more", "length"),
    [
        ({}, 512 * 512 * 2),
        ({"samples_per_pixel": 3, "bits_allocated": 8, "bits_stored": 8}, 512 * 512 * 3),
        ({"bits_allocated": 1, "bits_stored": 1, "rows": 3, "columns": 3}, 2),
        ({"bits_allocated": 64, "bits_stored": 64, "rows": 1, "columns": 1}, 8),
        ({"bits_stored": 16}, 512 * 512 * 2),
    ],
)
def test_a_real_frame_has_its_length(more: dict[str, int], length: int) -> None:
    description = describe(**more)
    description.check(2**20)
    assert description.length == length


@pytest.mark.parametrize(
    "more",
    [
        {"rows": 0},
        {"columns": 0},
        {"rows": 65536},
        {"columns": -1},
        {"samples_per_pixel": 0},
        {"samples_per_pixel": 2},
        {"samples_per_pixel": 60000},
        {"bits_allocated": 0},
        {"bits_allocated": 12},
        {"bits_allocated": 65535},
        {"bits_stored": 0},
        {"bits_stored": 17},
        {"rows": 65535, "columns": 65535},
    ],
)
def test_what_no_frame_is_is_refused(more: dict[str, int]) -> None:
    with pytest.raises(InvalidDataset):
        describe(**more).check(2**30)
