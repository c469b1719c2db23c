"""What pydicom says about a Data Set, brought to the form that our scan is held to.

Where pydicom and the standard part, the standard's form is expected; each case has its reason:

* an empty Sequence has no Value (J-15), an empty value among several is null (J-09);
* a group of a person's name that is empty is left out (J-10);
* Specific Character Set names the encoding delivered (J-31);
* NaN and infinities are strings (J-13);
* Pixel Representation counts for items of Sequences of undefined length as for others (pydicom
  hands it on only to those of defined length);
* words of inline binary values are little endian (pydicom leaves big-endian ones as they are);
* group lengths, group 2 and Command Set elements are left out (J-05, J-06).

A value that pydicom cannot give at all (it raises) is expected to be `UNKNOWN`: the tests that
mean such a value say themselves what ours must be.
"""

import math
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import logger
from pydicom.dataelem import DataElement
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length

from app.dicom.scanned import FrameKind, Frames, ScannedInstance

P = ParamSpec("P")
T = TypeVar("T")
UNKNOWN = object()
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def quiet(function: Callable[P, T]) -> Callable[P, T]:
    """Keep pydicom's warnings out of a test whose warnings are errors, and out of its log."""

    @wraps(function)
    def quietly(*args: P.args, **kwargs: P.kwargs) -> T:
        logger.disabled = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return function(*args, **kwargs)
        finally:
            logger.disabled = False

    return quietly


@quiet
def read(data: bytes | Path) -> Dataset:
    """Read as much as pydicom reads."""
    return dcmread(BytesIO(data) if isinstance(data, bytes) else data, force=True)


@quiet
def metadata(
    dataset: Dataset, representation: int | None = None, *, swapped: bool | None = None
) -> dict[str, Any]:
    """Return the DICOM JSON object that is expected.

    `representation` is that of outer levels; `swapped` says that they are big endian.
    """
    if swapped is None:
        swapped = dataset.original_encoding[1] is False
    if dataset.get("PixelRepresentation") is None and representation is not None:
        dataset._pixel_rep = representation
    return {
        f"{tag:08X}": _little_endian(_element(dataset, tag, swapped), swapped)
        for tag in sorted(dataset.keys())
        if tag.element and tag.group not in {0, 2}
    }


def _little_endian(element: Any, swapped: bool) -> Any:
    """Turn the words of an inline value, which pydicom leaves as they are."""
    word = WORDS.get(element.get("vr", ""), 1) if isinstance(element, dict) else 1
    if not swapped or word == 1 or "InlineBinary" not in element:
        return element
    value = b64decode(element["InlineBinary"])
    whole = len(value) - len(value) % word
    turned = b"".join(value[at : at + word][::-1] for at in range(0, whole, word)) + value[whole:]
    return {**element, "InlineBinary": b64encode(turned).decode()}


def _element(dataset: Dataset, tag: Any, swapped: bool) -> Any:
    try:
        element = dataset[tag]
        if element.VR == "SQ":
            representation = dataset.get("PixelRepresentation")
            if representation is None:
                representation = getattr(dataset, "_pixel_rep", None)
            items = [metadata(item, representation, swapped=swapped) for item in element.value]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        if element.VR == "PN":
            return _person_name(element)
        return _plain(element)
    except Exception:
        return UNKNOWN


def _person_name(element: DataElement) -> dict[str, Any]:
    names = element.value if element.VM > 1 else [element.value]
    values = [
        {group: part for group, part in zip(_GROUPS, name.components, strict=False) if part} or None
        for name in names
    ]
    return {"vr": "PN", "Value": values} if values != [None] else {"vr": "PN"}


def _plain(element: DataElement) -> Any:
    found = element.to_json_dict(None, 1024)
    if element.tag == 0x00080005 and "Value" in found:
        return {"vr": "CS", "Value": ["ISO_IR 192"]}
    if "Value" in found:
        found["Value"] = [_value(value) for value in found["Value"]]
    return found


def _value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return None if value == "" else value


