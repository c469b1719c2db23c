"""Frames as our own modules see them, and the pictures that pydicom makes of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
)
from pydicom.pixels.utils import pixel_array

from app.dicom.appearance import Appearance, appearance_of
from app.dicom.deflated import DEFLATED, rendition
from app.dicom.document import Document
from app.dicom.limits import Limits
from app.dicom.native_frames import pixel_word, swap_words
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import find
from tests.pydicom_oracle import our_frames, quiet

Array = NDArray[Any]
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


@dataclass(frozen=True)
class Sample:
    """A file, scanned: its Data Set as JSON, and its frames as they are stored."""

    scanned: ScannedInstance
    document: Document
    frames: list[bytes]

    def appearance(self, number: int = 1) -> Appearance:
        """Return how a frame (1-based) is displayed."""
        return appearance_of(self.document, self.scanned.transfer_syntax_uid, number)


def open_sample(data: bytes) -> Sample:
    """Scan a Part 10 stream; words are turned to little endian."""
    scanned = scan(BytesSource(data))
    if scanned.transfer_syntax_uid in DEFLATED:
        source = rendition(BytesSource(data), scanned.dataset_offset, Limits())
        data = source.read(0, source.size)
    syntax = find(scanned.transfer_syntax_uid)
    big = syntax is not None and syntax.big_endian
    metadata = orjson.loads(scanned.metadata)
    bulk = {}
    for path, place in scanned.bulk_values.items():
        value = data[place.offset : place.offset + place.length]
        word = _word(metadata, path, place.vr) if big else 1
        bulk[path] = swap_words(value, word) if word > 1 else value
        data = data[: place.offset] + bulk[path] + data[place.offset + place.length :]
    frames = our_frames(data, scanned.frames)
    return Sample(scanned, Document(metadata, bulk), frames)


def _word(metadata: dict[str, Any], path: str, vr: str) -> int:
    if path == "7FE00010":
        return pixel_word(vr, metadata["00280100"]["Value"][0])
    return _WORDS.get(vr, 1)


def _with_functional_groups(dataset: Dataset, index: int) -> Dataset:
    """Return a copy of a Data Set with the values of a frame's functional groups at its top."""
    groups = list(dataset.get("SharedFunctionalGroupsSequence", []))
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence", [])
    groups += [per_frame[index]] if index < len(per_frame) else []
    if not groups:
        return dataset
    copied = Dataset(dataset)
    copied.file_meta = dataset.file_meta
    for group in groups:
        for keyword in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            for item in group.get(keyword, []):
                copied.update(item)
    return copied


@quiet
def grey_of(dataset: Dataset, index: int) -> Array:
    """Return the shades, 0 to 255 and not rounded, that pydicom's values of interest stand for."""
    stored = pixel_array(dataset, index=index)
    dataset = _with_functional_groups(dataset, index)
    values = apply_modality_lut(stored, dataset)
    shown = np.asarray(apply_voi_lut(values, dataset, 0), np.float64)
    low, high = _range_of(dataset, values)
    bright = np.clip((shown - low) / (high - low), 0, 1) if high > low else shown * 0
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        bright = 1 - bright
    return np.asarray(bright * 255)


def _range_of(dataset: Dataset, values: Array) -> tuple[float, float]:
    """Return the least and greatest value of what pydicom's VOI function returns."""
    tables = dataset.get("VOILUTSequence")
    if tables and tables[0].get("LUTData"):
        return 0.0, float(2 ** tables[0].LUTDescriptor[2] - 1)
    modality_table = dataset.get("ModalityLUTSequence")
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if dataset.get("WindowWidth") is None:
        plain = slope in {None, 1} and intercept in {None, 0} and not modality_table
        if dataset.BitsStored <= 8 and not dataset.PixelRepresentation and plain:
            return 0.0, float(2**dataset.BitsStored - 1)
        return float(values.min()), float(values.max())
    bits = modality_table[0].LUTDescriptor[2] if modality_table else dataset.BitsStored
    low, high = 0.0, 2.0**bits - 1
    if dataset.PixelRepresentation and not modality_table:
        low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    if slope is not None and intercept is not None and not modality_table:
        low, high = low * float(slope) + float(intercept), high * float(slope) + float(intercept)
    return low, high


@quiet
def colours_of(dataset: Dataset, index: int) -> Array:
    """Return the RGB of a frame as pydicom makes it, 0 to 255 and not rounded."""
    space = dataset.PhotometricInterpretation
    if space == "PALETTE COLOR":
        bits = dataset.RedPaletteColorLookupTableDescriptor[2]
        found = apply_color_lut(pixel_array(dataset, index=index), dataset)
        return np.asarray(found * (255 / (2**bits - 1)))
    stored = pixel_array(dataset, index=index, raw=False)
    return np.asarray(stored * (255 / (2**dataset.BitsStored - 1)))
