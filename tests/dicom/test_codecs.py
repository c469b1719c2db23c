"""Frames decoded: exact for lossless codecs, judged by GDCM, OpenJPEG and pydicom; else refused."""

import io
import zlib
from typing import Any

import gdcm  # type: ignore[import-untyped]
import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels.encoders.base import RLELosslessEncoder

from app.dicom import codecs
from app.dicom.codecs import decode_frame
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.transfer_syntaxes import ROWS
from app.errors import InvalidDataset
from tests.pydicom_oracle import read
from tests.samples import SAMPLES

SYNTAX = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
Array = NDArray[Any]


def noise(dtype: Any, bits: int, samples: int = 1) -> Array:
    """Return an image of 19 rows and 23 columns that no codec can guess."""
    shape = (19, 23) if samples == 1 else (19, 23, samples)
    low = -(2 ** (bits - 1)) if np.dtype(dtype).kind == "i" else 0
    return np.random.default_rng(bits).integers(low, low + 2**bits, shape).astype(dtype)


def encode(codec: str, image: Array, **options: Any) -> bytes:
    return bytes(getattr(imagecodecs, f"{codec}_encode")(image, **options))


def describe(image: Array, uid: str, **more: Any) -> PixelDescription:
    plain: dict[str, Any] = {
        "rows": image.shape[0],
        "columns": image.shape[1],
        "samples_per_pixel": 1 if image.ndim == 2 else image.shape[2],
        "bits_allocated": image.dtype.itemsize * 8,
        "bits_stored": image.dtype.itemsize * 8,
        "pixel_representation": int(image.dtype.kind == "i"),
        "photometric_interpretation": "MONOCHROME2" if image.ndim == 2 else "RGB",
        "transfer_syntax_uid": uid,
    }
    return PixelDescription(**(plain | more))


def pixels(frame: DecodedFrame, like: Array) -> Array:
    return np.frombuffer(frame.data, like.dtype.newbyteorder("<")).reshape(like.shape)


def assert_exact(codestream: bytes, image: Array, uid: str, **more: Any) -> None:
    frame = decode_frame(codestream, describe(image, uid, **more))
    assert np.array_equal(pixels(frame, image), image)
    assert frame.planar_configuration == 0


def test_what_the_table_calls_decodable_is() -> None:
    encapsulated = {row.uid for row in ROWS if row.encapsulated and row.decodable}
    assert set(codecs._DECODERS) == encapsulated


@pytest.mark.parametrize("uid", [row.uid for row in ROWS if row.uid not in codecs._DECODERS])
def test_what_cannot_be_decoded_says_so(uid: str) -> None:
    with pytest.raises(InvalidDataset, match="cannot be decoded here"):
        decode_frame(b"", describe(noise("u1", 8), uid))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_twelve_bit_jpeg_is_decoded_as_gdcm_does(name: str) -> None:
    path = next(path for path in SAMPLES if path.name == name)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    expected = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    dataset = read(path)
    image = np.empty((dataset.Rows, dataset.Columns), np.uint16)
    codestream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    frame = decode_frame(codestream, describe(image, f"{SYNTAX}51", bits_stored=12))
    assert frame.data == expected


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 8, 10, 12, 16])
def test_lossless_jpeg_is_exact_for_all_predictors(bits: int, predictor: int) -> None:
    image = noise("u1" if bits <= 8 else "u2", bits)
    stream = encode("jpeg8", image, lossless=True, predictor=predictor, bitspersample=bits)
    assert_exact(stream, image, f"{SYNTAX}57", bits_stored=bits)


@pytest.mark.parametrize("uid", [f"{SYNTAX}57", f"{SYNTAX}70"])
@pytest.mark.parametrize("colour", ["RGB", "YBR_FULL"])
def test_lossless_colour_jpeg_is_exact(uid: str, colour: str) -> None:
    image = noise("u1", 8, 3)
    stream = encode("jpeg8", image, lossless=True, predictor=1)
    assert_exact(stream, image, uid, photometric_interpretation=colour)


