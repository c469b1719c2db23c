"""Draws other frames over a picture that has the size of its image: segments in their colours.

Import this in worker processes only: it decodes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.dicom.appearance import check_size
from app.dicom.codecs import decode_stored
from app.dicom.planes import Mapping
from app.dicom.samples import Samples, samples_of
from app.dicom.segmentation import Layer, SegmentFrame
from app.dicom.viewport import Picture

OPACITY = 0.45
"""Of what a segment covers as a whole."""


def draw_layers(picture: Picture, layers: Sequence[Layer], decoded_bytes: int) -> Picture:
    """Return a picture with layers over it, in RGB; what is under them is seen through them.

    Raises:
        InvalidDataset: a layer cannot be decoded, or is too large.

    Source: PS3.3 §C.8.20 (how to draw it is left to us)
    """
    if not layers:
        return picture
    picture = in_colour(picture)
    for layer in layers:
        check_size(layer.appearance, decoded_bytes)
        frame = decode_stored(layer.data, layer.appearance.pixels, decoded_bytes)
        values = samples_of(frame, layer.appearance.pixels, layer.appearance.high_bit)
        _draw(picture, _placed(values, picture.shape[:2], layer.frame.mapping), layer.frame)
    return picture


def _draw(picture: Picture, values: Samples, frame: SegmentFrame) -> None:
    for value, colour in frame.colours:
        if frame.highest == 1.0:
            covered = values == value
            shares: NDArray[np.float32] | float = OPACITY
        else:
            covered = values != 0
            part = values[covered].astype(np.float32) / np.float32(frame.highest)
            shares = OPACITY * np.clip(part, 0, 1)[:, np.newaxis]
        under = picture[covered].astype(np.float32)
        over = np.array(colour, np.float32)
        picture[covered] = np.rint(under + (over - under) * shares).astype(np.uint8)


def blend(picture: Picture, over: Picture, mapping: Mapping, opacity: float) -> Picture:
    """Return two pictures in one, in RGB, where `over` has a pixel; `mapping` says which.

    Source: PS3.4 §N.2.1.4
    """
    shown = in_colour(picture)
    inside, rows, columns = _places(picture.shape, over.shape, mapping)
    upper = in_colour(over)[rows, columns].astype(np.float32)
    mixed = shown[inside] * np.float32(1 - opacity) + upper * np.float32(opacity)
    shown[inside] = np.rint(mixed).astype(np.uint8)
    return shown


def in_colour(picture: Picture) -> Picture:
    """Return a picture in RGB; a grey one is copied.

    Source: PS3.4 §N.2.1.4
    """
    return picture if picture.ndim == 3 else np.repeat(picture[..., np.newaxis], 3, axis=2)


def _placed(values: Samples, shape: tuple[int, ...], mapping: Mapping) -> Samples:
    """Return the value that lies under each pixel of an image, zero where none does."""
    inside, rows, columns = _places(shape, values.shape, mapping)
    out = np.zeros(shape, values.dtype)
    out[inside] = values[rows, columns]
    return out


def _places(
    shape: tuple[int, ...], other: tuple[int, ...], mapping: Mapping
) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Return which pixels have one of another image at their place, and its row and column."""
    down, across = np.ogrid[: shape[0], : shape[1]]
    rows, columns = (
        np.floor(start + per_row * down + per_column * across + 0.5)
        for start, per_row, per_column in (mapping.row, mapping.column)
    )
    inside = (rows >= 0) & (rows < other[0]) & (columns >= 0) & (columns < other[1])
    return inside, rows[inside].astype(np.intp), columns[inside].astype(np.intp)
