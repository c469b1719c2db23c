"""Segmentations: which of their frames lie over an image, and in which colours they are drawn.

A frame says which image it was derived from; one that does not is placed by its plane.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf

from app.dicom.appearance import Appearance
from app.dicom.document import Document
from app.dicom.planes import Mapping, Plane, distance, lies_on, mapping_of, plane_of
from app.errors import InvalidRequest

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = frozenset(("1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP))
MOST_LAYERS = 64
"""Frames of a segmentation that are drawn over one image."""
_SHARED, _PER_FRAME = "52009229", "52009230"
Colour = tuple[int, int, int]
_COLOURS: tuple[Colour, ...] = (
    (230, 75, 60),
    (60, 180, 75),
    (70, 130, 240),
    (255, 205, 40),
    (200, 90, 220),
    (70, 220, 220),
    (245, 140, 50),
    (240, 130, 190),
    (160, 220, 60),
    (150, 110, 80),
)
"""Of segments that recommend none, by their number."""


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """A frame (1-based) of a segmentation that lies over an image, and how.

    `colours` are those of values; of a frame that belongs to one segment, that of value 1.
    """

    number: int
    colours: tuple[tuple[int, Colour], ...]
    mapping: Mapping
    highest: float = 1.0
    """The value that is covered as a whole, where values are fractions."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A frame of a segmentation as it is stored, and how it lies over the image."""

    data: bytes
    appearance: Appearance
    frame: SegmentFrame


def frames_over(
    segmentation: Document, image: Document, instance: str, frame_number: int
) -> list[SegmentFrame]:
    """Return the frames of a segmentation that lie over a frame (1-based) of an image.

    Raises:
        InvalidRequest: one lies over it and has another size, and nothing says where.

    Source: PS3.3 §C.8.20, §C.7.6.16.2.6
    """
    plane = plane_of(image, frame_number)
    found = []
    numbers = _numbers(segmentation, plane, instance, frame_number)
    for number in islice(numbers, MOST_LAYERS):
        mapping = _mapping(segmentation, image, plane, number)
        colours = tuple(_frame_colours(segmentation, number).items())
        found.append(SegmentFrame(number, colours, mapping, _highest(segmentation)))
    return found


def _numbers(
    segmentation: Document, plane: Plane | None, instance: str, frame_number: int
) -> Iterator[int]:
    """Yield the frames that were derived from an image; of those placed by plane the nearest."""
    shared = segmentation.item(_SHARED)
    nearest: dict[int, tuple[float, int]] = {}
    for number, frame in enumerate(segmentation.items(_PER_FRAME), start=1):
        sources = [*_sources(frame), *_sources(shared)]
        if any(_is_source(source, instance, frame_number) for source in sources):
            yield number
        if not sources and plane is not None:
            away, segment = _away(plane, segmentation, number), _segment(segmentation, number)
            if away is not None and away < nearest.get(segment, (inf, 0))[0]:
                nearest[segment] = away, number
    yield from sorted(number for _, number in nearest.values())


def _away(plane: Plane, segmentation: Document, number: int) -> float | None:
    own = plane_of(segmentation, number)
    return distance(plane, own) if own is not None and lies_on(plane, own) else None


def _segment(segmentation: Document, number: int) -> int:
    """Return the number of the segment that a frame belongs to, zero if it says none."""
    for group in (segmentation.item(_PER_FRAME, number), segmentation.item(_SHARED)):
        segment = group.item("0062000A").integer("0062000B", 0)
        if segment:
            return segment
    return 0


def _sources(group: Document) -> list[Document]:
    return [
        source for derivation in group.items("00089124") for source in derivation.items("00082112")
    ]


def _is_source(source: Document, instance: str, frame_number: int) -> bool:
    frames = [int(number) for number in source.numbers("00081160")]
    return source.text("00081155") == instance and (not frames or frame_number in frames)


def _mapping(segmentation: Document, image: Document, plane: Plane | None, number: int) -> Mapping:
    own = plane_of(segmentation, number)
    if plane is not None and own is not None and distance(plane, own) is not None:
        return mapping_of(plane, own)
    if any(
        segmentation.integer(tag, 0) != image.integer(tag, 0) for tag in ("00280010", "00280011")
    ):
        raise InvalidRequest("The segmentation has another size than the image, and no place")
    return Mapping()


def _frame_colours(segmentation: Document, number: int) -> dict[int, Colour]:
    recommended = segment_colours(segmentation)
    if segmentation.text("00620001") == "LABELMAP":
        return recommended
    segment = _segment(segmentation, number) or 1
    return {1: recommended.get(segment, _default(segment))}


def _highest(segmentation: Document) -> float:
    if segmentation.text("00620001") != "FRACTIONAL":
        return 1.0
    return segmentation.number("0062000E") or 255.0


def segment_colours(segmentation: Document) -> dict[int, Colour]:
    """Return the colour of each segment: the recommended one, or one of ours.

    Source: PS3.3 §C.8.20.4
    """
    found = {}
    for item in segmentation.items("00620002"):
        segment, lab = item.integer("00620004", 0), item.numbers("0062000D")[:3]
        if segment:
            found[segment] = lab_colour(*lab) if len(lab) == 3 else _default(segment)
    return found


def _default(segment: int) -> Colour:
    return _COLOURS[(segment - 1) % len(_COLOURS)]


def lab_colour(lightness: float, a: float, b: float) -> Colour:
    """Return as sRGB a colour of CIELab, each component as an integer of 16 bits.

    Source: PS3.3 §C.10.7.1.1
    """
    level = (lightness / 65535 * 100 + 16) / 116
    steps = (level + (a / 257 - 128) / 500, level, level - (b / 257 - 128) / 200)
    white = (0.9642, 1.0, 0.8249)  # D50
    x, y, z = (
        scale * (step**3 if step > 6 / 29 else 3 * (6 / 29) ** 2 * (step - 4 / 29))
        for step, scale in zip(steps, white, strict=True)
    )
    red = 3.1338561 * x - 1.6168667 * y - 0.4906146 * z
    green = -0.9787684 * x + 1.9161415 * y + 0.0334540 * z
    blue = 0.0719453 * x - 0.2289914 * y + 1.4052427 * z
    return _shown(red), _shown(green), _shown(blue)


def _shown(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    shown = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(shown * 255)
