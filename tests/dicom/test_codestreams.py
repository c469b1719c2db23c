"""Headers of compressed frames, read before a decoder is: real ones, odd ones, hostile ones."""

from struct import pack

import imagecodecs
import numpy as np
import pytest

from app.dicom.codestreams import read_jpeg_2000_header, read_jpeg_header
from app.errors import InvalidDataset

IMAGE = np.zeros((5, 7), np.uint8)
END = b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    return pack(">BBH", 0xFF, marker, len(content) + 2) + content


def start_of_frame(samples: int = 1, ids: bytes = b"\1\2\3", marker: int = 0xC0) -> bytes:
    components = b"".join(bytes((one, 0x11, 0)) for one in ids[:samples])
    return segment(marker, pack(">BHHB", 8, 5, 7, samples) + components)


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda\0\2data" + END


@pytest.mark.parametrize(
    "data",
    [
        bytes(imagecodecs.jpeg8_encode(IMAGE)),
        bytes(imagecodecs.jpeg8_encode(IMAGE, lossless=True, predictor=1)),
        bytes(imagecodecs.jpegls_encode(IMAGE)),
    ],
)
def test_a_jpeg_header_says_size_and_precision(data: bytes) -> None:
    header = read_jpeg_header(data)
    assert (header.rows, header.columns, header.samples, header.precision) == (5, 7, 1, 8)
    assert not header.signed
    assert header.complete
    assert not read_jpeg_header(data[:-2]).complete


@pytest.mark.parametrize(
    ("before", "ids", "transform"),
    [
        (b"", b"\1\2\3", None),
        (b"", b"RGB", "RGB"),
        (b"", b"rgb", "RGB"),
        (segment(0xE0, b"JFIF\0\1\1"), b"\1\2\3", "YBR"),
        (segment(0xE0, b"JFIF\0\1\1"), b"RGB", "RGB"),
        (segment(0xE0, b"AVI1"), b"\1\2\3", None),
        (segment(0xEE, b"Adobe\0d\0\0\0\0\0"), b"\1\2\3", "RGB"),
        (segment(0xEE, b"Adobe\0d\0\0\0\0\1"), b"\1\2\3", None),
        (segment(0xEE, b"Adobe"), b"\1\2\3", None),
        (segment(0xEE, b"other stuff\0"), b"\1\2\3", None),
        (segment(0xFE, b"a comment \xff\xc0"), b"\1\2\3", None),
        (segment(0xC4, b"a Huffman table"), b"\1\2\3", None),
        (b"\xff\xff\xff" + segment(0xDB, b"fill bytes before"), b"\1\2\3", None),
        (b"\xff\x01\xff\xd0", b"\1\2\3", None),  # markers without a length
    ],
)
def test_a_jpeg_header_may_say_what_its_colours_are(
    before: bytes, ids: bytes, transform: str | None
) -> None:
    header = read_jpeg_header(jpeg(before, start_of_frame(3, ids)))
    assert (header.samples, header.transform) == (3, transform)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"no jpeg at all",
        jpeg(),
        jpeg(b"\0\0\0"),
        b"\xff\xd8" + start_of_frame()[:7],
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0",  # lengths that would stand still
        b"\xff\xd8" + segment(0xE0, b"")[:2] + b"\xff\xff",
        b"\xff" * 100_000,
    ],
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDataset, match="JPEG"):
        read_jpeg_header(data)


def jpeg_2000(
    *components: tuple[int, int, int], size: tuple[int, int, int, int] = (107, 205, 100, 200)
) -> bytes:
    siz = pack(">HLLLLLLLLH", 0, *size, 7, 5, 0, 0, len(components))
    siz += b"".join(bytes(one) for one in components)
    return b"\xff\x4f" + segment(0x51, siz) + b"data" + END


@pytest.mark.parametrize(
    ("component", "precision", "signed"),
    [((7, 1, 1), 8, False), ((15, 1, 1), 16, False), ((0x8B, 1, 1), 12, True)],
)
def test_a_jpeg_2000_header_says_size_precision_and_sign(
    component: tuple[int, int, int], precision: int, signed: bool
) -> None:
    header = read_jpeg_2000_header(jpeg_2000(component, component, component))
    assert (header.rows, header.columns, header.samples) == (5, 7, 3)
    assert (header.precision, header.signed) == (precision, signed)
    assert header.complete


def test_a_jpeg_2000_codestream_without_its_end_is_not_complete() -> None:
    assert not read_jpeg_2000_header(jpeg_2000((7, 1, 1))[:-2]).complete


def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return pack(">L4s", len(content) + 8 if length is None else length, kind) + content


SIGNATURE = box(b"jP  ", b"\r\n\x87\n")


@pytest.mark.parametrize(
    "boxes",
    [
        box(b"jp2c", jpeg_2000((7, 1, 1))),
        box(b"ftyp", b"jp2 ") + box(b"jp2h", bytes(40)) + box(b"jp2c", jpeg_2000((7, 1, 1))),
        box(b"jp2c", jpeg_2000((7, 1, 1)), 0),  # to the end
        box(b"jp2c", pack(">Q", 99) + jpeg_2000((7, 1, 1)), 1),  # a long length
        box(b"free", pack(">Q", 24) + bytes(8), 1) + box(b"jp2c", jpeg_2000((7, 1, 1))),
        box(b"free", b"", 0) + box(b"jp2c", jpeg_2000((7, 1, 1))),
    ],
)
def test_the_codestream_in_a_jp2_file_is_found(boxes: bytes) -> None:
    assert read_jpeg_2000_header(SIGNATURE + boxes).rows == 5


def test_real_jp2_files_are_understood() -> None:
    data = bytes(imagecodecs.jpeg2k_encode(IMAGE, level=0, codecformat="jp2"))
    assert read_jpeg_2000_header(data).columns == 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x4f\xff\x51",
        b"no codestream, but long enough to hold a header of one" * 2,
        jpeg_2000(),
        jpeg_2000((7, 1, 1), (8, 1, 1)),
        jpeg_2000((7, 2, 2)),
        jpeg_2000((7, 1, 1))[:44],
        SIGNATURE,
        SIGNATURE + box(b"ftyp", b"jp2 ", 2**31),
        SIGNATURE + box(b"free", bytes(4), 1),
    ],
)
def test_what_is_no_jpeg_2000_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDataset, match="JPEG 2000"):
        read_jpeg_2000_header(data)
