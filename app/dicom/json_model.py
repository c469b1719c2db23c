"""Data Elements as members of a DICOM JSON object (PS3.18 Annex F).

A member is `"00100010":{"vr":"PN","Value":[…]}` in compact UTF-8. Values are what
`pydicom.Dataset.to_json_dict` gives; where that raises or loses something, the value is kept as
text or binary (the table in tests/dicom/test_json_model.py has each case and its reason).
"""

from base64 import b64encode
from collections.abc import Callable
from math import isfinite, isnan
from struct import unpack
from typing import Any

import orjson

from app.dicom.charsets import decode
from app.dicom.native_frames import WORDS, swap_whole_words
from app.dicom.scanned import BULK_DATA_PLACEHOLDER

BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
NUMBER_FORMATS = {
    "US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_NUMBER_SIZES = {"H": 2, "h": 2, "L": 4, "l": 4, "Q": 8, "q": 8, "f": 4, "d": 8}
LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})
_SPECIFIC_CHARACTER_SET = 0x00080005

Encodings = tuple[str, ...]


class Unreadable(Exception):
    """A value does not fit its VR; it is shown as UN."""


def encode_member(
    tag: int, vr: str, value: bytes, little_endian: bool, encodings: Encodings
) -> bytes:
    """Return the member for a value that stands in the Metadata; empty ones have no Value.

    A value whose length does not fit its VR becomes UN with the bytes as they are.

    Source: PS3.18 §F.2
    """
    if vr in BINARY_VRS:
        word = 1 if little_endian else WORDS.get(vr, 1)
        return _inline_binary(tag, vr, swap_whole_words(value, word))
    if tag == _SPECIFIC_CHARACTER_SET:
        values = [*(("ISO_IR 192",) if value.rstrip(b" \0") else ())]
    elif vr in NUMBER_FORMATS:
        try:
            values = _numbers(tag, vr, value, little_endian)
        except Unreadable:
            return _inline_binary(tag, "UN", value)
    else:
        values = _TEXTS[vr](value, little_endian, encodings)
    if not values:
        return empty_member(tag, vr)
    return b'"%08X":{"vr":"%b","Value":%b}' % (tag, vr.encode(), orjson.dumps(values))


def empty_member(tag: int, vr: str) -> bytes:
    """Return the member for an element without a value (J-08).

    Source: PS3.18 §F.2.5
    """
    return b'"%08X":{"vr":"%b"}' % (tag, vr.encode())


def bulk_member(tag: int, vr: str, path: str) -> bytes:
    """Return the member that refers to Bulk Data; `path` is that of `BULK_DATA_PLACEHOLDER`.

    Source: PS3.18 §F.2.6
    """
    return b'"%08X":{"vr":"%b",%b%b"}' % (tag, vr.encode(), BULK_DATA_PLACEHOLDER, path.encode())


def sequence_member(tag: int, items: list[bytes]) -> bytes:
    """Return the member for a Sequence of encoded items (J-15).

    Source: PS3.18 §F.2.2
    """
    if not items:
        return empty_member(tag, "SQ")
    return b'"%08X":{"vr":"SQ","Value":[%b]}' % (tag, b",".join(items))


def join_members(members: dict[int, bytes]) -> bytes:
    """Return the JSON object of members, ascending by tag (J-02).

    Source: PS3.18 §F.2.2
    """
    return b"{" + b",".join(ascending(members).values()) + b"}"


def ascending(members: dict[int, bytes]) -> dict[int, bytes]:
    """Return the members in ascending order of their tags.

    Source: PS3.18 §F.2.2
    """
    tags = sorted(members)
    if tags == list(members):
        return members
    return {tag: members[tag] for tag in tags}


def _inline_binary(tag: int, vr: str, value: bytes) -> bytes:
    if not value:
        return empty_member(tag, vr)
    return b'"%08X":{"vr":"%b","InlineBinary":"%b"}' % (tag, vr.encode(), b64encode(value))


