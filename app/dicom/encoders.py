"""Encode frames. Import this in worker processes only: codecs may crash, and are large.

How it works: a frame is made native first, whatever it was; one function per Transfer Syntax makes
a code stream of it. Signed samples go as two's complement where a syntax has no sign. Samples whose
unused high bits are in use (old overlays) are encoded with all their bits, so that these stay.
"""

from collections.abc import Callable
from dataclasses import replace
from struct import pack
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.codecs import DECODED_BYTES, decode_frame
from app.dicom.encodings import (
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS_LOSSLESS,
    JPEG_XL_LOSSLESS,
    can_encode,
)
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, RLE_LOSSLESS, find
from app.errors import InvalidDataset

Samples = NDArray[np.generic]
Encoder = Callable[[Samples, PixelDescription], tuple[bytes, str]]

_HEADROOM = 1024
_BASELINE_QUALITY = 90
_RPCL_LEAST = 64
"""Rows or columns of the smallest image that a resolution of HTJ2K RPCL may have."""


def transcode_frame(
    data: bytes,
    description: PixelDescription,
    transfer_syntax_uid: str,
    decoded_bytes: int = DECODED_BYTES,
) -> tuple[bytes, str]:
    """Return a frame in another Transfer Syntax, and its Photometric Interpretation there.

    `data` is a frame as `description` has it: a code stream, or native and little endian, its
    colours by pixel or by plane. Colours come out by pixel. Only .50 loses anything.

    Raises:
        InvalidDataset: the description is refused, or over `decoded_bytes`, or is in no row of the
            table for this syntax, or the frame cannot be decoded or encoded.

    Source: PS3.5 §8.2, Annexes A.4, G
    """
    description.check(decoded_bytes)
    frame = _native(data, description, decoded_bytes)
    native = replace(
        description,
        photometric_interpretation=frame.photometric_interpretation,
        planar_configuration=frame.planar_configuration,
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
    )
    if not can_encode(native, transfer_syntax_uid):
        raise InvalidDataset(f"a frame of this kind cannot be encoded in {transfer_syntax_uid}")
    try:
        return _ENCODERS[transfer_syntax_uid](_samples(frame.data, native), native)
    except (RuntimeError, ValueError) as fault:
        raise InvalidDataset("a frame cannot be encoded") from fault


