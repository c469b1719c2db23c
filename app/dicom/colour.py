"""Colour spaces: samples of any Photometric Interpretation as RGB of 8 bits."""

import numpy as np
from numpy.typing import NDArray

from app.dicom.samples import Samples

_FULL = np.array(
    [[1, 0, 1.402], [1, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1, 1.772, 0]]
)
_PARTIAL = np.array([[1.1644, 0, 1.5960], [1.1644, -0.3917, -0.8130], [1.1644, 2.0173, 0]])
_ROWS = 256
"""Rows that are converted at once, to bound what is held as floating point."""


def to_rgb(samples: Samples, photometric_interpretation: str, bits: int) -> NDArray[np.uint8]:
    """Return (rows, columns, 3) RGB of 8 bits; samples have `bits` each, three or four a pixel.

    The fourth sample of retired ARGB and CMYK images is taken into account.

    Source: PS3.3 §C.7.6.3.1.2
    """
    out = np.empty((*samples.shape[:2], 3), np.uint8)
    for row in range(0, len(samples), _ROWS):
        block = _to_eight_bits(samples[row : row + _ROWS], bits)
        out[row : row + _ROWS] = _convert(block, photometric_interpretation)
    return out


def _to_eight_bits(samples: Samples, bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return samples.astype(np.uint8, copy=False)
    scaled = samples.astype(np.float64) * (255 / ((1 << bits) - 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _convert(block: NDArray[np.uint8], space: str) -> NDArray[np.uint8]:
    if space == "CMYK" and block.shape[2] == 4:
        light = 255 - block.astype(np.float64)
        return np.rint(light[..., :3] * light[..., 3:] / 255).astype(np.uint8)
    if block.shape[2] == 4:
        block = block[..., 1:]  # alpha comes first
    if space.startswith("YBR_PARTIAL"):
        return _rotate(block, _PARTIAL, (16, 128, 128))
    if space.startswith("YBR_FULL"):
        return _rotate(block, _FULL, (0, 128, 128))
    return block


def _rotate(
    block: NDArray[np.uint8], matrix: NDArray[np.float64], zero: tuple[int, int, int]
) -> NDArray[np.uint8]:
    turned = (block.astype(np.float32) - np.array(zero, np.float32)) @ matrix.T.astype(np.float32)
    return np.clip(np.rint(turned), 0, 255).astype(np.uint8)
