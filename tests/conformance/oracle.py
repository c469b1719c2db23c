"""What pydicom says about a Part 10 stream, in a form that our answers can be held against.

Where pydicom's JSON and ours differ by right, `comparable` takes the difference away; the list is
its docstring.
"""

import base64
import math
import re
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

PIXEL_DATA = {"7FE00008", "7FE00009", "7FE00010"}
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
CHARACTER_SET = "00080005"
_NUMBERS = {"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"}
_WORD_SIZES = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}
_HIERARCHY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


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


def read(data: bytes) -> Dataset:
    """Return what pydicom reads, however odd, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(data), force=True)


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
        new = f"1.{level}{number:03d}{'7' * (len(old) - 6)}"
        data = re.sub(
            rb"(?<![0-9.])" + re.escape(old.encode()) + rb"(?![0-9.])", new.encode(), data
        )
    return data


def json_of(dataset: Dataset) -> dict[str, Any]:
    """Return pydicom's DICOM JSON with every value inline."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dataset.to_json_dict(bulk_data_threshold=2**40, suppress_invalid_tags=True)
    return dict(found)


def comparable(
    document: dict[str, Any], fetch: Callable[[str], bytes], *, big_endian: bool = False
) -> dict[str, Any]:
    """Return DICOM JSON without what pydicom and PS3.18 Annex F may rightly tell differently.

    * Pixel Data: held against pydicom frame by frame elsewhere, so here only its presence counts.
    * Specific Character Set: pydicom repeats the source's, the answer is UTF-8 (J-31).
    * Group lengths: absent from DICOM JSON (J-05).
    * Bulk values: fetched, and of a big endian source turned to little endian (J-17).
    * Numbers: compared as numbers, whether they stand as JSON numbers or strings (J-11, J-12).
    * Padding: blanks and NULs around text; components of names that are empty (J-10, J-22).
    * A value that is there but empty counts like one that is absent (J-08).
    """
    return {
        tag: _element(tag, element, fetch, big_endian)
        for tag, element in document.items()
        if tag != CHARACTER_SET and not tag.endswith("0000")
    }


def _element(
    tag: str, element: dict[str, Any], fetch: Callable[[str], bytes], big_endian: bool
) -> Any:
    vr = element["vr"]
    if tag in PIXEL_DATA:
        return vr in {"OB", "OW", "OF", "OD"}
    if "BulkDataURI" in element:
        return vr, fetch(element["BulkDataURI"])
    if "InlineBinary" in element:
        return vr, _swapped(base64.b64decode(element["InlineBinary"]), vr, big_endian)
    if vr == "SQ":
        return vr, [
            comparable(item or {}, fetch, big_endian=big_endian)
            for item in element.get("Value", [])
        ]
    return vr, list(_values(vr, element.get("Value", [])))


def _values(vr: str, values: list[Any]) -> Iterator[Any]:
    meant = [_value(vr, value) for value in values]
    yield from meant if any(value is not None for value in meant) else []


def _value(vr: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if vr in _NUMBERS:
        number = float(value)
        return "NaN" if math.isnan(number) else number
    if vr == "PN":
        groups = {name: text.strip("^= \0") for name, text in value.items()}
        return {name: text for name, text in groups.items() if text} or None
    return str(value).strip(" \0") or None


def _swapped(data: bytes, vr: str, big_endian: bool) -> bytes:
    size = _WORD_SIZES.get(vr, 1) if big_endian else 1
    return np.frombuffer(data, f"V{size}").view(f">u{size}").astype(f"<u{size}").tobytes()


def frame(dataset: Dataset, index: int) -> NDArray[Any]:
    """Return one frame (0-based) as pydicom decodes it, without a change of colour space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pixel_array(dataset, index=index, raw=True)


def frame_of_answer(dataset: Dataset, body: bytes, *, decoded: bool) -> NDArray[Any]:
    """Return the array of one frame that we delivered as Explicit VR Little Endian.

    `decoded` says that it was compressed: then its samples lie pixel by pixel.
    """
    alone = Dataset()
    for element in dataset:
        if element.tag.group == 0x0028:
            alone.add(deepcopy(element))
    alone.NumberOfFrames = 1
    if decoded and alone.SamplesPerPixel > 1:
        alone.PlanarConfiguration = 0
    keyword = next(
        name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset
    )
    setattr(alone, keyword, body + b"\0" * (len(body) % 2))
    if keyword == "PixelData":
        alone["PixelData"].VR = "OW" if alone.BitsAllocated > 8 else "OB"
    alone.file_meta = deepcopy(dataset.file_meta)
    alone.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return frame(alone, 0)


def is_big_endian(dataset: Dataset) -> bool:
    """Say whether a Data Set came in Explicit VR Big Endian."""
    return bool(dataset.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian)
