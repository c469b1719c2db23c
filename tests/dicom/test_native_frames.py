"""Frames that are no plain range of little-endian bytes, against numpy."""

import numpy as np
import pytest
from pydicom.encaps import itemize_fragment

from app.dicom.native_frames import (
    bit_range,
    frame_of_bits,
    join_fragments,
    pixel_word,
    swap_words,
)
from app.errors import InvalidDataset


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 15, 64])
def test_frames_of_bits_come_out_one_by_one(bits: int) -> None:  # W-13
    pixels = np.random.default_rng(bits).integers(0, 2, (5, bits), np.uint8)
    stored = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    for number, frame in enumerate(pixels, 1):
        offset, length, skip = bit_range(number, bits)
        got = frame_of_bits(stored[offset : offset + length], skip, bits)
        assert got == np.packbits(frame, bitorder="little").tobytes()


@pytest.mark.parametrize("word", [2, 4, 8])
def test_words_are_swapped(word: int) -> None:
    values = np.arange(1, 9, dtype=f">u{word}")
    assert swap_words(values.tobytes(), word) == values.astype(f"<u{word}").tobytes()


@pytest.mark.parametrize(
    ("vr", "bits", "word"), [("OB", 8, 1), ("OW", 8, 2), ("OW", 16, 2), ("OF", 32, 4), ("OW", 1, 2)]
)
def test_the_word_of_pixel_data(vr: str, bits: int, word: int) -> None:
    assert pixel_word(vr, bits) == word


def test_fragments_are_joined() -> None:
    items = itemize_fragment(b"abcd") + itemize_fragment(b"ef")
    assert join_fragments(items) == b"abcdef"


@pytest.mark.parametrize("items", [b"\xfe\xff\x00\xe0\x01", b"12345678"])
def test_what_is_no_run_of_items_is_refused(items: bytes) -> None:
    with pytest.raises(InvalidDataset):
        join_fragments(items)
