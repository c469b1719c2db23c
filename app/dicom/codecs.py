"""Decode compressed frames. Import this in worker processes only: codecs may crash, and are large.

How it works: each Transfer Syntax that can be decoded has one function in a table. What a frame's
own header promises is held against the Image Pixel module before a decoder sees it, and what comes
out again before it is used. Samples are then put into the cells that Bits Allocated asks for.
"""

import zlib
from collections.abc import Callable
from struct import error, unpack_from

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.codestreams import Codestream, read_jpeg_2000_header, read_jpeg_header
from app.dicom.limits import Limits
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.transfer_syntaxes import (
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    RLE_LOSSLESS,
    find,
)
from app.errors import InvalidDataset

Samples = NDArray[np.generic]
Decoder = Callable[[bytes, PixelDescription], DecodedFrame]

_PREFIX = "1.2.840.10008.1.2.4."
JPEG_BASELINE, JPEG_EXTENDED = f"{_PREFIX}50", f"{_PREFIX}51"
JPEG_SYNTAXES = (JPEG_BASELINE, JPEG_EXTENDED, f"{_PREFIX}57", f"{_PREFIX}70")
JPEG_LS_SYNTAXES = (f"{_PREFIX}80", f"{_PREFIX}81")
JPEG_2000_SYNTAXES = tuple(f"{_PREFIX}{arc}" for arc in (90, 91, 92, 93))
HTJ2K_SYNTAXES = tuple(f"{_PREFIX}{arc}" for arc in (201, 202, 203))
JPEG_XL_SYNTAXES = tuple(f"{_PREFIX}{arc}" for arc in (110, 111, 112))
_TRANSFORMED_BY_JPEG_XL = frozenset({"YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "XYB"})
_JPEG_END = b"\xff\xd9"
_RLE_SLACK = 1024
"""Bytes that a segment may hold beyond its pixels; some encoders pad."""

DECODED_BYTES = Limits().decoded_bytes
EXACT_JPEG_2000_BITS = 24
"""OpenJPEG and OpenJPH are not exact beyond."""


def decode_frame(
    codestream: bytes, description: PixelDescription, decoded_bytes: int = DECODED_BYTES
) -> DecodedFrame:
    """Decode one frame to native pixels: little endian, colour by pixel, no padding.

    The Photometric Interpretation is that of the pixels as they come out: what a codec transforms
    back (YBR_RCT, YBR_ICT) is RGB, subsampled chrominance is full again. Pixels of one bit are
    packed, the last byte filled with zeros.

    Raises:
        InvalidDataset: the description is not that of a real frame, or over `decoded_bytes`, or
            the codestream is damaged, or not what the description says, or cannot be decoded.

    Source: PS3.5 §8.2, Annexes A.4, G; PS3.3 §C.7.6.3
    """
    description.check(decoded_bytes)
    decoder = _DECODERS.get(description.transfer_syntax_uid)
    if decoder is None:
        raise InvalidDataset(f"{description.transfer_syntax_uid} cannot be decoded here")
    try:
        return decoder(codestream, description)
    except (RuntimeError, ValueError, OSError, MemoryError, zlib.error) as fault:
        raise InvalidDataset("a frame is damaged and cannot be decoded") from fault


def decode_stored(data: bytes, pixels: PixelDescription, decoded_bytes: int) -> DecodedFrame:
    """Return a frame, given as it is stored (little endian if native), as a native one.

    Raises:
        InvalidDataset: it cannot be decoded.

    Source: PS3.5 §8.2, Annex A.4
    """
    syntax = find(pixels.transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated:
        return decode_frame(data, pixels, decoded_bytes)
    return DecodedFrame(data, pixels.photometric_interpretation, pixels.planar_configuration)


def _uncompressed(data: bytes, description: PixelDescription) -> DecodedFrame:
    if not description.length <= len(data) <= description.length + 1:
        raise InvalidDataset("a frame has not the length that its description asks for")
    return DecodedFrame(
        data[: description.length],
        description.photometric_interpretation,
        description.planar_configuration,
    )


def _deflated(data: bytes, description: PixelDescription) -> DecodedFrame:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    return _uncompressed(inflater.decompress(data, description.length + 2), description)


def _run_length(data: bytes, description: PixelDescription) -> DecodedFrame:
    """Put byte planes, each packed on its own, the most significant first, together again."""
    width = description.bits_allocated // 8
    planes = description.samples_per_pixel * width
    try:
        count, *offsets = unpack_from("<16L", data)
    except error:
        raise InvalidDataset("an RLE frame is shorter than its header") from None
    if count != planes or width == 0:
        raise InvalidDataset(f"an RLE frame has {count} segments, {planes} were expected")
    pixels = description.rows * description.columns
    frame = np.empty((pixels, description.samples_per_pixel, width), np.uint8)
    ends = [*offsets[1:planes], len(data)]
    for index, (start, end) in enumerate(zip(offsets[:planes], ends, strict=True)):
        sample, place = divmod(index, width)
        frame[:, sample, width - 1 - place] = _unpack(data[start:end], pixels)
    return DecodedFrame(frame.tobytes(), description.photometric_interpretation)


def _unpack(segment: bytes, pixels: int) -> Samples:
    unpacked = imagecodecs.packbits_decode(segment, out=pixels + _RLE_SLACK)
    if len(unpacked) < pixels:
        raise InvalidDataset("an RLE segment holds fewer bytes than there are pixels")
    return np.frombuffer(unpacked, np.uint8, pixels)


def _jpeg(data: bytes, description: PixelDescription) -> DecodedFrame:
    """Decode a frame of any sequential process; its components come out as they are inside."""
    header = read_jpeg_header(data)
    _check_header(header, description)
    colour = description.photometric_interpretation
    if header.samples == 1:
        return _native(imagecodecs.jpeg8_decode(data), header, description, colour)
    if header.samples != 3:
        raise InvalidDataset("a JPEG frame of one or three components was expected")
    samples = imagecodecs.jpeg8_decode(data, colorspace="ycbcr", outcolorspace="ycbcr")
    lossy = description.transfer_syntax_uid in {JPEG_BASELINE, JPEG_EXTENDED}
    if header.transform == "RGB":
        colour = "RGB"
    elif colour == "YBR_FULL_422" or (header.transform == "YBR" and lossy):
        colour = "YBR_FULL"
    return _native(samples, header, description, colour)


def _jpeg_ls(data: bytes, description: PixelDescription) -> DecodedFrame:
    """Decode with an end added: without one CharLS reads on for ever."""
    data += _JPEG_END
    header = read_jpeg_header(data)
    _check_header(header, description)
    samples = imagecodecs.jpegls_decode(data)
    return _native(samples, header, description, description.photometric_interpretation)


def _jpeg_2000(data: bytes, description: PixelDescription) -> DecodedFrame:
    return _wavelets(imagecodecs.jpeg2k_decode, data, description)


def _high_throughput(data: bytes, description: PixelDescription) -> DecodedFrame:
    return _wavelets(_by_pixel, data, description)


def _by_pixel(data: bytes) -> Samples:
    """Decode colours by pixel: by itself the codec gives planes where there is no transform."""
    return imagecodecs.htj2k_decode(data, planar=False)


def _wavelets(
    decode: Callable[[bytes], Samples], data: bytes, description: PixelDescription
) -> DecodedFrame:
    header = read_jpeg_2000_header(data)
    _check_header(header, description)
    if header.precision > EXACT_JPEG_2000_BITS:
        raise InvalidDataset("JPEG 2000 of more than 24 bits cannot be decoded exactly")
    colour = description.photometric_interpretation
    if colour in {"YBR_ICT", "YBR_RCT"}:
        colour = "RGB"
    return _native(decode(data), header, description, colour)


def _jpeg_xl(data: bytes, description: PixelDescription) -> DecodedFrame:
    """Decode with the expected shape given, which the decoder checks before it allocates."""
    narrow = description.bits_stored <= 8
    out = np.empty(_shape(description), np.uint8 if narrow else np.uint16)
    samples = imagecodecs.jpegxl_decode(data, out=out)
    header = Codestream(
        description.rows,
        description.columns,
        description.samples_per_pixel,
        description.bits_stored,
    )
    colour = description.photometric_interpretation
    if colour in _TRANSFORMED_BY_JPEG_XL:
        colour = "RGB"
    return _native(samples, header, description, colour)


def _shape(description: PixelDescription) -> tuple[int, ...]:
    size = (description.rows, description.columns)
    samples = description.samples_per_pixel
    return size if samples == 1 else (*size, samples)


def _check_header(header: Codestream, description: PixelDescription) -> None:
    promised = (header.rows, header.columns, header.samples)
    expected = (description.rows, description.columns, description.samples_per_pixel)
    if promised != expected:
        raise InvalidDataset(
            f"a frame's codestream is {promised} (rows, columns, samples), the Instance {expected}"
        )
    if not header.complete:
        raise InvalidDataset("a frame's codestream is cut short")
    if header.precision > description.bits_allocated:
        raise InvalidDataset("a frame's samples have more bits than Bits Allocated")


def _native(
    samples: Samples, header: Codestream, description: PixelDescription, colour: str
) -> DecodedFrame:
    """Put decoded samples into cells of Bits Allocated.

    Source: PS3.5 §8.1.1
    """
    if samples.shape != _shape(description):
        raise InvalidDataset("a decoded frame has not the shape that its header promised")
    if description.bits_allocated == 1:
        return DecodedFrame(np.packbits(samples != 0, bitorder="little").tobytes(), colour)
    width = description.bits_allocated // 8
    cells = samples.astype(f"<i{width}", copy=False)
    unused = description.bits_allocated - header.precision
    if unused and header.signed != bool(description.pixel_representation):
        cells = cells << unused
        cells = cells >> unused if description.pixel_representation else _unsigned(cells, unused)
    return DecodedFrame(cells.tobytes(), colour)


def _unsigned(cells: Samples, unused: int) -> Samples:
    """Shift zeros in from above."""
    unsigned: Samples = cells.view(f"<u{cells.itemsize}") >> unused
    return unsigned


_DECODERS: dict[str, Decoder] = {
    ENCAPSULATED_UNCOMPRESSED: _uncompressed,
    DEFLATED_FRAMES: _deflated,
    RLE_LOSSLESS: _run_length,
    **dict.fromkeys(JPEG_SYNTAXES, _jpeg),
    **dict.fromkeys(JPEG_LS_SYNTAXES, _jpeg_ls),
    **dict.fromkeys(JPEG_2000_SYNTAXES, _jpeg_2000),
    **dict.fromkeys(HTJ2K_SYNTAXES, _high_throughput),
    **dict.fromkeys(JPEG_XL_SYNTAXES, _jpeg_xl),
}
