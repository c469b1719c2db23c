"""Viewports: which region of an image is shown, flipped how, and in how many pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest

Picture = NDArray[np.uint8]
LARGEST_SIDE = 8192
"""Pixels of a viewport's side; no screen has more."""
_BLOCK = 2**21


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the source image in its pixels; a negative width or height flips it.

    Zero stands for all that there is from `left` or `top` on. `relative` says that all are parts
    of the image's width and height.
    """

    left: float = 0
    top: float = 0
    width: float = 0
    height: float = 0
    relative: bool = False

    def pixels(self, rows: int, columns: int) -> tuple[slice, slice]:
        """Return which rows and columns are shown, in the order in which they are shown.

        Raises:
            InvalidRequest: nothing of the image is within the region.

        Source: PS3.18 §8.3.5.1.3
        """
        x, y = (columns, rows) if self.relative else (1, 1)
        across = _span(self.left * x, self.width * x, columns)
        down = _span(self.top * y, self.height * y, rows)
        return down, across


def _span(start: float, length: float, size: int) -> slice:
    end = start + abs(length) if length else size
    first, last = max(round(start), 0), min(round(end), size)
    if last <= first:
        raise InvalidRequest("The region has nothing of the image in it")
    if length < 0:
        return slice(last - 1, first - 1 if first else None, -1)
    return slice(first, last)


@dataclass(frozen=True, slots=True)
class Viewport:
    """The box that an image has to fit into; without sides, each pixel of it is one shown."""

    columns: int | None
    rows: int | None
    region: Region = Region()

    def size(self, rows: int, columns: int, aspect: float) -> tuple[int, int]:
        """Return rows and columns of the picture: as large as fits, its sides in proportion.

        `rows` and `columns` are those of the region, `aspect` is the height of a pixel divided
        by its width.

        Source: PS3.18 §8.3.5.1.3
        """
        if self.columns is None and self.rows is None:
            return rows, columns
        height, width = rows * aspect, float(columns)
        most_rows, most_columns = self.rows or LARGEST_SIDE, self.columns or LARGEST_SIDE
        scale = min(most_columns / width, most_rows / height)
        return (
            min(max(round(height * scale), 1), most_rows),
            min(max(round(width * scale), 1), most_columns),
        )


def scale(picture: Picture, rows: int, columns: int) -> Picture:
    """Return a picture of another size: averaged where it shrinks, interpolated where it grows.

    Source: PS3.18 §8.3.5.1.3 (how to scale is left to us)
    """
    if columns != picture.shape[1]:
        picture = _resize(picture.swapaxes(0, 1), columns).swapaxes(0, 1)
    if rows != picture.shape[0]:
        picture = _resize(picture, rows)
    return np.ascontiguousarray(picture)


def _resize(picture: Picture, length: int) -> Picture:
    """Resize along the first axis, in blocks of the second."""
    out = np.empty((length, *picture.shape[1:]), np.uint8)
    step = max(_BLOCK // (len(picture) + length), 1)
    for start in range(0, picture.shape[1], step):
        block = picture[:, start : start + step].astype(np.float64)
        resized = _average(block, length) if length < len(picture) else _interpolate(block, length)
        out[:, start : start + step] = np.clip(np.rint(resized), 0, 255)
    return out


def _average(block: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the mean over each of `length` equal stretches, parts of pixels weighted."""
    sums = np.zeros((len(block) + 1, *block.shape[1:]))
    np.cumsum(block, axis=0, out=sums[1:])
    bounds = np.linspace(0, len(block), length + 1)
    whole = np.minimum(bounds.astype(np.intp), len(block) - 1)
    part = (bounds - whole).reshape(-1, *(1,) * (block.ndim - 1))
    upto = sums[whole] + part * block[whole]
    means: NDArray[np.float64] = np.diff(upto, axis=0) * (length / len(block))
    return means


def _interpolate(block: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    centres = (np.arange(length) + 0.5) * (len(block) / length) - 0.5
    centres = np.clip(centres, 0, len(block) - 1)
    lower = centres.astype(np.intp)
    upper = np.minimum(lower + 1, len(block) - 1)
    part = (centres - lower).reshape(-1, *(1,) * (block.ndim - 1))
    between: NDArray[np.float64] = block[lower] * (1 - part) + block[upper] * part
    return between
