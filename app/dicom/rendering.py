"""Makes the picture of one frame. Import this in worker processes only: it decodes and encodes.

The order is that of the standard: stored values, Modality LUT, VOI, presentation; overlays last.
Where neither the request nor the Instance has a window, 8 bits are shown as they are, and what has
more from its least to its greatest value, padding left out.
"""

from collections.abc import Sequence

import numpy as np

from app.dicom.appearance import Appearance, check_size
from app.dicom.blending import Blended
from app.dicom.codecs import decode_stored
from app.dicom.colour import to_rgb
from app.dicom.drawing import annotate
from app.dicom.layers import blend, draw_layers
from app.dicom.overlays import Overlay
from app.dicom.picture_encoders import encode_picture
from app.dicom.pictures import Wanted
from app.dicom.pixel_description import DecodedFrame
from app.dicom.presenting import present_picture
from app.dicom.samples import cells_of, layout_of, stored_values
from app.dicom.segmentation import Layer
from app.dicom.shades import grey_picture, palette_picture, tinted_picture
from app.dicom.viewport import Picture, Viewport, scale
from app.dicom.voi import Window


def render_frame(
    data: bytes,
    appearance: Appearance,
    wanted: Wanted,
    decoded_bytes: int,
    layers: Sequence[Layer] = (),
    blended: Blended | None = None,
) -> bytes:
    """Return the encoded picture of a frame, given as it is stored (little endian if native).

    What is blended with it and `layers` are drawn over it before it is cut and scaled.

    Raises:
        InvalidDataset: the frame cannot be decoded, or is none, or is too large.
        InvalidRequest: the viewport shows nothing of it; callers check that before.

    Source: PS3.18 §8.7.4; PS3.4 §N.2
    """
    check_size(appearance, decoded_bytes)
    frame = decode_stored(data, appearance.pixels, decoded_bytes)
    picture = draw_frame(frame, appearance, wanted.window)
    if blended is not None:
        over = decode_stored(blended.data, blended.appearance.pixels, decoded_bytes)
        upper = draw_frame(over, blended.appearance, None)
        picture = blend(picture, upper, blended.mapping, blended.opacity)
    picture = draw_layers(picture, layers, decoded_bytes)
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


def draw_frame(frame: DecodedFrame, appearance: Appearance, window: Window | None) -> Picture:
    """Return a native frame's picture in its own size: grey (rows, columns) or RGB.

    Source: PS3.4 §N.2; PS3.3 §C.7.6.3, §C.11
    """
    pixels = appearance.pixels
    cells = cells_of(frame, pixels, floating=appearance.floating)
    layout = layout_of(pixels, appearance.high_bit)
    if cells.ndim == 3:
        samples = cells if appearance.floating else stored_values(cells, layout)
        picture = to_rgb(samples, frame.photometric_interpretation, pixels.bits_stored)
    elif appearance.palette is not None:
        picture = palette_picture(cells, layout, appearance.palette)
    else:
        picture = grey_picture(cells, layout, appearance, window)
        if appearance.tint is not None:
            picture = tinted_picture(picture, appearance.tint)
    for bit in appearance.overlay_bits if cells.ndim == 2 and not appearance.floating else ():
        picture[np.right_shift(cells, bit) & 1 == 1] = 255
    return _with_overlays(picture, appearance.overlays)


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
