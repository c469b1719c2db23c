"""Native frame bytes as an array of samples."""

from dataclasses import dataclass

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
    cells = cells_of(frame, pixels, floating=floating)
    return cells if floating else stored_values(cells, layout_of(pixels, high_bit))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a sample lies in its cell: `allocated` and `stored` bits, the highest of the latter."""

    allocated: int
    stored: int
    high_bit: int


def layout_of(pixels: PixelDescription, high_bit: int) -> Layout:
    """Return the layout of cells as `cells_of` gives them; a High Bit that cannot be is mended.

    Source: PS3.5 §8.1.1
    """
    allocated, stored = pixels.bits_allocated, pixels.bits_stored
    if allocated == 1:
        return Layout(8, 8, 7)
    possible = stored - 1 <= high_bit < allocated
    return Layout(allocated, stored, high_bit if possible else stored - 1)


def cells_of(frame: DecodedFrame, pixels: PixelDescription, *, floating: bool = False) -> Samples:
    """Return the cells of a native frame, shaped like its samples; those of one bit as octets.

    Raises:
        InvalidDataset: the frame has fewer bytes than its description needs.

    Source: PS3.5 §8.1.1, §8.2, Annex D
    """
    if pixels.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame.data, np.uint8), bitorder="little")
        return _shaped(bits, pixels, frame.planar_configuration)
    cells = _cells(frame.data, pixels, floating=floating)
    subsampled = frame.photometric_interpretation in SUBSAMPLED
    wanted = pixels.bits // pixels.bits_allocated
    if subsampled and pixels.samples_per_pixel == 3 and len(cells) < wanted:
        cells = _doubled(cells, pixels)
    return _shaped(cells, pixels, frame.planar_configuration)


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


def stored_values(cells: Samples, layout: Layout) -> Samples:
    """Return what is stored in cells: other bits are cut off, signs extended.

    Source: PS3.5 §8.1.1
    """
    if layout.stored == layout.allocated:
        return cells
    shifted = np.left_shift(cells, layout.allocated - 1 - layout.high_bit)
    right: Samples = np.right_shift(shifted, layout.allocated - layout.stored)
    return right
