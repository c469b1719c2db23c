"""Where frames lie in the patient, and which pixels of one lie under those of another."""

from dataclasses import dataclass
from math import sqrt

from app.dicom.document import Document

_SHARED, _PER_FRAME = "52009229", "52009230"
_PARALLEL = 0.999
_SAME_PLACE = 0.01
"""Millimetres."""
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """The centre of the first pixel, and the steps to the next one in a row and in a column, in mm.

    `thickness` is that of the slice, zero where it is not known.
    """

    frame_of_reference: str
    position: Vector
    across: Vector
    down: Vector
    thickness: float = 0.0


@dataclass(frozen=True, slots=True)
class Mapping:
    """The row and column of one frame as sums of a constant and of shares of another's."""

    row: tuple[float, float, float] = (0.0, 1.0, 0.0)
    column: tuple[float, float, float] = (0.0, 0.0, 1.0)


def plane_of(document: Document, frame_number: int) -> Plane | None:
    """Return where a frame (1-based) lies, None if that is not said.

    Source: PS3.3 §C.7.6.2, §C.7.6.16.2.1, §C.7.6.16.2.3, §C.7.6.16.2.4
    """
    position = _values(document, frame_number, "00209113", "00200032", 3)
    cosines = _values(document, frame_number, "00209116", "00200037", 6)
    spacing = _values(document, frame_number, "00289110", "00280030", 2)
    if position is None or cosines is None or spacing is None or min(spacing) <= 0:
        return None
    thickness = _values(document, frame_number, "00289110", "00180050", 1)
    x, y, z = position
    return Plane(
        document.text("00200052"),
        (x, y, z),
        _scaled(cosines[:3], spacing[1]),
        _scaled(cosines[3:], spacing[0]),
        thickness[0] if thickness else 0.0,
    )


def _values(
    document: Document, frame_number: int, group: str, tag: str, count: int
) -> list[float] | None:
    frame = document.item(_PER_FRAME, frame_number).item(group)
    for place in (frame, document.item(_SHARED).item(group), document):
        values = place.numbers(tag)
        if len(values) >= count:
            return values[:count]
    return None


def _scaled(vector: list[float], length: float) -> Vector:
    x, y, z = vector
    return x * length, y * length, z * length


def _dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _cross(one: Vector, other: Vector) -> Vector:
    (a, b, c), (d, e, f) = one, other
    return b * f - c * e, c * d - a * f, a * e - b * d


def _away(plane: Plane, other: Plane) -> float:
    """Return how far the first pixel of `other` is from a plane, in mm."""
    normal = _cross(plane.across, plane.down)
    length = sqrt(_dot(normal, normal)) or 1.0
    x, y, z = (b - a for a, b in zip(plane.position, other.position, strict=True))
    return abs(_dot(normal, (x, y, z))) / length


def distance(plane: Plane, other: Plane) -> float | None:
    """Return how far two planes are from each other in mm, None if that cannot be said.

    They have to be parallel, and in one Frame of Reference.

    Source: PS3.3 §C.7.4.1.1.1, §C.7.6.2.1.1
    """
    named = plane.frame_of_reference
    if not named or named != other.frame_of_reference:
        return None
    one, two = _cross(plane.across, plane.down), _cross(other.across, other.down)
    lengths = sqrt(_dot(one, one) * _dot(two, two))
    if not lengths or abs(_dot(one, two)) / lengths < _PARALLEL:
        return None
    return _away(plane, other)


def lies_on(plane: Plane, other: Plane) -> bool:
    """Say whether `other` is the same slice: nearer than half the thickness of `plane`.

    Source: PS3.3 §C.7.6.2.1.1
    """
    away = distance(plane, other)
    return away is not None and away < max(plane.thickness / 2, _SAME_PLACE)


def mapping_of(plane: Plane, other: Plane) -> Mapping:
    """Return where the pixels of a plane lie on one that is parallel to it.

    Source: PS3.3 §C.7.6.2.1.1
    """
    x, y, z = (a - b for a, b in zip(plane.position, other.position, strict=True))
    row, column = (
        (
            _dot((x, y, z), step) / _dot(step, step),
            _dot(plane.down, step) / _dot(step, step),
            _dot(plane.across, step) / _dot(step, step),
        )
        for step in (other.down, other.across)
    )
    return Mapping(row, column)
