"""Attributes that the index has no column for: what they are, and whether a Data Set meets a rule.

They are looked up in DICOM JSON: in the Metadata of an Instance, or in what the index keeps of the
first Instance of a Study or Series, if the attribute is of that level.
"""

import struct
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from pydicom.datadict import keyword_for_tag

from app.dicom.attributes import TABLE, Attribute, Level, Returned
from app.dicom.folding import (
    clean_date,
    clean_datetime,
    clean_integer,
    clean_text,
    clean_time,
    fold_person_name,
)
from app.dicom.fuzzy_names import is_near
from app.dicom.rules import Between, Empty, Equal, Like, Match, Name, Near, Rule
from app.dicom.value_representations import find_vr, is_private, is_private_creator
from app.dicom.wildcards import fits

Creators = Mapping[int, str]
"""Whose a private block is, by the tag that a request gives it (0x00090010)."""

_KEPT = (Returned.ALWAYS, Returned.PRESENT, Returned.ASKED)
_LEVELS = {
    row.tag: row.level
    for row in reversed(TABLE)
    if row.level < Level.INSTANCE and row.returned in _KEPT
}
_CLEAN = {"DA": clean_date, "TM": clean_time, "DT": clean_datetime}
_FIRST_GROUP = 0x0008


def describe_attribute(path: tuple[int, ...], creators: Creators) -> Attribute | None:
    """Return what is known of an attribute without a column, None if no Data Set has it.

    Of an attribute in a Sequence the level is that of the Sequence.

    Source: PS3.6 §6; PS3.5 §7.8
    """
    *around, vr = (find_vr(tag, creators, lambda _: None) for tag in path)
    if any(tag >> 16 < _FIRST_GROUP for tag in path) or not {"SQ", "UN"}.issuperset(around):
        return None
    level = _LEVELS.get(path[0], Level.INSTANCE)
    name = ".".join(keyword_for_tag(tag) or f"{tag:08X}" for tag in path)
    return Attribute(level, path, name, vr, Returned.NEVER)


def meets(dataset: Mapping[str, Any], match: Match, creators: Creators) -> bool:
    """Say whether a Data Set in DICOM JSON meets a match; any value of any item may (Q-52).

    Source: PS3.4 §C.2.2.2, §C.2.2.3; PS3.18 §8.3.4.3
    """
    elements = list(_elements(dataset, match.attribute.path, creators))
    return _meets(elements, match.rule, match.attribute.vr)


def _elements(
    dataset: Mapping[str, Any], path: Sequence[int], creators: Creators
) -> Iterable[Mapping[str, Any]]:
    for key in _keys(dataset, path[0], creators):
        element = dataset.get(key)
        if element is None:
            continue
        if len(path) == 1:
            yield element
            continue
        for item in element.get("Value", ()):
            if isinstance(item, dict) and element.get("vr") == "SQ":
                yield from _elements(item, path[1:], creators)


def _keys(dataset: Mapping[str, Any], tag: int, creators: Creators) -> Iterable[str]:
    """Yield the keys that an attribute has in one Data Set, which gives out private blocks anew."""
    if is_private_creator(tag):
        group = f"{tag >> 16:04X}00"
        yield from [key for key in dataset if key.startswith(group)]
        return
    block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
    if not is_private(tag) or block not in creators:
        yield f"{tag:08X}"
        return
    for key in _keys(dataset, block, creators):
        if dataset[key].get("Value", [None])[0] == creators[block]:
            yield f"{key[:4]}{key[6:]}{tag & 0xFF:02X}"


def _meets(elements: Sequence[Mapping[str, Any]], rule: Rule, vr: str) -> bool:
    if isinstance(rule, Empty):
        return not any(map(_has_value, elements))
    if isinstance(rule, Equal | Like | Name | Near | Between):
        return any(_is_met(rule, value, vr) for element in elements for value in _values(element))
    joined = all if rule.every else any
    return joined(_meets(elements, one, vr) for one in rule.rules)


def _has_value(element: Mapping[str, Any]) -> bool:
    if any(value is not None for value in element.get("Value", ())):
        return True
    return "InlineBinary" in element or "BulkDataURI" in element


def _values(element: Mapping[str, Any]) -> Iterable[Any]:
    """Yield the values; the bytes of an element whose VR nobody knows are read as text."""
    if element.get("vr") == "UN" and "InlineBinary" in element:
        text = b64decode(element["InlineBinary"]).decode("utf-8", "replace")
        yield from text.rstrip("\0 ").split("\\")
    for value in element.get("Value", ()):
        if value is not None and not (isinstance(value, dict) and element.get("vr") == "SQ"):
            yield value


def _is_met(rule: Equal | Like | Name | Near | Between, value: Any, vr: str) -> bool:
    match rule:
        case Equal(wanted):
            return any(_is_equal(value, one, vr) for one in wanted)
        case Like(pattern):
            return fits(pattern, clean_text(_text(value)))
        case Name(groups):
            return _has_name(_folded(value), groups)
        case Near(name, parts):
            folded = _folded(value)
            return is_near(folded, parts) or _has_name(folded, name.groups)
    moment = _CLEAN[vr](_text(value))
    return bool(moment) and rule.low <= moment and (not rule.high or moment <= rule.high)


def _is_equal(value: Any, wanted: str | float, vr: str) -> bool:
    if isinstance(wanted, int):
        return clean_integer(value) == wanted
    number = _number(value) if isinstance(wanted, float) or not isinstance(value, str) else None
    if number is None:
        return clean_text(_text(value)) == wanted
    other = _number(wanted)
    return other is not None and (number == other or (vr == "FL" and number == _single(other)))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _single(number: float) -> float:
    """Return a number as an FL element holds it."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return number


def _text(value: Any) -> str:
    """Return a value as text, a person name with its groups."""
    if isinstance(value, dict):
        groups = [value.get(group) or "" for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return str(value)


def _folded(value: Any) -> str:
    return fold_person_name(value if isinstance(value, dict) else {"Alphabetic": str(value)})


def _has_name(folded: str, groups: Sequence[str]) -> bool:
    """Say whether a folded name has the groups asked for: one may be any, of several each its own.

    This is what `index.conditions` says in SQL.
    """
    if not folded:
        return False
    held = folded[1:-1].split("=")
    if len(groups) == 1:
        return any(fits(groups[0], group) for group in held)
    return all(fits(group or "*", own) for group, own in zip(groups, held, strict=False))
