"""Encapsulated Pixel Data as we write it, read by pydicom."""

from io import BytesIO

import pytest
from pydicom.encaps import generate_frames, parse_basic_offsets

from app.dicom.encapsulation import (
    extended_tables,
    fragment_start,
    needs_extended_table,
    pixel_data_end,
    pixel_data_start,
)


@pytest.mark.parametrize("frames", [[b"one!"], [b"one", b"second", b"3"], []])
@pytest.mark.parametrize("tabled", [True, False])
def test_pydicom_finds_the_frames(frames: list[bytes], tabled: bool) -> None:
    value = pixel_data_start([len(frame) for frame in frames], tabled=tabled)[12:]
    for frame in frames:
        value += fragment_start(len(frame)) + frame + b"\0" * (len(frame) % 2)
    value += pixel_data_end()
    offsets = parse_basic_offsets(BytesIO(value))
    assert len(offsets) == (len(frames) if tabled else 0)
    if frames:
        found = generate_frames(value, number_of_frames=len(frames))
        assert [one.rstrip(b"\0") for one in found] == frames


def test_offsets_beyond_32_bits_go_to_the_extended_table() -> None:
    huge = [2**31, 2**31, 5]
    assert needs_extended_table(huge)
    assert not needs_extended_table(huge[1:])
    assert pixel_data_start(huge) == pixel_data_start(huge, tabled=False)
    (_, offsets), (_, lengths) = extended_tables(huge)
    numbers = [int.from_bytes(offsets[at : at + 8], "little") for at in (12, 20, 28)]
    assert numbers == [0, 2**31 + 8, 2**32 + 16]
    assert int.from_bytes(lengths[28:36], "little") == 6