def _native(data: bytes, description: PixelDescription, decoded_bytes: int) -> DecodedFrame:
    syntax = find(description.transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated:
        return decode_frame(data, description, decoded_bytes)
    if len(data) != description.length:
        raise InvalidDataset("a frame has not the length that its description asks for")
    colour = description.photometric_interpretation
    return DecodedFrame(data, colour, description.planar_configuration)


def _samples(data: bytes, native: PixelDescription) -> Samples:
    """Return rows × columns, or rows × columns × samples, of the type of the cells."""
    kind = "i" if native.pixel_representation else "u"
    cells: Samples = np.frombuffer(data, f"<{kind}{native.bits_allocated // 8}")
    if native.pixel_representation and native.bits_stored < native.bits_allocated:
        cells = _extended(cells, native)
    if native.samples_per_pixel == 1:
        return cells.reshape(native.rows, native.columns)
    if native.planar_configuration:
        planes = cells.reshape(native.samples_per_pixel, native.rows, native.columns)
        return np.ascontiguousarray(np.moveaxis(planes, 0, -1))
    return cells.reshape(native.rows, native.columns, native.samples_per_pixel)


def _extended(cells: Samples, native: PixelDescription) -> Samples:
    """Extend signs into unused high bits that are zeros, where decoders of code streams look.

    If any of them hold something else (old overlays), all stay as they are.

    Source: PS3.5 §8.1.1
    """
    unused = native.bits_allocated - native.bits_stored
    extended = np.right_shift(np.left_shift(cells, unused), unused)
    without_sign = np.bitwise_and(cells, (1 << native.bits_stored) - 1)
    plain = bool(((cells == extended) | (cells == without_sign)).all())
    return extended if plain else cells


def _precision(samples: Samples, native: PixelDescription) -> int:
    """Return Bits Stored, or Bits Allocated if a sample needs more."""
    bits = native.bits_stored
    low, high = (-(1 << bits - 1), 1 << bits - 1) if native.pixel_representation else (0, 1 << bits)
    fits = low <= int(samples.min()) and int(samples.max()) < high
    return bits if fits else native.bits_allocated


def _unsigned(samples: Samples) -> Samples:
    return samples.view(f"<u{samples.itemsize}")


def _run_length(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Pack byte planes row by row, the most significant first, a sample after the other."""
    width = samples.itemsize
    planes = samples.reshape(*samples.shape, 1).view(np.uint8)
    planes = planes.reshape(native.rows, native.columns, native.samples_per_pixel, width)
    segments, offsets, offset = [], [], 64
    for sample in range(native.samples_per_pixel):
        for place in reversed(range(width)):
            plane = planes[:, :, sample, place].copy()
            segment = bytes(imagecodecs.packbits_encode(plane, axis=-1))
            segments.append(segment + bytes(len(segment) % 2))
            offsets.append(offset)
            offset += len(segments[-1])
    offsets += [0] * (15 - len(offsets))
    header = pack("<16L", len(segments), *offsets)
    return header + b"".join(segments), native.photometric_interpretation


def _jpeg_lossless(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode with first-order prediction; signed samples with all bits, as two's complement.

    Precisions under 8 are left out, and 8 in cells of 16: other decoders stumble over them.
    """
    bits = _precision(samples, native)
    if bits <= 8 or native.pixel_representation:
        bits = native.bits_allocated
    cells = _unsigned(samples)
    colour = native.photometric_interpretation
    # called ycbcr, components come out changed where no two samples are alike
    space = {"RGB": "rgb", "YBR_FULL": "unknown"}.get(colour)
    stream = imagecodecs.jpeg8_encode(
        cells,
        lossless=True,
        predictor=1,
        bitspersample=bits,
        colorspace=space,
        outcolorspace=space,
    )
    return bytes(stream), colour


def _jpeg_ls(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode with a buffer of our own: what cannot be compressed outgrows that of the codec."""
    room = 2 * samples.nbytes + _HEADROOM
    stream = imagecodecs.jpegls_encode(_unsigned(samples), out=bytearray(room))
    return bytes(stream), native.photometric_interpretation


def _jpeg_2000(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode with the reversible colour transform for RGB, and say so."""
    bits = _precision(samples, native)
    if bits <= 8 < native.bits_allocated:
        bits = native.bits_allocated
    rgb = native.photometric_interpretation == "RGB"
    stream = imagecodecs.jpeg2k_encode(
        samples, level=0, codecformat="j2k", reversible=True, mct=rgb, bitspersample=bits
    )
    return bytes(stream), "YBR_RCT" if rgb else native.photometric_interpretation


def _high_throughput(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    return _htj2k(samples, native)


def _high_throughput_rpcl(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode for reading by resolution: a tile-part for each, their lengths at the beginning.

    Source: PS3.5 §A.4.11 (High-Throughput JPEG 2000 with RPCL Options)
    """
    longest = max(native.rows, native.columns)
    levels = max(5, (longest // _RPCL_LEAST).bit_length())
    return _htj2k(samples, native, tlm=True, tilepart=1, resolutions=levels)


def _htj2k(samples: Samples, native: PixelDescription, **options: Any) -> tuple[bytes, str]:
    rgb = native.photometric_interpretation == "RGB"
    stream = imagecodecs.htj2k_encode(samples, reversible=True, rgb=rgb, **options)
    return bytes(stream), "YBR_RCT" if rgb else native.photometric_interpretation


def _jpeg_xl(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode a bare code stream; bytes where Bits Stored fits them, as the decoder expects.

    More effort than 3 was measured to take seven times as long for less than 1 % of the size.
    """
    if native.bits_stored <= 8 < native.bits_allocated:
        if _precision(samples, native) > native.bits_stored:
            raise InvalidDataset("a frame has samples of more than Bits Stored")
        samples = samples.astype(np.uint8)
    stream = imagecodecs.jpegxl_encode(samples, lossless=True, effort=3, usecontainer=False)
    return bytes(stream), native.photometric_interpretation


def _jpeg_baseline(samples: Samples, native: PixelDescription) -> tuple[bytes, str]:
    """Encode with loss, colours with half of the chrominance."""
    colour = native.photometric_interpretation
    if native.samples_per_pixel == 1:
        return bytes(imagecodecs.jpeg8_encode(samples, level=_BASELINE_QUALITY)), colour
    stream = imagecodecs.jpeg8_encode(
        samples,
        level=_BASELINE_QUALITY,
        colorspace="rgb" if colour == "RGB" else "ycbcr",
        outcolorspace="ycbcr",
        subsampling="422",
    )
    return bytes(stream), "YBR_FULL_422"


_ENCODERS: dict[str, Encoder] = {
    RLE_LOSSLESS: _run_length,
    JPEG_BASELINE: _jpeg_baseline,
    JPEG_LOSSLESS: _jpeg_lossless,
    JPEG_LS_LOSSLESS: _jpeg_ls,
    JPEG_2000_LOSSLESS: _jpeg_2000,
    HTJ2K_LOSSLESS: _high_throughput,
    HTJ2K_LOSSLESS_RPCL: _high_throughput_rpcl,
    JPEG_XL_LOSSLESS: _jpeg_xl,
}
