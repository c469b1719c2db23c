"""Drawing over pictures: lines, ellipses, filled areas, and text with a dark edge around it."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.dicom.glyphs import HEIGHT, written
from app.dicom.presentation import Point
from app.dicom.viewport import Picture

Mask = NDArray[np.bool_]
_FAR = 2**20
_MOST_STEPS = 2**16
_LINE = HEIGHT + 1
MOST_LINES = 40
LONGEST_LINE = 200


def draw_lines(covered: Mask, points: Sequence[Point]) -> None:
    """Mark the pixels on the lines between points (x, y), 0-based, that follow each other.

    Source: PS3.3 §C.10.5.1.2
    """
    for (x, y), (end_x, end_y) in pairwise(points):
        length = max(abs(end_x - x), abs(end_y - y))
        if length > _FAR:
            continue
        steps = min(int(length) + 1, _MOST_STEPS)
        across = np.rint(np.linspace(x, end_x, steps + 1)).astype(np.intp)
        down = np.rint(np.linspace(y, end_y, steps + 1)).astype(np.intp)
        _mark(covered, across, down)
    if len(points) == 1:
        _mark(covered, np.array([round(points[0][0])]), np.array([round(points[0][1])]))


def _mark(covered: Mask, across: NDArray[np.intp], down: NDArray[np.intp]) -> None:
    rows, columns = covered.shape
    inside = (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
    covered[down[inside], across[inside]] = True


def ellipse(major: tuple[Point, Point], minor: tuple[Point, Point]) -> list[Point]:
    """Return points on an ellipse whose axes are given by their ends.

    Source: PS3.3 §C.10.5.1.2
    """
    (x, y), (end_x, end_y) = major
    (other_x, other_y), (other_end_x, other_end_y) = minor
    turn = np.linspace(0, 2 * np.pi, 181)
    centre = (x + end_x) / 2, (y + end_y) / 2
    along = (end_x - x) / 2, (end_y - y) / 2
    aside = (other_end_x - other_x) / 2, (other_end_y - other_y) / 2
    across = centre[0] + along[0] * np.cos(turn) + aside[0] * np.sin(turn)
    down = centre[1] + along[1] * np.cos(turn) + aside[1] * np.sin(turn)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def inside(points: Sequence[Point], shape: tuple[int, int]) -> Mask:
    """Return which pixels of an image of that shape lie within a polygon.

    Source: PS3.3 §C.7.6.11
    """
    down, across = np.mgrid[: shape[0], : shape[1]]
    within = np.zeros(shape, np.bool_)
    for (x, y), (end_x, end_y) in zip(points, [*points[1:], *points[:1]], strict=True):
        crossing = (y > down) != (end_y > down)
        slope = (end_x - x) / (end_y - y) if end_y != y else 0.0
        within ^= crossing & (across < x + slope * (down - y))
    return within


def paint(picture: Picture, covered: Mask, shade: int = 255) -> None:
    """Give the pixels that are covered a shade.

    Source: PS3.4 §N.2.4
    """
    picture[covered] = shade


def write(picture: Picture, lines: Iterable[str], at: Point, size: int) -> None:
    """Write lines of text below each other; `at` is (x, y) of the first one's left upper corner.

    Source: PS3.18 §8.3.5.1.1; PS3.3 §C.10.5
    """
    for number, line in enumerate(list(lines)[:MOST_LINES]):
        dots = written(line[:LONGEST_LINE], size)
        edged = np.pad(dots, size)
        edge = np.zeros_like(edged)
        for shift in (-size, 0, size):
            for other in (-size, 0, size):
                edge |= np.roll(edged, (shift, other), (0, 1))
        top = round(at[1]) + number * _LINE * size - size
        left = round(at[0]) - size
        _stamp(picture, edge, top, left, 0)
        _stamp(picture, edged, top, left, 255)


def _stamp(picture: Picture, dots: Mask, top: int, left: int, shade: int) -> None:
    dots = dots[max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    shown = picture[top : top + dots.shape[0], left : left + dots.shape[1]]
    shown[dots[: shown.shape[0], : shown.shape[1]]] = shade


def annotate(picture: Picture, corners: Sequence[Sequence[str]]) -> None:
    """Write text into the left upper corner, and into the left lower one.

    Source: PS3.18 §8.3.5.1.1
    """
    size = max(round(min(picture.shape[:2]) / 256), 1)
    upper, lower = corners
    write(picture, upper, (2.0 * size, 2.0 * size), size)
    height = min(len(lower), MOST_LINES) * _LINE * size
    write(picture, lower, (2.0 * size, picture.shape[0] - height), size)
