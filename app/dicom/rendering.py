"""Makes the picture of one frame. Import this in worker processes only: it decodes and encodes.

The order is that of the standard: stored values, Modality LUT, VOI, presentation; overlays last.
Where neither the request nor the Instance has a window, 8 bits are shown as they are, and what has
more from its least to its greatest value, padding left out.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.appearance import Appearance, Modality, check_size
from app.dicom.codecs import decode_frame
from app.dicom.colour import to_rgb
from app.dicom.drawing import annotate
from app.dicom.lookup_tables import LookupTable
from app.dicom.overlays import Overlay
from app.dicom.picture_encoders import encode_picture
from app.dicom.pictures import Wanted
from app.dicom.pixel_description import DecodedFrame
from app.dicom.presenting import present_picture
from app.dicom.samples import Samples, samples_of
from app.dicom.transfer_syntaxes import find
from app.dicom.viewport import Picture, Viewport, scale
from app.dicom.voi import Window, apply_window, spread

_BLOCK = 2**21


def render_frame(data: bytes, appearance: Appearance, wanted: Wanted, decoded_bytes: int) -> bytes:
    """Return the encoded picture of a frame, given as it is stored (little endian if native).

    Raises:
        InvalidDataset: the frame cannot be decoded, or is none, or is too large.
        InvalidRequest: the viewport shows nothing of it; callers check that before.

    Source: PS3.18 §8.7.4; PS3.4 §N.2
    """
    check_size(appearance, decoded_bytes)
    frame = _decoded(data, appearance, decoded_bytes)
    picture = draw_frame(frame, appearance, wanted.window)
    if appearance.presentation is None:
        picture = _fit(picture, wanted.viewport, appearance.aspect)
    else:
        picture = present_picture(
            picture, appearance.presentation, wanted.viewport, appearance.aspect
        )
    if wanted.annotation:
        picture = np.ascontiguousarray(picture)
        annotate(picture, wanted.annotation)
    return encode_picture(picture, wanted, appearance.icc_profile)


def _decoded(data: bytes, appearance: Appearance, decoded_bytes: int) -> DecodedFrame:
    pixels = appearance.pixels
    syntax = find(pixels.transfer_syntax_uid)
    if syntax is not None and syntax.encapsulated:
        return decode_frame(data, pixels, decoded_bytes)
    return DecodedFrame(data, pixels.photometric_interpretation, pixels.planar_configuration)


def draw_frame(frame: DecodedFrame, appearance: Appearance, window: Window | None) -> Picture:
    """Return a native frame's picture in its own size: grey (rows, columns) or RGB.

    Source: PS3.4 §N.2; PS3.3 §C.7.6.3, §C.11
    """
    pixels = appearance.pixels
    samples = samples_of(frame, pixels, appearance.high_bit, floating=appearance.floating)
    if appearance.palette is not None and samples.ndim == 2:
        picture = _through_palette(samples, appearance.palette)
    elif samples.ndim == 3:
        picture = to_rgb(samples, frame.photometric_interpretation, pixels.bits_stored)
    else:
        picture = _grey(samples, appearance, window)
    return _with_overlays(picture, appearance.overlays)


def _grey(samples: Samples, appearance: Appearance, window: Window | None) -> Picture:
    grey = _Grey(appearance, window, samples)
    if samples.dtype.itemsize <= 2 and samples.size > 0x10000:
        return _by_table(samples, grey)
    out = np.empty(samples.shape, np.uint8)
    for rows in _blocks(samples):
        out[rows] = grey.shades(samples[rows])
    return out


def _blocks(samples: Samples) -> Iterator[slice]:
    """Yield runs of rows, to bound what is held as floating point or as indices."""
    step = max(_BLOCK // samples.shape[1], 1)
    for row in range(0, len(samples), step):
        yield slice(row, row + step)


def _by_table(samples: Samples, grey: "_Grey") -> Picture:
    """Look up each sample of up to 16 bits in a table of all there may be."""
    bits = samples.dtype.itemsize * 8
    unsigned = samples.view(f"<u{samples.dtype.itemsize}")
    every = np.arange(1 << bits, dtype=unsigned.dtype)
    table = grey.shades(every.view(samples.dtype))
    out = np.empty(samples.shape, np.uint8)
    for rows in _blocks(samples):
        out[rows] = table[unsigned[rows]]
    return out


class _Grey:
    """How stored values of one frame become shades of 8 bits."""

    def __init__(self, appearance: Appearance, window: Window | None, samples: Samples) -> None:
        self._modality = appearance.modality
        self._inverted = appearance.inverted
        self._table: LookupTable | None = None if window else appearance.voi_table
        self._window = window or (None if self._table else appearance.window)
        self._low, self._high = 0.0, appearance.full_scale or 0.0
        shown = self._window or self._table
        if not shown and appearance.full_scale is None:
            self._low, self._high = _extremes(samples, appearance)

    def shades(self, stored: Samples) -> Picture:
        """Return the shade of each stored value."""
        values = modality_values(stored, self._modality)
        if self._table is not None:
            bright = np.minimum(self._table.apply(values) / self._table.highest, 1)
        elif self._window is not None:
            bright = apply_window(values, self._window)
        else:
            bright = spread(values, self._low, self._high)
        bright = np.nan_to_num(bright)
        grey: NDArray[np.float64] = (1 - bright if self._inverted else bright) * 255
        return np.rint(grey).astype(np.uint8)


def modality_values(stored: Samples, modality: Modality) -> NDArray[np.float64]:
    """Return stored values in the units of the modality.

    Source: PS3.3 §C.11.1
    """
    if modality.table is not None:
        return modality.table.apply(stored).astype(np.float64)
    with np.errstate(all="ignore"):
        values: NDArray[np.float64] = stored.astype(np.float64) * modality.slope
        values += modality.intercept
    return values


def _extremes(samples: Samples, appearance: Appearance) -> tuple[float, float]:
    """Return the least and the greatest value of a frame; padding and no numbers are left out."""
    shown: NDArray[Any] = samples.ravel()
    if appearance.floating:
        shown = shown[np.isfinite(shown)]
    if appearance.padding is not None:
        low, high = appearance.padding
        shown = shown[(shown < low) | (shown > high)]
    if not shown.size:
        return 0.0, 0.0
    ends = modality_values(np.array([shown.min(), shown.max()]), appearance.modality)
    return float(ends.min()), float(ends.max())


def _through_palette(
    samples: Samples, palette: tuple[LookupTable, LookupTable, LookupTable]
) -> Picture:
    out = np.empty((*samples.shape, 3), np.uint8)
    for rows in _blocks(samples):
        for colour, table in enumerate(palette):
            scaled = np.rint(table.apply(samples[rows]) * (255 / table.highest))
            out[rows, :, colour] = np.clip(scaled, 0, 255)
    return out


def _with_overlays(picture: Picture, overlays: tuple[Overlay, ...]) -> Picture:
    for overlay in overlays:
        picture[overlay.draw((picture.shape[0], picture.shape[1]))] = 255
    return picture


def _fit(picture: Picture, viewport: Viewport | None, aspect: float) -> Picture:
    if viewport is None:
        return picture
    down, across = viewport.region.pixels(*picture.shape[:2])
    shown = picture[down, across]
    return scale(shown, *viewport.size(shown.shape[0], shown.shape[1], aspect))
