"""Overlay planes: graphics of one bit a pixel that lie over an image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.dicom.document import Document
from app.dicom.pixel_description import PixelDescription


@dataclass(frozen=True, slots=True)
class Overlay:
    """One plane as it lies over a frame; `top` and `left` are 0-based and may be outside."""

    top: int
    left: int
    rows: int
    columns: int
    bits: bytes
    first_bit: int = 0

    def draw(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which pixels of an image of that shape the graphics cover.

        Source: PS3.3 §C.9.2
        """
        covered = np.zeros(shape, np.bool_)
        count = self.rows * self.columns
        octets = np.frombuffer(self.bits, np.uint8)[
            self.first_bit // 8 : (self.first_bit + count + 7) // 8
        ]
        skip = self.first_bit % 8
        bits = np.unpackbits(octets, bitorder="little")[skip : skip + count]
        if len(bits) < count:
            return covered
        plane = bits.reshape(self.rows, self.columns).astype(np.bool_)
        plane = plane[max(-self.top, 0) :, max(-self.left, 0) :]
        top, left = max(self.top, 0), max(self.left, 0)
        plane = plane[: max(shape[0] - top, 0), : max(shape[1] - left, 0)]
        covered[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
        return covered


def overlays_of(document: Document, frame_number: int) -> tuple[Overlay, ...]:
    """Return the graphics planes over a frame (1-based); those that mark regions are left out.

    Source: PS3.3 §C.9.2, §C.9.3
    """
    return tuple(_overlays(document, frame_number))


def embedded_overlays(
    document: Document, pixels: PixelDescription, high_bit: int, frame_number: int
) -> tuple[int, ...]:
    """Return which bits of cells are graphics that lie over a frame (1-based), in the retired way.

    Those are bits that hold nothing of the pixel itself.

    Source: PS3.5-2004 §8.1.2; PS3.3-2004 §C.9.2
    """
    used = range(high_bit - pixels.bits_stored + 1, high_bit + 1)
    positions = [
        document.integer(f"{tag}0102", 0)
        for tag in _groups(document, "0102")
        if f"{tag}3000" not in document.members and _plane(document, tag, frame_number) is not None
    ]
    return tuple(bit for bit in positions if 0 < bit < pixels.bits_allocated and bit not in used)


def _groups(document: Document, element: str) -> Iterator[str]:
    """Yield the repeating groups of graphics that have an element."""
    for group in range(0x6000, 0x6020, 2):
        if f"{group:04X}{element}" in document.members:
            tag = f"{group:04X}"
            if document.text(f"{tag}0040") != "R":
                yield tag


def _plane(document: Document, tag: str, frame_number: int) -> int | None:
    """Return which plane (0-based) of a group lies over a frame; one alone lies over all."""
    frames = document.integer(f"{tag}0015", 1)
    plane = frame_number - document.integer(f"{tag}0051", 1)
    if frames <= 1:
        return 0
    return plane if 0 <= plane < frames else None


def _overlays(document: Document, frame_number: int) -> Iterator[Overlay]:
    for tag in _groups(document, "3000"):
        bits, plane = document.octets(f"{tag}3000"), _plane(document, tag, frame_number)
        rows, columns = document.integer(f"{tag}0010", 0), document.integer(f"{tag}0011", 0)
        if not bits or rows <= 0 or columns <= 0 or plane is None:
            continue
        origin = (
            [*document.numbers(f"{tag}0050"), 1, 1] if document.values(f"{tag}0050") else [1, 1]
        )
        first = plane * rows * columns
        yield Overlay(int(origin[0]) - 1, int(origin[1]) - 1, rows, columns, bits, first)
