"""Whether native Pixel Data is as long as the attributes beside it say (PS3.3 §C.7.6.3)."""

from collections.abc import Mapping
from typing import Any

from app.dicom.frames import FLOAT_BITS, FrameShape
from app.dicom.rewrite import PIXEL_DATA
from app.dicom.samples import SUBSAMPLED
from app.errors import InvalidDataset

PIXEL_TAGS = frozenset({PIXEL_DATA, *FLOAT_BITS})


def check_pixel_length(dataset: Mapping[str, Any], tag: int, size: int, parts: int) -> None:
    """Check the bytes of the native pixels of a Data Set in DICOM JSON, which came in `parts`.

    Nothing is checked where the attributes do not tell. A byte that makes the length even may be
    there, and 1-bit frames may each begin with a byte.

    Raises:
        InvalidDataset: they contradict each other; the message has all figures.

    Source: PS3.3 §C.7.6.3.1, PS3.5 §8.1.1, §8.2
    """
    bits = FLOAT_BITS.get(tag) or _number(dataset, "00280100", 0)
    shape = FrameShape(
        rows=_number(dataset, "00280010", 0),
        columns=_number(dataset, "00280011", 0),
        samples_per_pixel=_number(dataset, "00280002", 1),
        bits_allocated=bits,
        photometric_interpretation=_subsampled(dataset),
        number_of_frames=_number(dataset, "00280008", 1),
    )
    frames = shape.number_of_frames
    if shape.frame_bits == 0:
        return
    meant = (shape.frame_bits * frames + 7) // 8
    if size not in {meant, meant + meant % 2, (shape.frame_bits + 7) // 8 * frames}:
        raise InvalidDataset(f"{tag:08X} has {size} bytes, where {_said(shape)} make {meant}")
    if parts not in {1, frames}:
        raise InvalidDataset(
            f"{parts} parts have the Content-Location of {tag:08X}, where {frames} frames are said"
        )


def _said(shape: FrameShape) -> str:
    sampled = f" ({shape.photometric_interpretation})" if shape.photometric_interpretation else ""
    return (
        f"{shape.rows} Rows, {shape.columns} Columns, {shape.samples_per_pixel} Samples per "
        f"Pixel{sampled}, {shape.bits_allocated} Bits Allocated and {shape.number_of_frames} frames"
    )


def _first(dataset: Mapping[str, Any], key: str) -> Any:
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _number(dataset: Mapping[str, Any], key: str, default: int) -> int:
    value = _first(dataset, key)
    try:
        number = int(value) if isinstance(value, int | float | str) else default
    except (ValueError, OverflowError):
        return default
    return number if number > 0 else default


def _subsampled(dataset: Mapping[str, Any]) -> str:
    """Return YBR_FULL_422 for all that leaves every other colour out, '' for what does not."""
    value = _first(dataset, "00280004")
    return "YBR_FULL_422" if isinstance(value, str) and value.strip() in SUBSAMPLED else ""
