"""Values of elements in DICOM JSON, as they are compared."""

import struct
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from app.dicom.folding import clean_date, clean_datetime, clean_time, fold_person_name

CLEAN: Mapping[str, Callable[[str], str]] = {
    "DA": clean_date,
    "TM": clean_time,
    "DT": clean_datetime,
}


def has_value(element: Mapping[str, Any]) -> bool:
    """Say whether an element has a value, binary ones too.

    Source: PS3.18 §F.2.2
    """
    if any(value is not None for value in element.get("Value", ())):
        return True
    return "InlineBinary" in element or "BulkDataURI" in element


def values_of(element: Mapping[str, Any]) -> Iterable[Any]:
    """Yield the values; the bytes of an element whose VR nobody knows are read as text.

    Source: PS3.18 §F.2.2
    """
    if element.get("vr") == "UN" and "InlineBinary" in element:
        text = b64decode(element["InlineBinary"]).decode("utf-8", "replace")
        yield from text.rstrip("\0 ").split("\\")
    for value in element.get("Value", ()):
        if value is not None and not (isinstance(value, dict) and element.get("vr") == "SQ"):
            yield value


def number_of(value: Any) -> float | None:
    """Return a value as a number, None if it is none that is finite.

    Source: PS3.5 §6.2, DS
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def as_single(number: float) -> float:
    """Return a number as an FL element holds it.

    Source: PS3.5 §6.2, FL
    """
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return number


def text_of(value: Any) -> str:
    """Return a value as text, a person name with its groups.

    Source: PS3.5 §6.2.1
    """
    if isinstance(value, dict):
        groups = [value.get(group) or "" for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return str(value)


def folded_of(value: Any) -> str:
    """Return a person name folded, also one that the data has as mere text.

    Source: PS3.5 §6.2.1
    """
    return fold_person_name(value if isinstance(value, dict) else {"Alphabetic": str(value)})