@pytest.mark.parametrize("bits", [2, 8, 10, 12, 16])
def test_jpeg_ls_is_exact(bits: int) -> None:
    image = noise("u1" if bits <= 8 else "u2", bits)
    stream = encode("jpegls", image)
    assert_exact(stream, image, f"{SYNTAX}80", bits_stored=bits)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_jpeg_ls_in_colour_is_exact(dtype: str) -> None:
    image = noise(dtype, 8, 3)
    assert_exact(encode("jpegls", image), image, f"{SYNTAX}80")


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("u1", 8), ("i1", 8), ("u2", 12), ("i2", 12), ("u2", 16), ("i2", 16), ("u4", 24), ("i4", 24)],
)
def test_jpeg_2000_is_exact_up_to_24_bits(dtype: str, bits: int) -> None:
    image = noise(dtype, bits)
    stream = encode(
        "jpeg2k", image, level=0, reversible=True, bitspersample=bits, codecformat="j2k"
    )
    assert_exact(stream, image, f"{SYNTAX}90", bits_stored=bits)


def test_jpeg_2000_beyond_24_bits_is_refused() -> None:
    image = noise("u4", 25)
    stream = encode("jpeg2k", image, level=0, reversible=True, bitspersample=25, codecformat="j2k")
    with pytest.raises(InvalidDataset, match="24 bits"):
        decode_frame(stream, describe(image, f"{SYNTAX}90"))


