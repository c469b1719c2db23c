"""Native frame bytes as an array of samples."""

import numpy as np
from numpy.typing import NDArray

from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.errors import InvalidDataset

Samples = NDArray[np.generic]
SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


def samples_of(
    frame: DecodedFrame, pixels: PixelDescription, high_bit: int, *, floating: bool = False
) -> Samples:
    """Return the samples of a native frame, (rows, columns) or (rows, columns, samples).

    Bits beyond Bits Stored are cut off and signs extended. Chrominance that is shared by two
    pixels is given to each. `floating` says that samples are of the float pixel attributes.

    Raises:
        InvalidDataset: the frame has fewer bytes than its description needs.

    Source: PS3.5 §8.1.1, §8.2, Annex D; PS3.3 §C.7.6.3.1.2, §C.7.6.3.1.3, §C.7.6.24
    """
    if pixels.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame.data, np.uint8), bitorder="little")
        return _shaped(bits, pixels, frame.planar_configuration)
    cells = _cells(frame.data, pixels, floating=floating)
    subsampled = frame.photometric_interpretation in SUBSAMPLED
    if subsampled and pixels.samples_per_pixel == 3 and len(cells) < pixels.bits // _bits(pixels):
        cells = _doubled(cells, pixels)
    shaped = _shaped(cells, pixels, frame.planar_configuration)
    return shaped if floating else _stored_bits(shaped, pixels, high_bit)


def _bits(pixels: PixelDescription) -> int:
    return pixels.bits_allocated


def _cells(data: bytes, pixels: PixelDescription, *, floating: bool) -> Samples:
    width = pixels.bits_allocated // 8
    kind = "f" if floating else "i" if pixels.pixel_representation else "u"
    if floating and width not in {4, 8}:
        raise InvalidDataset("float pixels have 32 or 64 bits")
    return np.frombuffer(data, f"<{kind}{width}", len(data) // width)


def _shaped(cells: Samples, pixels: PixelDescription, planar_configuration: int) -> Samples:
    rows, columns, count = pixels.rows, pixels.columns, pixels.samples_per_pixel
    wanted = rows * columns * count
    if len(cells) < wanted:
        raise InvalidDataset("a frame has fewer bytes than its description asks for")
    cells = cells[:wanted]
    if count == 1:
        return cells.reshape(rows, columns)
    if planar_configuration == 1:
        return np.ascontiguousarray(cells.reshape(count, rows, columns).transpose(1, 2, 0))
    return cells.reshape(rows, columns, count)


def _doubled(cells: Samples, pixels: PixelDescription) -> Samples:
    """Give each pixel of a pair, stored as Y Y Cb Cr, the chrominance of both."""
    pairs = pixels.rows * pixels.columns // 2
    if pixels.columns % 2 or len(cells) < pairs * 4:
        raise InvalidDataset("a frame has fewer bytes than its description asks for")
    stored = cells[: pairs * 4].reshape(pairs, 4)
    return stored[:, [0, 2, 3, 1, 2, 3]].reshape(-1)


def _stored_bits(cells: Samples, pixels: PixelDescription, high_bit: int) -> Samples:
    stored, allocated = pixels.bits_stored, pixels.bits_allocated
    if stored == allocated:
        return cells
    high = high_bit if stored - 1 <= high_bit < allocated else stored - 1
    above = allocated - 1 - high
    shifted = np.left_shift(cells, above)
    right: Samples = np.right_shift(shifted, allocated - stored)
    return right
