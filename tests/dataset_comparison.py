"""Two Data Sets as pydicom reads them, compared element by element: tags, VRs and values."""

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import DataElement

from tests.pydicom_oracle import quiet

_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""VRs whose values pydicom leaves in the byte order of the file."""


@quiet
def differences(source: Dataset, copy: Dataset, path: str = "") -> list[str]:
    """Return where `copy`, which is little endian, is not what `source` is.

    Group lengths are not compared. What pydicom itself cannot read counts as equal. Pixel
    Representation counts for items of any Sequence, as the standard has it; pydicom does not hand
    it on to those of undefined length.
    """
    ours = {tag for tag in copy.keys() if tag.element}  # noqa: SIM118
    theirs = {tag for tag in source.keys() if tag.element}  # noqa: SIM118
    found = [f"{path}{tag} stands in one only" for tag in sorted(ours ^ theirs)]
    for tag in sorted(ours & theirs):
        try:
            element = source[tag]
        except Exception:  # noqa: S112
            continue
        found += _of_elements(source, element, copy[tag], f"{path}{tag}")
    return found


def _of_elements(source: Dataset, element: DataElement, other: DataElement, path: str) -> list[str]:
    if element.VR != other.VR:
        return [f"{path} is {other.VR}, not {element.VR}"]
    if element.VR != "SQ":
        expected, actual = _value(source, element), _value(Dataset(), other)
        same = expected == actual or str(expected) == str(actual)  # NaN is not NaN
        return [] if same else [f"{path} has another value"]
    if len(element.value) != len(other.value):
        return [f"{path} has {len(other.value)} items, not {len(element.value)}"]
    found = []
    for number, (item, copied) in enumerate(zip(element.value, other.value, strict=True), 1):
        _hand_on_pixel_representation(source, item)
        found += differences(item, copied, f"{path}[{number}]/")
    return found


def _hand_on_pixel_representation(dataset: Dataset, item: Dataset) -> None:
    representation = dataset.get("PixelRepresentation")
    if representation is None:
        representation = getattr(dataset, "_pixel_rep", None)
    if representation is not None and item.get("PixelRepresentation") is None:
        item._pixel_rep = representation


def _value(source: Dataset, element: DataElement) -> object:
    big_endian = source.original_encoding[1] is False
    if element.tag == 0x7FE00010 and source.get("BitsAllocated", 0) > 16:
        return _swapped(element.value, source.BitsAllocated // 8 if big_endian else 1)
    word = _WORDS.get(element.VR, 1) if big_endian else 1
    return _swapped(element.value, word) if element.VR in _WORDS else element.value


def _swapped(value: bytes | None, word: int) -> bytes:
    value = value or b""
    whole = len(value) // word * word
    return np.frombuffer(value[:whole], f"u{word}").byteswap().tobytes() + value[whole:]
