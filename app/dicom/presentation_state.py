"""Softcopy presentation states: how an image that they refer to is displayed, and what is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from app.dicom.appearance import Appearance, modality_of, palette_of, voi_table_of, window_of
from app.dicom.document import Document
from app.dicom.presentation import Graphic, Point, Presentation, Shutter, Text

PSEUDO_COLOUR = "1.2.840.10008.5.1.4.1.1.11.3"
BLENDING = "1.2.840.10008.5.1.4.1.1.11.4"
STATES = frozenset(f"1.2.840.10008.5.1.4.1.1.11.{arc}" for arc in (1, 2, 3, 4))
"""Grayscale, colour, pseudo-colour, and blending."""
UNDERLYING, SUPERIMPOSED = "UNDERLYING", "SUPERIMPOSED"
MOST_REFERENCES = 16
MOST_OBJECTS = 2000
MOST_POINTS = 100_000
FAR = 1e7
"""No coordinate is farther from an image's corner."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image that a state is for, in the state's Study if none is named; no frames mean all."""

    study: str
    series: str
    instance: str
    frames: tuple[int, ...]


def references(state: Document) -> list[Reference]:
    """Return the first images that a state refers to.

    Source: PS3.3 §C.11.11
    """
    return list(islice(all_references(_shown_part(state)), MOST_REFERENCES))


def all_references(part: Document) -> Iterator[Reference]:
    """Yield all images that a state, or a part of a blending one, refers to.

    Source: PS3.3 §C.11.11, §C.11.14
    """
    for series in part.items("00081115"):
        for image in series.items("00081140"):
            uids = (part.text("0020000D"), series.text("0020000E"), image.text("00081155"))
            yield Reference(*uids, _frames(image))


def blended_part(state: Document, position: str) -> Document:
    """Return what a blending state says of what lies over or under; nothing if it does not.

    Source: PS3.3 §C.11.14
    """
    fitting = (item for item in state.items("00700402") if item.text("00700405") == position)
    return next(fitting, Document({}))


def is_blending(state: Document) -> bool:
    """Say whether a state shows an image over another.

    Source: PS3.3 §A.33.4
    """
    return state.text("00080016") == BLENDING


def _shown_part(state: Document) -> Document:
    """Return what refers to images that are shown for themselves, and says how."""
    return blended_part(state, UNDERLYING) if is_blending(state) else state


def _frames(image: Document) -> tuple[int, ...]:
    return tuple(int(number) for number in image.numbers("00081160"))


def refers_to(state: Document, instance: str) -> bool:
    """Say whether a state is for an image.

    Source: PS3.3 §C.11.11
    """
    return any(one.instance == instance for one in all_references(_shown_part(state)))


def present(appearance: Appearance, state: Document, instance: str, frame: int) -> Appearance:
    """Return how a state shows a frame (1-based) of an image.

    The grey scale is the state's alone: what it leaves out changes nothing.

    Raises:
        InvalidDataset: a pseudo-colour state lacks its palette.

    Source: PS3.4 §N.2; PS3.3 §A.33.3, §C.11.1, §C.11.6, §C.11.8
    """
    appearance = rescaled(appearance, _shown_part(state), instance, frame)
    area = _first(state, "0070005A", instance, frame)
    pseudo = state.text("00080016") == PSEUDO_COLOUR
    return replace(
        appearance,
        inverted=not pseudo and state.text("20500020") == "INVERSE",
        tint=palette_of(state, signed=False) if pseudo else None,
        icc_profile=state.octets("00282000") if pseudo else appearance.icc_profile,
        aspect=_aspect(area, appearance.aspect),
        presentation=Presentation(
            area=_area(area, appearance),
            rotation=state.integer("00700042", 0) % 360 // 90 * 90,
            flipped=state.text("00700041") == "Y",
            shutter=_shutter(state),
            graphics=tuple(_graphics(state, instance, frame)),
            texts=tuple(_texts(state, instance, frame)),
        ),
    )


def rescaled(appearance: Appearance, part: Document, instance: str, frame: int) -> Appearance:
    """Return how a frame (1-based) is displayed by the grey scale of a state, or a part of one.

    Source: PS3.4 §N.2; PS3.3 §C.11.1, §C.11.8
    """
    signed = bool(appearance.pixels.pixel_representation)
    voi = [item for item in part.items("00283110") if _applies(item, instance, frame)]
    modality = modality_of(part, signed=signed)
    return replace(
        appearance,
        modality=modality,
        window=next((found for found in map(window_of, voi) if found is not None), None),
        voi_table=voi_table_of(voi, signed=signed or modality.intercept < 0),
    )


def _applies(item: Document, instance: str, frame: int) -> bool:
    """Say whether an item is for a frame: without references it is for all images."""
    images = item.items("00081140")
    return not images or any(
        image.text("00081155") == instance and frame in (_frames(image) or (frame,))
        for image in images
    )


def _first(state: Document, tag: str, instance: str, frame: int) -> Document:
    fitting = (item for item in state.items(tag) if _applies(item, instance, frame))
    return next(fitting, Document({}))


def _aspect(area: Document, aspect: float) -> float:
    for tag in ("00700101", "00700102"):
        pair = area.numbers(tag)[:2]
        if len(pair) == 2 and min(pair) > 0 and 0.01 < pair[0] / pair[1] < 100:
            return pair[0] / pair[1]
    return aspect


def _area(area: Document, appearance: Appearance) -> tuple[int, int, int, int] | None:
    corners = [*area.numbers("00700052")[:2], *area.numbers("00700053")[:2]]
    if len(corners) != 4:
        return None
    left, top, right, bottom = (int(corner) for corner in corners)
    pixels = appearance.pixels
    left, top = max(left - 1, 0), max(top - 1, 0)
    right, bottom = min(right, pixels.columns), min(bottom, pixels.rows)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _shutter(state: Document) -> Shutter | None:
    shapes = state.texts("00181600")
    if not shapes:
        return None
    rectangle, circle = None, None
    polygon: tuple[Point, ...] = ()
    sides = [state.number(f"001816{side}") for side in ("02", "06", "04", "08")]
    numbers = [int(side) - 1 for side in sides if side is not None]
    if "RECTANGULAR" in shapes and len(numbers) == 4:
        rectangle = (numbers[0], numbers[1], numbers[2], numbers[3])
    centre, radius = _bounded(state, "00181610"), state.number("00181612")
    if "CIRCULAR" in shapes and len(centre) == 2 and radius:
        circle = (centre[1] - 1, centre[0] - 1, min(abs(radius), FAR))
    if "POLYGONAL" in shapes:
        vertices = _bounded(state, "00181620")
        polygon = tuple((x - 1, y - 1) for y, x in zip(vertices[::2], vertices[1::2], strict=False))
    shade = round(state.integer("00181622", 0) * 255 / 0xFFFF)
    return Shutter(rectangle, circle, polygon, min(max(shade, 0), 255))


def _bounded(item: Document, tag: str) -> list[float]:
    """Return coordinates, those that are far from every image brought nearer."""
    return [min(max(number, -FAR), FAR) for number in item.numbers(tag)]


def _annotations(state: Document, tag: str, instance: str, frame: int) -> list[Document]:
    found = [
        item
        for annotation in state.items("00700001")
        if _applies(annotation, instance, frame)
        for item in annotation.items(tag)
    ]
    return found[:MOST_OBJECTS]


def _graphics(state: Document, instance: str, frame: int) -> Iterator[Graphic]:
    left = MOST_POINTS
    for item in _annotations(state, "00700009", instance, frame):
        numbers = _bounded(item, "00700022")
        points = tuple(zip(numbers[::2], numbers[1::2], strict=False))[:left]
        left -= len(points)
        if points:
            filled = item.text("00700024") == "Y"
            yield Graphic(item.text("00700023"), points, filled, item.text("00700005") != "DISPLAY")


def _texts(state: Document, instance: str, frame: int) -> Iterator[Text]:
    for item in _annotations(state, "00700008", instance, frame):
        lines = tuple(item.text("00700006").splitlines())
        for corner, units in (("00700010", "00700003"), ("00700014", "00700004")):
            at = _bounded(item, corner)[:2]
            if len(at) == 2:
                yield Text(lines, (at[0], at[1]), item.text(units) != "DISPLAY")
                break
