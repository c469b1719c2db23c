"""Samples under UIDs of their own, and frames as pydicom decodes them."""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from tests.pydicom_oracle import quiet, read

_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_HIERARCHY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_WORD_SIZES = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}


@dataclass(frozen=True)
class Uids:
    """Where an Instance stands."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        """The Instance's resource below the DICOMweb base."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


@quiet
def uids_of(dataset: Dataset) -> Uids | None:
    """Return the UIDs of a Data Set; None if one is missing."""
    found = [str(dataset.get(keyword, "") or "") for keyword in _HIERARCHY]
    return Uids(*found) if all(found) else None


def with_new_uids(data: bytes, number: int) -> bytes:
    """Return the stream with its three UIDs replaced at equal length, so that none is met twice.

    A deflated Data Set and one without the three UIDs are returned as they are.
    """
    uids = uids_of(read(data))
    if uids is None:
        return data
    for level, old in enumerate((uids.study, uids.series, uids.instance), start=1):
        new = f"1.{level}{number:03d}{'7' * (len(old) - 6)}".encode()
        data = re.sub(re.escape(old.encode()) + rb"(?![0-9.])", new, data)
    return data


def little_endian(value: bytes, vr: str, dataset: Dataset) -> bytes:
    """Return a binary value of a Data Set in the byte order in which Bulk Data is delivered."""
    if dataset.file_meta.get("TransferSyntaxUID") != ExplicitVRBigEndian or vr not in _WORD_SIZES:
        return value
    size = _WORD_SIZES[vr]
    return np.frombuffer(value, f">u{size}").astype(f"<u{size}").tobytes()


def has_pixels(dataset: Dataset) -> bool:
    """Say whether there are frames."""
    return any(keyword in dataset for keyword in _PIXEL_KEYWORDS)


@quiet
def frame(dataset: Dataset, index: int) -> NDArray[Any]:
    """Return one frame (0-based) as pydicom decodes it, without a change of colour space."""
    return pixel_array(dataset, index=index, raw=True)


@quiet
def frame_of_answer(dataset: Dataset, body: bytes, *, decoded: bool) -> NDArray[Any]:
    """Return the array of one frame that we delivered as Explicit VR Little Endian.

    `decoded` says that it was compressed: then its samples lie pixel by pixel, none left out.
    """
    alone = Dataset()
    for element in dataset:
        if element.tag.group == 0x0028:
            alone.add(deepcopy(element))
    alone.NumberOfFrames = 1
    if decoded and alone.SamplesPerPixel > 1:
        alone.PlanarConfiguration = 0
        alone.PhotometricInterpretation = alone.PhotometricInterpretation.removesuffix("_422")
    keyword = next(keyword for keyword in _PIXEL_KEYWORDS if keyword in dataset)
    setattr(alone, keyword, body + b"\0" * (len(body) % 2))
    if keyword == "PixelData":
        alone["PixelData"].VR = "OW" if alone.BitsAllocated > 8 else "OB"
    alone.file_meta = deepcopy(dataset.file_meta)
    alone.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return frame(alone, 0)
