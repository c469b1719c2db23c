"""Values of a DICOM JSON object as bytes, little endian and in UTF-8 (PS3.18 Annex F, PS3.5 §6.2).

The way back of `json_model`: what a data set of ours says in JSON becomes a value that says the
same. JSON from outside is hostile: each value is of the type and range that its VR has, or
InvalidDataset says which attribute is wrong and how.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from math import isfinite
from struct import error, pack
from typing import Any

from app.dicom.json_model import BINARY_VRS, LUT_DESCRIPTORS, NUMBER_FORMATS
from app.errors import InvalidDataset

LONGEST_DS = 16
_LEAST_IS, _MOST_IS = -(2**31), 2**31 - 1
_ENCODED_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Those that Specific Character Set is about (PS3.5 §6.1.2.3)."""
_ONE_VALUE = frozenset({"LT", "ST", "UR", "UT"})
_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI", *_ENCODED_VRS, *_ONE_VALUE})
VRS = frozenset({"AT", "DS", "IS", "SQ", *NUMBER_FORMATS, *BINARY_VRS, *_TEXT_VRS})
_NUL_PADDED = frozenset({"UI", *BINARY_VRS})
_TAG = re.compile("[0-9A-Fa-f]{8}")
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,20}\s*", re.ASCII)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


class Misfit(Exception):
    """A value does not fit its VR; the message says what was expected."""


def encode_values(tag: str, vr: str, values: Any) -> bytes:
    """Return the bytes of a Value, of even length; `tag` is for messages and for LUT Descriptors.

    Raises:
        InvalidDataset: it is no array, or holds what no value of this VR is.

    Source: PS3.18 §F.2.3, PS3.5 §6.2
    """
    if not isinstance(values, list):
        raise InvalidDataset(f"the Value of {tag} is no array")
    try:
        if vr in NUMBER_FORMATS:
            return _numbers(int(tag, 16), vr, values)
        if vr == "AT":
            return b"".join(map(_tag, values))
        return padded(vr, _text(vr, values))
    except Misfit as misfit:
        raise InvalidDataset(f"a value of {tag} ({vr}) is {misfit}") from misfit


def decode_inline(tag: str, vr: str, text: Any) -> bytes:
    """Return the bytes of an InlineBinary, padded to an even length.

    Raises:
        InvalidDataset: it is no base64.

    Source: PS3.18 §F.2.7
    """
    try:
        return padded(vr, b64decode("".join(text.split()), validate=True))
    except (AttributeError, ValueError) as bad:
        raise InvalidDataset(f"the InlineBinary of {tag} is no base64") from bad


def padded(vr: str, value: bytes) -> bytes:
    """Return a value with the pad of its VR, if its length is odd.

    Source: PS3.5 §6.2
    """
    return value + pad_of(vr) if len(value) % 2 else value


def pad_of(vr: str) -> bytes:
    """Return the byte that makes a length even.

    Source: PS3.5 §6.2
    """
    return b"\0" if vr in _NUL_PADDED else b" "


def names_character_set(vr: str) -> bool:
    """Say whether Specific Character Set is about values of this VR.

    Source: PS3.5 §6.1.2.3
    """
    return vr in _ENCODED_VRS


def _text(vr: str, values: list[Any]) -> bytes:
    if vr in _ONE_VALUE and len(values) > 1:
        raise Misfit("one of several, where there is but one")
    if vr in BINARY_VRS:
        raise Misfit("no InlineBinary or BulkDataURI")
    parts = ["" if value is None else _TEXTS.get(vr, _string)(value) for value in values]
    if vr not in _ONE_VALUE and any("\\" in part for part in parts):
        raise Misfit("one with a backslash, which separates values")
    joined = "\\".join(parts)
    if vr in _ENCODED_VRS:
        return joined.encode("utf-8", "replace")
    try:
        return joined.encode("latin-1")
    except UnicodeEncodeError:
        raise Misfit("one with characters that its VR has not") from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise Misfit("no text")
    return value


def _name(value: Any) -> str:
    if isinstance(value, str):  # as some programs write it
        return value
    if not isinstance(value, dict):
        raise Misfit("no name")
    return "=".join(_string(value.get(group, "")) for group in _NAME_GROUPS).rstrip("=")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _decimal(value: Any) -> str:
    """Return a DS, a number in the first form that fits and is that number exactly."""
    texts = _forms(value) if _is_number(value) else [_string(value).strip()]
    fitting = next((text for text in texts if len(text) <= LONGEST_DS), None)
    if fitting is None:
        raise Misfit(f"longer than the {LONGEST_DS} bytes that its VR holds")
    return fitting


def _forms(value: float) -> list[str]:
    text = repr(value)
    sign, digits, exponent = Decimal(text).as_tuple()
    whole = "".join(map(str, digits))
    short = text.removesuffix(".0").replace("e+", "e").replace("e-0", "e-")
    bare = re.sub(r"^(-?)0\.", r"\1.", short)
    return [text, short, bare, f"{'-' * sign}{whole}e{exponent}"]


def _integer(value: Any) -> str:
    text = value if isinstance(value, str) else None
    if text is not None and not text.strip():
        return text
    if text is None and _is_number(value) and value == int(value):
        text = str(int(value))
    if text is None or not _WHOLE.fullmatch(text) or not _LEAST_IS <= int(text) <= _MOST_IS:
        raise Misfit(f"no whole number from {_LEAST_IS} to {_MOST_IS}")
    return text


_TEXTS: dict[str, Callable[[Any], str]] = {"PN": _name, "DS": _decimal, "IS": _integer}


def _tag(value: Any) -> bytes:
    if not isinstance(value, str) or _TAG.fullmatch(value) is None:
        raise Misfit("no tag of eight hexadecimal digits")
    return pack("<HH", int(value[:4], 16), int(value[4:], 16))


def _numbers(tag: int, vr: str, values: list[Any]) -> bytes:
    numbers = [_real(value) if vr in {"FL", "FD"} else _whole(value) for value in values]
    if vr == "SS" and tag in LUT_DESCRIPTORS and numbers and numbers[0] > 0x7FFF:
        numbers[0] -= 0x10000  # JSON has the number of entries as it is meant
    try:
        return pack(f"<{len(numbers)}{NUMBER_FORMATS[vr]}", *numbers)
    except (error, OverflowError):
        raise Misfit("out of the range of its VR") from None


def _whole(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if not _is_number(value) or value != int(value):
        raise Misfit("no whole number")
    return int(value)


def _real(value: Any) -> float:
    try:
        if isinstance(value, str) or _is_number(value):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Misfit("no number")