def differences(expected: Any, ours: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return where two JSON objects part; Bulk Data stands for any binary of the same VR."""
    if expected is UNKNOWN:
        return []
    if isinstance(ours, dict) and "BulkDataURI" in ours and "InlineBinary" in expected:
        return [] if expected["vr"] == ours["vr"] else [(path, expected["vr"], ours["vr"])]
    if isinstance(expected, dict) and isinstance(ours, dict):
        keys = sorted(expected.keys() | ours.keys())
        pairs = [(f"{path}/{k}", expected.get(k), ours.get(k)) for k in keys]
        return [d for p, e, o in pairs for d in differences(e, o, p)]
    if isinstance(expected, list) and isinstance(ours, list) and len(expected) == len(ours):
        pairs = [(f"{path}/{i}", e, o) for i, (e, o) in enumerate(zip(expected, ours, strict=True))]
        return [d for p, e, o in pairs for d in differences(e, o, p)]
    return [] if expected == ours else [(path, expected, ours)]


def element_at(dataset: Dataset, path: str) -> DataElement:
    """Return the element that the path of a bulk value names."""
    *steps, last = path.split("/")
    for tag, number in zip(steps[::2], steps[1::2], strict=True):
        dataset = dataset[int(tag, 16)].value[int(number) - 1]
    return dataset[int(last, 16)]


@quiet
def frames(dataset: Dataset) -> list[bytes] | None:
    """Return the bytes of each frame as stored, or None where pydicom cannot say."""
    pixels = next((dataset[t] for t in (0x7FE00010, 0x7FE00008, 0x7FE00009) if t in dataset), None)
    if pixels is None or not pixels.value:
        return []
    try:
        number = int(dataset.get("NumberOfFrames") or 1)
        if pixels.is_undefined_length:
            extended = None
            if "ExtendedOffsetTable" in dataset:
                extended = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
            found = generate_frames(
                pixels.value, number_of_frames=number, extended_offsets=extended
            )
            return list(found)
        if dataset.get("BitsAllocated") == 1 and number > 1:
            return _frames_of_bits(pixels.value, number, int(dataset.Rows) * int(dataset.Columns))
        length = get_expected_length(dataset) // number
    except (AttributeError, ValueError, TypeError):
        return None
    return [pixels.value[i * length : (i + 1) * length] for i in range(number)]


def _frames_of_bits(data: bytes, number: int, size: int) -> list[bytes]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return [
        np.packbits(bits[i * size : (i + 1) * size], bitorder="little").tobytes()
        for i in range(number)
    ]


def our_frames(data: bytes, frames: Frames) -> list[bytes]:
    """Return the bytes of each frame as our table finds them."""
    if frames.kind is FrameKind.STRIDE:
        starts = [frames.offset + i * frames.length for i in range(frames.count)]
        return [data[start : start + frames.length] for start in starts]
    if frames.kind is FrameKind.BITS:
        return _frames_of_bits(data[frames.offset :], frames.count, frames.length)
    if frames.kind is FrameKind.NONE:
        return []
    assert frames.table is not None
    entries = np.frombuffer(frames.table, "<u8").reshape(-1, 2).tolist()
    assert len(entries) == frames.count
    return [_from_fragments(data, offset, length) for offset, length in entries]


def _from_fragments(data: bytes, offset: int, length: int) -> bytes:
    if not length >> 63:
        return data[offset : offset + length]
    end = offset + (length & ~(1 << 63))
    parts = []
    while offset < end:
        size = int.from_bytes(data[offset - 4 : offset], "little")
        parts.append(data[offset : offset + size])
        offset += size + 8
    return b"".join(parts)


@quiet
def bulk_differences(data: bytes, dataset: Dataset, scanned: ScannedInstance) -> list[str]:
    """Return the paths of bulk values whose bytes are not those of pydicom's value."""
    return [
        path
        for path, place in scanned.bulk_values.items()
        if data[place.offset : place.offset + place.length] != element_at(dataset, path).value
    ]
