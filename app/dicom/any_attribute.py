"""Attributes that the index has no column for: what they are, and whether a Data Set meets a rule.

They are looked up in DICOM JSON: in the Metadata of an Instance, or in what the index keeps of the
first Instance of a Study or Series, if the attribute is of that level.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydicom.datadict import keyword_for_tag

from app.dicom.attributes import TABLE, Attribute, Level, Returned
from app.dicom.compared_values import (
    CLEAN,
    as_single,
    folded_of,
    has_value,
    number_of,
    text_of,
    values_of,
)
from app.dicom.folding import clean_integer, clean_text
from app.dicom.fuzzy_names import is_near
from app.dicom.rules import Between, Empty, Equal, Like, Match, Name, Near, Rule
from app.dicom.sequence_keys import together
from app.dicom.value_representations import find_vr, is_private, is_private_creator
from app.dicom.wildcards import fits

Creators = Mapping[int, str]
"""Whose a private block is, by the tag that a request gives it (0x00090010)."""

Place = tuple[int, ...]
"""The numbers of the Items, from the outermost on, that an element lies in."""

_KEPT = (Returned.ALWAYS, Returned.PRESENT, Returned.ASKED)
_LEVELS = {
    row.tag: row.level
    for row in reversed(TABLE)
    if row.level < Level.INSTANCE and row.returned in _KEPT
}
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
    return meets_all(dataset, [match], creators)


def meets_all(dataset: Mapping[str, Any], matches: Sequence[Match], creators: Creators) -> bool:
    """Say whether a Data Set in DICOM JSON meets all matches, those of a Sequence in one Item.

    Source: PS3.4 §C.2.2.2.6
    """
    return all(_meet(dataset, group, creators, 0) for group in together(matches))


def _meet(
    dataset: Mapping[str, Any], group: Sequence[Match], creators: Creators, depth: int
) -> bool:
    path = group[0].attribute.path[depth:]
    if len(group) == 1:
        elements = [element for _, element in elements_at(dataset, path, creators)]
        return _meets(elements, group[0].rule, group[0].attribute.vr)
    items = list(_items(dataset, path[0], creators))
    if not items:
        return all(isinstance(match.rule, Empty) for match in group)
    inner = together(group, depth + 1)
    return any(all(_meet(item, one, creators, depth + 1) for one in inner) for item in items)


def elements_at(
    dataset: Mapping[str, Any], path: Sequence[int], creators: Creators, items: Place = ()
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield the elements at a path, each with the numbers (from 0) of the Items that it lies in.

    Source: PS3.18 §8.3.4.1, §8.3.4.3
    """
    if len(path) > 1:
        for number, item in enumerate(_items(dataset, path[0], creators)):
            yield from elements_at(item, path[1:], creators, (*items, number))
        return
    for key in _keys(dataset, path[0], creators):
        if key in dataset:
            yield items, dataset[key]


def _items(dataset: Mapping[str, Any], tag: int, creators: Creators) -> Iterator[Mapping[str, Any]]:
    for key in _keys(dataset, tag, creators):
        element = dataset.get(key, {})
        if element.get("vr") == "SQ":
            yield from (item for item in element.get("Value", ()) if isinstance(item, dict))


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
        return not any(map(has_value, elements))
    if isinstance(rule, Equal | Like | Name | Near | Between):
        return any(_is_met(rule, value, vr) for element in elements for value in values_of(element))
    joined = all if rule.every else any
    return joined(_meets(elements, one, vr) for one in rule.rules)


def _is_met(rule: Equal | Like | Name | Near | Between, value: Any, vr: str) -> bool:
    match rule:
        case Equal(wanted):
            return any(_is_equal(value, one, vr) for one in wanted)
        case Like(pattern):
            return fits(pattern, clean_text(text_of(value)))
        case Name(groups):
            return _has_name(folded_of(value), groups)
        case Near(name, parts):
            folded = folded_of(value)
            return is_near(folded, parts) or _has_name(folded, name.groups)
    moment = CLEAN[vr](text_of(value))
    return bool(moment) and rule.low <= moment and (not rule.high or moment <= rule.high)


def _is_equal(value: Any, wanted: str | float, vr: str) -> bool:
    if isinstance(wanted, int):
        return clean_integer(value) == wanted
    number = number_of(value) if isinstance(wanted, float) or not isinstance(value, str) else None
    if number is None:
        return clean_text(text_of(value)) == wanted
    other = number_of(wanted)
    return other is not None and (number == other or (vr == "FL" and number == as_single(other)))


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
