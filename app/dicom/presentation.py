"""The geometry of a presentation: which area is shown, how it is turned, what is drawn over it.

Points are kept as parts of the displayed area, or in pixels of the image from the corner of its
first one; `place` turns the latter into the former, after rotation and flip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
"""x, y."""


@dataclass(frozen=True, slots=True)
class Graphic:
    """Points of one figure; `kind` is its Graphic Type."""

    kind: str
    points: tuple[Point, ...]
    filled: bool
    in_pixels: bool


@dataclass(frozen=True, slots=True)
class Text:
    """Lines that begin at a point."""

    lines: tuple[str, ...]
    at: Point
    in_pixels: bool


@dataclass(frozen=True, slots=True)
class Shutter:
    """What of the image is shown: within a rectangle, a circle and a polygon; pixels are 0-based.

    `rectangle` is left, top, right, bottom, the last two included; `circle` is x, y and radius.
    """

    rectangle: tuple[int, int, int, int] | None = None
    circle: tuple[float, float, float] | None = None
    polygon: tuple[Point, ...] = ()
    shade: int = 0


@dataclass(frozen=True, slots=True)
class Presentation:
    """The geometry of a state: `area` is left, top, right, bottom of what is shown, in pixels."""

    area: tuple[int, int, int, int] | None = None
    rotation: int = 0
    flipped: bool = False
    shutter: Shutter | None = None
    graphics: tuple[Graphic, ...] = ()
    texts: tuple[Text, ...] = ()


def place(
    points: Sequence[Point], presentation: Presentation, area: tuple[int, int, int, int]
) -> list[Point]:
    """Return points in pixels of the image as parts (0 to 1) of what is shown.

    Source: PS3.3 §C.10.6, §C.10.5
    """
    left, top, right, bottom = area
    return [
        _turned((x - left) / (right - left), (y - top) / (bottom - top), presentation)
        for x, y in points
    ]


def _turned(across: float, down: float, presentation: Presentation) -> Point:
    match presentation.rotation:
        case 90:
            across, down = 1 - down, across
        case 180:
            across, down = 1 - across, 1 - down
        case 270:
            across, down = down, 1 - across
    return (1 - across if presentation.flipped else across), down