@pytest.mark.parametrize("codecformat", ["j2k", "jp2"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_jpeg_2000_in_colour_is_exact_in_a_jp2_file_too(codecformat: str, dtype: str) -> None:
    image = noise(dtype, 8, 3)
    stream = encode("jpeg2k", image, level=0, reversible=True, mct=True, codecformat=codecformat)
    for colour in ("RGB", "YBR_RCT", "YBR_ICT"):  # W-19: the transform is undone
        frame = decode_frame(
            stream, describe(image, f"{SYNTAX}90", photometric_interpretation=colour)
        )
        assert np.array_equal(pixels(frame, image), image)
        assert frame.photometric_interpretation == "RGB"


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("arc", ["201", "202", "203"])
def test_htj2k_is_exact_and_openjpeg_agrees(arc: str, dtype: str) -> None:
    image = noise(dtype, np.dtype(dtype).itemsize * 8)
    stream = encode("htj2k", image)
    assert np.array_equal(openjpeg.utils.decode(io.BytesIO(stream)), image)
    assert_exact(stream, image, SYNTAX + arc)


def test_htj2k_in_colour_is_rgb() -> None:
    image = noise("u1", 8, 3)
    stream = encode("htj2k", image, rgb=True)
    frame = decode_frame(
        stream, describe(image, f"{SYNTAX}201", photometric_interpretation="YBR_RCT")
    )
    assert np.array_equal(pixels(frame, image), image)
    assert frame.photometric_interpretation == "RGB"


@pytest.mark.parametrize("arc", ["110", "112"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_jpeg_xl_is_exact(arc: str, bits: int) -> None:
    image = noise("u1" if bits <= 8 else "u2", bits)
    stream = encode("jpegxl", image, lossless=True, bitspersample=bits)
    assert_exact(stream, image, SYNTAX + arc, bits_stored=bits)


@pytest.mark.parametrize(
    ("colour", "produced"), [("RGB", "RGB"), ("XYB", "RGB"), ("YBR_FULL_422", "RGB")]
)
def test_jpeg_xl_in_colour_is_rgb(colour: str, produced: str) -> None:
    image = noise("u1", 8, 3)
    stream = encode("jpegxl", image, lossless=True)
    frame = decode_frame(stream, describe(image, f"{SYNTAX}111", photometric_interpretation=colour))
    assert np.array_equal(pixels(frame, image), image)
    assert frame.photometric_interpretation == produced


@pytest.mark.parametrize(
    ("dtype", "samples"), [("u1", 1), ("i1", 1), ("u2", 1), ("i2", 1), ("u1", 3), ("u2", 3)]
)
def test_rle_of_pydicom_is_undone(dtype: str, samples: int) -> None:
    image = noise(dtype, np.dtype(dtype).itemsize * 8, samples)
    stream = RLELosslessEncoder.encode(
        image,
        rows=19,
        columns=23,
        samples_per_pixel=samples,
        bits_allocated=image.dtype.itemsize * 8,
        bits_stored=image.dtype.itemsize * 8,
        pixel_representation=int(image.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2" if samples == 1 else "RGB",
        planar_configuration=0,
        number_of_frames=1,
        encoding_plugin="pydicom",
    )
    assert_exact(bytes(stream), image, RLE)


def rle(*segments: bytes, count: int | None = None) -> bytes:
    offsets = [64 + sum(map(len, segments[:index])) for index in range(len(segments))]
    header = [len(segments) if count is None else count, *offsets]
    return b"".join(n.to_bytes(4, "little") for n in header).ljust(64, b"\0") + b"".join(segments)


TWO = np.array([[7, 7, 7, 9]], np.uint8)


@pytest.mark.parametrize(
    "segment",
    [b"\xfe\x07\x00\x09", b"\x03\x07\x07\x07\x09", b"\x80\xfe\x07\x80\x00\x09",
     b"\xfe\x07\x00\x09\x00", b"\xfe\x07\x00\x09\x05\x01\x01\x01\x01\x01\x01"],
)  # fmt: skip
def test_runs_literals_pauses_and_padding_are_understood(segment: bytes) -> None:  # PS3.5 Annex G
    assert_exact(rle(segment), TWO, RLE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        rle(b"\xfe\x07\x00\x09")[:60],
        rle(b"\xfe\x07"),
        rle(b"\x05\x01"),
        rle(b"\xfe\x07\x00\x09", count=2),
        rle(b"\xfe\x07\x00\x09", count=0),
        b"\1\0\0\0" + b"\xff" * 60 + b"\xfe\x07\x00\x09",
    ],
)
def test_damaged_rle_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDataset):
        decode_frame(data, describe(TWO, RLE))


def test_rle_cannot_hold_bits() -> None:
    with pytest.raises(InvalidDataset, match="segments"):
        decode_frame(rle(count=0), describe(TWO, RLE, bits_allocated=1, bits_stored=1))


def deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_deflated_and_plain_frames_are_what_they_hold(padding: bytes) -> None:
    image = noise("u2", 16)
    assert_exact(image.tobytes() + padding, image, "1.2.840.10008.1.2.1.98")
    assert_exact(deflate(image.tobytes()) + padding, image, "1.2.840.10008.1.2.8.1")


@pytest.mark.parametrize(
    "data", [b"", bytes(873), bytes(876), deflate(bytes(873)), deflate(bytes(10**7)), b"\x07"]
)
@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"])
def test_deflated_and_plain_frames_of_another_length_are_refused(uid: str, data: bytes) -> None:
    with pytest.raises(InvalidDataset):
        decode_frame(data, describe(noise("u2", 16), uid))


def test_planes_of_a_plain_frame_stay_planes() -> None:
    image = noise("u1", 8, 3)
    description = describe(image, "1.2.840.10008.1.2.1.98", planar_configuration=1)
    assert decode_frame(image.tobytes(), description).planar_configuration == 1


def test_one_bit_pixels_are_packed() -> None:
    image = noise("u1", 1)
    stream = encode("jpegxl", image, lossless=True)
    description = describe(image, f"{SYNTAX}110", bits_allocated=1, bits_stored=1)
    frame = decode_frame(stream, description)
    bits = np.unpackbits(np.frombuffer(frame.data, np.uint8), bitorder="little")
    assert np.array_equal(bits[: image.size], image.ravel())


@pytest.mark.parametrize("signed_stream", [True, False])
def test_the_sign_is_that_of_the_instance(signed_stream: bool) -> None:
    """As in J2K_pixelrep_mismatch.dcm: the codestream says the other sign than the Instance."""
    unsigned = noise("u2", 12)
    signed = np.where(unsigned >= 2048, unsigned.astype("i2") - 4096, unsigned).astype("i2")
    inside, outside = (signed, unsigned) if signed_stream else (unsigned, signed)
    stream = encode("jpeg2k", inside, level=0, reversible=True, bitspersample=12, codecformat="j2k")
    assert_exact(stream, outside, f"{SYNTAX}90", bits_stored=12)


@pytest.mark.parametrize("arc", ["70", "80"])
def test_codecs_that_know_no_sign_give_one(arc: str) -> None:
    signed = noise("i2", 12)
    unsigned = (signed & 0xFFF).astype("u2")
    stream = (
        encode("jpeg8", unsigned, lossless=True, predictor=1, bitspersample=12)
        if arc == "70"
        else encode("jpegls", unsigned)
    )
    precision = 12 if arc == "70" else 16
    expected = signed if precision == 12 else unsigned.astype("i2")
    assert_exact(stream, expected, SYNTAX + arc, bits_stored=12)


def test_narrow_samples_fill_wide_cells() -> None:
    image = noise("u1", 8).astype("u2")
    stream = encode("jpegls", image.astype("u1"))
    assert_exact(stream, image, f"{SYNTAX}80")


RGB = np.full((16, 16, 3), (200, 30, 40), np.uint8)


@pytest.mark.parametrize(
    ("colour", "stored", "produced"),
    [
        ("RGB", "rgb", "RGB"),
        ("YBR_FULL", "ycbcr", "YBR_FULL"),
        ("YBR_FULL_422", "ycbcr", "YBR_FULL"),  # it is no longer subsampled
        ("YBR_FULL", "rgb", "RGB"),  # the header knows better
        ("RGB", "ycbcr", "YBR_FULL"),
    ],
)
def test_lossy_jpeg_says_what_its_components_are(colour: str, stored: str, produced: str) -> None:
    stream = encode(
        "jpeg8", RGB, level=100, colorspace="rgb", outcolorspace=stored, subsampling="422"
    )
    frame = decode_frame(stream, describe(RGB, f"{SYNTAX}50", photometric_interpretation=colour))
    assert frame.photometric_interpretation == produced
    expected = (200, 30, 40) if produced == "RGB" else (82, 104, 212)
    assert np.abs(pixels(frame, RGB).astype(int) - expected).max() <= 2


def test_jpeg_of_two_or_four_components_is_refused() -> None:
    image = noise("u1", 8, 4)
    stream = encode("jpeg8", image, colorspace="cmyk", outcolorspace="cmyk")
    with pytest.raises(InvalidDataset, match="one or three"):
        decode_frame(stream, describe(image, f"{SYNTAX}50"))


STREAMS = {
    "50": encode("jpeg8", noise("u1", 8)),
    "80": encode("jpegls", noise("u1", 8)),
    "90": encode("jpeg2k", noise("u1", 8), level=0, codecformat="j2k"),
    "201": encode("htj2k", noise("u1", 8)),
    "110": encode("jpegxl", noise("u1", 8), lossless=True),
}


@pytest.mark.parametrize("arc", STREAMS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.8, 0.95])
def test_what_is_cut_short_is_refused(arc: str, part: float) -> None:
    stream = STREAMS[arc][: int(len(STREAMS[arc]) * part)]
    with pytest.raises(InvalidDataset):
        decode_frame(stream, describe(noise("u1", 8), SYNTAX + arc))


@pytest.mark.parametrize("arc", STREAMS)
@pytest.mark.parametrize(
    "more", [{"rows": 18}, {"columns": 24}, {"samples_per_pixel": 3}, {"rows": 23, "columns": 19}]
)
def test_what_is_not_as_described_is_refused(arc: str, more: dict[str, int]) -> None:
    with pytest.raises(InvalidDataset):
        decode_frame(STREAMS[arc], describe(noise("u1", 8), SYNTAX + arc, **more))


@pytest.mark.parametrize("arc", ["80", "90"])
def test_more_bits_than_the_cells_have_are_refused(arc: str) -> None:
    wide = noise("u2", 16)
    stream = (
        encode("jpegls", wide)
        if arc == "80"
        else encode("jpeg2k", wide, level=0, codecformat="j2k")
    )
    with pytest.raises(InvalidDataset, match="more bits"):
        decode_frame(stream, describe(noise("u1", 8), SYNTAX + arc))


def test_a_decoder_that_returns_another_shape_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imagecodecs, "jpegls_decode", lambda _: np.zeros((1, 1), np.uint8))
    with pytest.raises(InvalidDataset, match="shape"):
        decode_frame(STREAMS["80"], describe(noise("u1", 8), f"{SYNTAX}80"))


def test_a_frame_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="limit of 100 bytes"):
        decode_frame(STREAMS["80"], describe(noise("u1", 8), f"{SYNTAX}80"), 100)
