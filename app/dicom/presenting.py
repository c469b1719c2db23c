"""Shows a picture as a presentation state says: cut, turned, shuttered, drawn on."""

from collections.abc import Sequence

import numpy as np

from app.dicom.drawing import Mask, draw_lines, ellipse, inside, paint, write
from app.dicom.presentation import Graphic, Point, Presentation, Shutter, place
from app.dicom.viewport import Picture, Viewport, scale

MOST_CORNERS = 1024
"""Of an area that is filled."""
_Area = tuple[int, int, int, int]


def present_picture(
    picture: Picture, presentation: Presentation, viewport: Viewport | None, aspect: float
) -> Picture:
    """Return what is shown of a picture that has the size of its image.

    `aspect` is the height of a pixel divided by its width, before it is turned.

    Source: PS3.4 §N.2.4, §N.2.5; PS3.3 §C.7.6.11, §C.10.4 to §C.10.6
    """
    if presentation.shutter is not None:
        paint(picture, _shuttered(picture, presentation.shutter), presentation.shutter.shade)
    area = presentation.area or (0, 0, picture.shape[1], picture.shape[0])
    left, top, right, bottom = area
    shown = np.rot90(picture[top:bottom, left:right], -(presentation.rotation // 90))
    if presentation.flipped:
        shown = shown[:, ::-1]
    shown = np.ascontiguousarray(shown)
    if viewport is not None:
        turned = 1 / aspect if presentation.rotation % 180 else aspect
        shown = scale(shown, *viewport.size(shown.shape[0], shown.shape[1], turned))
    _draw(shown, presentation, area)
    return shown


def _shuttered(picture: Picture, shutter: Shutter) -> Mask:
    """Return which pixels are hidden."""
    rows, columns = picture.shape[:2]
    hidden: Mask = np.zeros((rows, columns), np.bool_)
    if shutter.rectangle is not None:
        left, top, right, bottom = (max(side, 0) for side in shutter.rectangle)
        open_here = np.zeros_like(hidden)
        open_here[top : bottom + 1, left : right + 1] = True
        hidden |= ~open_here
    if shutter.circle is not None:
        x, y, radius = shutter.circle
        down, across = np.ogrid[:rows, :columns]
        hidden |= (across - x) ** 2 + (down - y) ** 2 > radius**2
    if 2 < len(shutter.polygon) <= MOST_CORNERS:
        hidden |= ~inside(shutter.polygon, (rows, columns))
    return hidden


def _draw(shown: Picture, presentation: Presentation, area: _Area) -> None:
    rows, columns = shown.shape[:2]

    def on_screen(points: Sequence[Point], *, in_pixels: bool) -> list[Point]:
        parts = place(points, presentation, area) if in_pixels else points
        return [(across * columns - 0.5, down * rows - 0.5) for across, down in parts]

    covered = np.zeros((rows, columns), np.bool_)
    for graphic in presentation.graphics:
        points = on_screen(_outline(graphic), in_pixels=graphic.in_pixels)
        draw_lines(covered, points)
        if graphic.filled and 2 < len(points) <= MOST_CORNERS:
            covered |= inside(points, (rows, columns))
    paint(shown, covered)
    size = max(round(min(rows, columns) / 256), 1)
    for text in presentation.texts:
        (at,) = on_screen([text.at], in_pixels=text.in_pixels)
        write(shown, text.lines, at, size)


def _outline(graphic: Graphic) -> Sequence[Point]:
    points = graphic.points
    if graphic.kind == "CIRCLE" and len(points) == 2:
        (x, y), (other_x, other_y) = points
        radius = float(np.hypot(other_x - x, other_y - y))
        across = ((x - radius, y), (x + radius, y))
        return ellipse(across, ((x, y - radius), (x, y + radius)))
    if graphic.kind == "ELLIPSE" and len(points) == 4:
        return ellipse((points[0], points[1]), (points[2], points[3]))
    return points