def _numbers(tag: int, vr: str, value: bytes, little_endian: bool) -> list[Any]:
    code = NUMBER_FORMATS[vr]
    count, rest = divmod(len(value), _NUMBER_SIZES[code])
    if rest:
        raise Unreadable
    numbers: list[Any] = list(unpack(f"{'<' if little_endian else '>'}{count}{code}", value))
    if vr in {"FL", "FD"}:
        return [_finite(number) for number in numbers]
    if tag in LUT_DESCRIPTORS and count > 1 and numbers[0] < 0:
        numbers[0] += 65536  # PS3.3 §C.11.1.1.1: the number of entries is never negative
    return numbers


def _finite(number: float) -> float | str:
    if isfinite(number):
        return number
    return "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _strings(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    return _several(value.decode("latin-1").rstrip(" \0").split("\\"))


def _entities(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    return _several([part.strip() for part in value.decode("latin-1").split("\\")])


def _uids(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    return _several([part.strip() for part in value.decode("latin-1").rstrip("\0 ").split("\\")])


def _texts(value: bytes, _little_endian: bool, encodings: Encodings) -> list[Any]:
    return _several([part.rstrip("\0 ") for part in decode(value, encodings).split("\\")])


def _text(value: bytes, _little_endian: bool, encodings: Encodings) -> list[Any]:
    return _several([decode(value, encodings).rstrip("\0 ")])


def _uri(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    return _several([value.decode("latin-1").rstrip()])


def _several(parts: list[str]) -> list[Any]:
    if len(parts) == 1:
        return parts if parts[0] else []
    return [part or None for part in parts]


def _tags(value: bytes, little_endian: bool, _encodings: Encodings) -> list[Any]:
    count = len(value) // 4
    halves = unpack(f"{'<' if little_endian else '>'}{2 * count}H", value[: 4 * count])
    return [f"{halves[i]:04X}{halves[i + 1]:04X}" for i in range(0, 2 * count, 2)]


def _decimals(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    parts = value.decode("latin-1").strip().rstrip(" \0").split("\\")
    return _several_numbers([read_decimal(part) for part in parts])


def read_decimal(text: str) -> float | str | None:
    """Return one value of DS as JSON has it: what is no finite number stays text.

    Source: PS3.18 §F.2.3
    """
    try:
        number = float(text)
    except ValueError:
        return text.strip() or None
    if not isfinite(number) or "_" in text:  # what Python alone takes for a number
        return text.strip()
    return number


def _integers(value: bytes, _little_endian: bool, _encodings: Encodings) -> list[Any]:
    parts = value.decode("latin-1").rstrip(" \0").split("\\")
    return _several_numbers([read_integer(part) for part in parts])


def read_integer(text: str) -> int | str | None:
    """Return one value of IS as JSON has it: what is no number of 64 bits stays text.

    Source: PS3.18 §F.2.3
    """
    try:
        number = None if "_" in text else int(text)
    except ValueError:
        number = _whole(text)
    if number is None or not -(2**63) <= number < 2**63:
        return text.strip() or None
    return number


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _several_numbers(numbers: list[Any]) -> list[Any]:
    return [] if numbers == [None] else numbers


def _names(value: bytes, _little_endian: bool, encodings: Encodings) -> list[Any]:
    names = [_name(part) for part in decode(value.rstrip(b"\0 "), encodings).split("\\")]
    return [] if names == [None] else names


def _name(text: str) -> dict[str, str] | None:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {group: part for group, part in groups if part} or None


_TEXTS: dict[str, Callable[[bytes, bool, Encodings], list[Any]]] = {
    "AE": _entities, "AS": _strings, "AT": _tags, "CS": _strings, "DA": _strings,
    "DS": _decimals, "DT": _strings, "IS": _integers, "LO": _texts, "LT": _text,
    "PN": _names, "SH": _texts, "ST": _text, "TM": _strings, "UC": _texts,
    "UI": _uids, "UR": _uri, "UT": _text,
}  # fmt: skip
