"""Viewports: which region of an image is shown, flipped how, and in how many pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest

Picture = NDArray[np.uint8]
LARGEST_SIDE = 8192
"""Pixels of a viewport's side; no screen has more."""
_BLOCK = 2**18


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
    first, last = max(round(min(start, size)), 0), round(min(end, size))
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
    if (rows, columns) == picture.shape[:2]:
        return np.ascontiguousarray(picture)
    down, across = _shares(picture.shape[0], rows), _shares(picture.shape[1], columns)
    out = np.empty((rows, columns, *picture.shape[2:]), np.uint8)
    step = max(_BLOCK // max(picture.shape[1], columns), 1)
    for row in range(0, rows, step):
        tall = down.of(picture, row, row + step).swapaxes(0, 1)
        wide = across.of(np.ascontiguousarray(tall), 0, columns).swapaxes(0, 1)
        out[row : row + step] = np.clip(np.rint(wide), 0, 255)
    return out


@dataclass(frozen=True, slots=True)
class _Shares:
    """What each line of a picture that is resized is made of: neighbouring lines of the other.

    Line n is the sum of lines `first[n]`, `first[n] + 1`, … with `weights[0][n]`, ….
    """

    first: NDArray[np.intp]
    weights: NDArray[np.float32]

    def of(self, picture: NDArray[np.generic], start: int, stop: int) -> NDArray[np.float32]:
        """Return lines `start` up to `stop` of the first axis."""
        first, last = self.first[start:stop], len(picture) - 1
        ones = (1,) * (picture.ndim - 1)
        total = np.zeros((len(first), *picture.shape[1:]), np.float32)
        for distance, weights in enumerate(self.weights[:, start:stop]):
            lines = picture[np.minimum(first + distance, last)]
            total += lines * weights.reshape(-1, *ones)
        return total


def _shares(before: int, length: int) -> _Shares:
    """Return the means over `length` equal stretches of `before` lines, or what lies between two.

    Parts of lines count for as much as they are.
    """
    if length >= before:
        centres = (np.arange(length) + 0.5) * (before / length) - 0.5
        centres = np.clip(centres, 0, before - 1)
        lower = centres.astype(np.intp)
        part = centres - lower
        return _Shares(lower, np.stack([1 - part, part]).astype(np.float32))
    bounds = np.arange(length + 1) * (before / length)
    first = bounds[:-1].astype(np.intp)
    most = int((np.ceil(bounds[1:]) - first).max())
    lines = first + np.arange(most)[:, np.newaxis]
    covered = np.minimum(bounds[1:], lines + 1) - np.maximum(bounds[:-1], lines)
    return _Shares(first, (np.clip(covered, 0, 1) * (length / before)).astype(np.float32))
