"""Blending presentation states: an image of one Series over that of another, seen through."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.dicom.appearance import Appearance, palette_of
from app.dicom.document import Document
from app.dicom.planes import Mapping, Plane, distance, plane_of
from app.dicom.presentation_state import (
    SUPERIMPOSED,
    Reference,
    all_references,
    blended_part,
    rescaled,
)

_SAME_PLACE = 0.01
"""Millimetres."""


@dataclass(frozen=True, slots=True)
class Blended:
    """A frame as it is stored that lies over another image, where, and how much of it is seen."""

    data: bytes
    appearance: Appearance
    mapping: Mapping
    opacity: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame (1-based) of an image, and how far it is from where one is looked for, in mm."""

    away: float
    instance: str
    number: int


def superimposed_references(state: Document) -> list[Reference]:
    """Return the images that a state shows over others.

    Source: PS3.3 §C.11.14
    """
    return list(all_references(blended_part(state, SUPERIMPOSED)))


def candidates(document: Document, frames: tuple[int, ...], plane: Plane) -> Iterator[Candidate]:
    """Yield the frames of an image that may be of the same slice as a plane; none means all.

    Source: PS3.3 §C.11.14
    """
    instance = document.text("00080018")
    for number in frames or range(1, document.integer("00280008", 1) + 1):
        own = plane_of(document, number)
        away = None if own is None else distance(plane, own)
        if own is None or away is None:
            continue
        if away <= max(plane.thickness / 2, own.thickness / 2, _SAME_PLACE):
            yield Candidate(away, instance, number)


def superimposed(appearance: Appearance, state: Document, instance: str, frame: int) -> Appearance:
    """Return how a state shows a frame (1-based) of an image that lies over another.

    Raises:
        InvalidDataset: the state lacks its palette.

    Source: PS3.4 §N.2.1.4; PS3.3 §C.11.14
    """
    shown = rescaled(appearance, blended_part(state, SUPERIMPOSED), instance, frame)
    return replace(
        shown,
        inverted=False,
        tint=palette_of(state, signed=False),
        overlays=(),
        overlay_bits=(),
        icc_profile=b"",
    )


def opacity_of(state: Document) -> float:
    """Return how much is seen of what lies over: 0 for nothing of it, 1 for nothing else.

    Source: PS3.3 §C.11.14
    """
    opacity = state.number("00700403")
    return 0.5 if opacity is None else min(max(opacity, 0.0), 1.0)
