"""Texts within compressed frames: gone, and the frame still the same picture."""

from struct import pack

import imagecodecs
import numpy as np
import pytest

from app.dicom.codestream_texts import HEAD, without_texts
from app.errors import InvalidDataset

NAME = b"Doe^Jane 19700131"
SHADES = (np.arange(64 * 64) % 251).astype(np.uint8).reshape(64, 64)


def segment(marker: int, content: bytes) -> bytes:
    return pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE2, 0xED, 0xEF, 0xE0])
def test_texts_of_a_jpeg_go(marker: int) -> None:  # U-09
    encoded = bytes(imagecodecs.jpeg8_encode(SHADES))
    frame = encoded[:2] + segment(marker, NAME) + encoded[2:]
    clean = without_texts(frame)
    assert NAME in frame
    assert NAME not in clean
    assert len(clean) == len(frame)
    assert np.array_equal(imagecodecs.jpeg8_decode(clean), imagecodecs.jpeg8_decode(encoded))


@pytest.mark.parametrize("content", [b"JFIF\0\1\1", b"Adobe\0d\0\0\0\0\1", b"mrfx\1", b"SPIFF\0"])
def test_what_decoders_look_at_stays(content: bytes) -> None:
    frame = b"\xff\xd8" + segment(0xE0, content) + segment(0xC0, b"frame") + b"\xff\xda"
    assert without_texts(frame) == frame


def test_texts_of_jpeg_ls_go() -> None:
    encoded = bytes(imagecodecs.jpegls_encode(SHADES))
    clean = without_texts(encoded[:2] + segment(0xFE, NAME) + encoded[2:])
    assert NAME not in clean
    assert np.array_equal(imagecodecs.jpegls_decode(clean), SHADES)


@pytest.mark.parametrize("codec", ["j2k", "htj2k"])
def test_texts_of_jpeg_2000_go(codec: str) -> None:
    if codec == "j2k":
        encoded = bytes(imagecodecs.jpeg2k_encode(SHADES, codecformat="j2k", level=0))
    else:
        encoded = bytes(imagecodecs.htj2k_encode(SHADES))
    size = 4 + int.from_bytes(encoded[4:6], "big")  # SOC, then SIZ
    frame = encoded[:size] + b"\xff\x64" + pack(">HH", len(NAME) + 4, 1) + NAME + encoded[size:]
    clean = without_texts(frame)
    assert NAME not in clean
    decode = imagecodecs.jpeg2k_decode if codec == "j2k" else imagecodecs.htj2k_decode
    assert np.array_equal(decode(clean), SHADES)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"RLE \xff\xd8",
        b"\xff\xd8\xff\xe1",
        b"\xff\xd8\xff\xe1\0",
        b"\xff\xd8 no marker",
        b"\xff\x4f\xff\x51\0\1",
        b"\xff\x4f\xff\x51\0\2\xff\x90",
        b"\xff\x4f\xff\x51\0\2\xff\x90\0\x0a",
    ],
)
def test_what_is_no_codestream_stays(head: bytes) -> None:
    assert without_texts(head) == head


def test_a_text_that_goes_on_is_refused() -> None:
    frame = b"\xff\xd8" + segment(0xFE, b"x" * 60000) * 5 + b"\xff\xda"
    with pytest.raises(InvalidDataset):
        without_texts(frame[:HEAD])
