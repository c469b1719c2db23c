"""Values of chosen attributes as the index keeps them: text that compares as the values do.

Each value is one text by the VR of its attribute: a whole number in decimal, any other number as
Python writes it, dates and times as `folding` cleans them, names folded, all else without padding.
'' is a value that nothing can be compared with; it tells that there is one. Rules are turned into
the same texts, so that the index and `any_attribute.meets` agree.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.dicom.any_attribute import Creators, Place, elements_at
from app.dicom.attributes import Attribute
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
from app.dicom.rules import Equal, Near, Rule, Several

INTEGER_VRS = frozenset(["IS", "SL", "SS", "SV", "UL", "US", "UV"])
DECIMAL_VRS = frozenset(["DS", "FD", "FL"])
NUMBER = "\x02"
"""How the second text of a number begins whose attribute has a VR of text, or none that is known:
no value of a request has it."""


class KeptValue(NamedTuple):
    """A value, and in which Items (numbers from 0, from the outermost on) it lies."""

    items: Place
    text: str


def kept_values(
    dataset: Mapping[str, Any], attribute: Attribute, creators: Creators
) -> list[KeptValue]:
    """Return what the index keeps of an attribute of a Data Set in DICOM JSON, each value once.

    Source: PS3.4 §C.2.2.2
    """
    kept: dict[KeptValue, None] = {}
    for items, element in elements_at(dataset, attribute.path, creators):
        if has_value(element):
            texts = [text for value in values_of(element) for text in _texts(value, attribute.vr)]
            kept.update(dict.fromkeys(KeptValue(items, text) for text in texts or [""]))
    return list(kept)


def _texts(value: Any, vr: str) -> list[str]:
    if vr == "PN":
        return [folded_of(value)]
    if vr in CLEAN:
        return [CLEAN[vr](text_of(value))]
    if vr in INTEGER_VRS:
        whole = clean_integer(value)
        return ["" if whole is None else str(whole)]
    if vr in DECIMAL_VRS:
        number = number_of(value)
        return ["" if number is None else _decimal(number)]
    text = clean_text(text_of(value))
    number = None if isinstance(value, str) else number_of(value)
    return [text] if number is None else [text, f"{NUMBER}{_decimal(number)}"]


def _decimal(number: float) -> str:
    return repr(number + 0.0)  # so that there is one zero


def kept_rule(rule: Rule, vr: str) -> Rule | None:
    """Return a rule that asks the kept texts for the same; None if they do not tell.

    That is so for names that are nearly so.

    Source: PS3.4 §C.2.2.2
    """
    if isinstance(rule, Near):
        return None
    if isinstance(rule, Equal):
        return Equal(tuple(text for value in rule.values for text in _wanted(value, vr)))
    if isinstance(rule, Several):
        rules = [kept_rule(one, vr) for one in rule.rules]
        known = tuple(one for one in rules if one is not None)
        return Several(known, rule.every) if len(known) == len(rules) else None
    return rule


def _wanted(value: str | float, vr: str) -> list[str]:
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, float):
        texts = [_decimal(value), _decimal(as_single(value))] if vr == "FL" else [_decimal(value)]
        return list(dict.fromkeys(texts))
    number = number_of(value)
    return [value] if number is None else [value, f"{NUMBER}{_decimal(number)}"]
