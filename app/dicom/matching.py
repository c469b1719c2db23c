"""What a search asks: the `Query`, and query values turned into rules of matching.

A value becomes one rule, by the VR of its attribute: a number, dates and times in a range, a person
name, UIDs, or text with or without wildcards. Values are folded here as stored ones were
(`folding`), so the index only compares. Universal matching is no rule: the attribute is returned.

What a VR does not allow is refused, never ignored: a wrong value must not match everything.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from app.dicom.any_attribute import Creators, describe_attribute
from app.dicom.attributes import PATIENT_COUNTS, TABLE, Attribute, Level, Returned
from app.dicom.folding import (
    clean_date,
    clean_datetime,
    clean_integer,
    clean_text,
    clean_time,
    fold_name_groups,
)
from app.dicom.fuzzy_names import MOST_WORDS, name_parts
from app.dicom.json_model import BINARY_VRS
from app.dicom.rules import Between, Empty, Equal, Like, Match, Name, Near, Rule, Several
from app.dicom.sequence_keys import can_be_tied, together
from app.dicom.uids import check_uid
from app.errors import InvalidQuery, InvalidUID

LONGEST_VALUE = 1024
MOST_VALUES = 50
MOST_UIDS = 2000
_WILDCARD_VRS = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"])
_LIST_VRS = _WILDCARD_VRS - {"LT", "ST", "UR", "UT"}  # in these a backslash is text
_INTEGER_VRS = frozenset(["IS", "SL", "SS", "SV", "UL", "US", "UV"])
UNMATCHED_VRS = BINARY_VRS - {"UN"} | {"SQ"}
_HEX = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_EMPTY = '""'

Path: TypeAlias = tuple[int, ...]


_ANSWERED = {
    level: frozenset(
        row.tag for row in TABLE if row.level == level and row.returned is not Returned.NEVER
    )
    for level in Level
}
_EXTRA = {
    level: frozenset(
        row.tag for row in TABLE if row.level == level and row.returned is Returned.ASKED
    )
    for level in Level
}


@dataclass(frozen=True, slots=True)
class Query:
    """A search: what is looked for, below which Study and Series, and what is returned.

    All matches have to be met. `include` has the tags asked for beside those always returned;
    `creators` says whose a private block is, by its tag (PS3.18 §8.3.4.3). `zone` is the time zone
    of the dates and times asked for, in minutes east of UTC; None takes them as they are. `limit`
    of None is the most that the archive gives at once. `warnings` tell what of the request was
    not heeded.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    matches: tuple[Match, ...] = ()
    include: frozenset[int] = frozenset()
    include_all: bool = False
    creators: tuple[tuple[int, str], ...] = ()
    zone: int | None = None
    limit: int | None = None
    offset: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def unindexed(self) -> tuple[Match, ...]:
        """The matches that the index does not answer for."""
        return tuple(match for match in self.matches if not match.indexed)

    @property
    def looked_into(self) -> tuple[Match, ...]:
        """The matches that only the data itself can decide.

        Those that the index does not answer for, and those of one Item that it cannot tie together.
        """
        found: list[Match] = []
        for group in together(self.matches):
            if len(group) > 1 and not can_be_tied(group):
                found += group
            else:
                found += [match for match in group if not match.indexed]
        return tuple(found)

    def wants(self, level: Level) -> bool:
        """Say whether an answer has the attributes of a level.

        Those of its own, those of the levels above that the path does not name, and those of the
        levels above of which one is asked for.
        """
        named = (self.study, self.series, None)[level]
        if level >= self.level or named is None:
            return level <= self.level
        asked = self.include & _ANSWERED[level] - _ANSWERED[self.level]
        return self.include_all or bool(asked)

    def wants_extra(self, level: Level) -> bool:
        """Say whether an answer has attributes of a level that are returned only when asked for."""
        asked = _EXTRA[level] if self.include_all else self.include & _EXTRA[level]
        return bool(asked) and self.wants(level)

    def wants_metadata(self) -> bool:
        """Say whether an answer has attributes that only the Metadata of an Instance holds."""
        known = _ANSWERED[Level.STUDY] | _ANSWERED[Level.SERIES] | _ANSWERED[Level.INSTANCE]
        return self.level is Level.INSTANCE and (self.include_all or bool(self.include - known))


def is_returned(tag: int, level: Level) -> bool:
    """Say whether a search at `level` returns an attribute from the index, if asked for.

    Source: PS3.18 §10.6.3.3
    """
    return tag in _ALSO or any(tag in _ANSWERED[one] for one in Level if one <= level)


_ALSO = PATIENT_COUNTS | {0x00080060}
"""Returned for Studies, though not kept with them; viewers ask for Modality there."""

MATCHABLE: dict[Path, Attribute] = {row.path: row for row in TABLE if row.column}
MADE = frozenset(row.path for row in TABLE if row.computed) - MATCHABLE.keys()
NO_CREATORS: Creators = MappingProxyType({})


def parse_path(key: str) -> Path | None:
    """Return the tags of an attribute given by keywords or tags, with dots for Sequences.

    None if `key` names no attribute. Hexadecimal tags always name one.

    Source: PS3.18 §8.3.4.1
    """
    tags = [_parse_tag(part) for part in key.split(".")]
    return tuple(tag for tag in tags if tag is not None) if None not in tags else None


def _parse_tag(part: str) -> int | None:
    return int(part, 16) if _HEX.fullmatch(part) else tag_for_keyword(part) if part else None


def is_private_creator(path: Path) -> bool:
    """Say whether a path names the element that says whose a private block is.

    Source: PS3.5 §7.8.1
    """
    return len(path) == 1 and (path[0] >> 16) % 2 == 1 and 0x10 <= path[0] & 0xFFFF <= 0xFF


def parse_match(
    path: Path,
    value: str,
    *,
    every: bool = False,
    empty: bool = False,
    fuzzy: bool = False,
    creators: Creators = NO_CREATORS,
) -> Match | None:
    """Return what a value asks of the attribute at `path`, None for universal matching.

    Universal are no value, `*` alone, and a person name of nothing but delimiters. `every` asks
    for all of several values, `empty` gives `""` its meaning of "no value", `fuzzy` takes person
    names that are nearly so. `creators` says whose the private blocks of the request are.

    Raises:
        InvalidQuery: the attribute is not matched here, or its VR does not allow the value.

    Source: PS3.18 §8.3.4.1, §8.3.4.2, §8.3.4.5, §8.3.4.6; PS3.4 §C.2.2.2
    """
    value = value.strip(" \0")
    attribute = MATCHABLE.get(path) or describe_attribute(path, creators)
    if _is_universal(attribute, value):
        return None
    if attribute is None or attribute.path in MADE:
        raise InvalidQuery(f"{name_path(path)} cannot be matched: no object that is stored has it")
    if len(value) > LONGEST_VALUE and attribute.vr != "UI":
        raise InvalidQuery(f"{attribute.keyword} takes up to {LONGEST_VALUE} characters")
    if empty and value == _EMPTY:
        return Match(attribute, Empty())
    if attribute.vr in UNMATCHED_VRS:
        raise InvalidQuery(f"{attribute.keyword} cannot be matched: its VR is {attribute.vr}")
    return Match(attribute, _rule(attribute, value, every=every, fuzzy=fuzzy))


def parse_zone(value: str) -> int | None:
    """Return the minutes east of UTC of a TimezoneOffsetFromUTC, None for no value.

    In a query it is no key: it says how the dates and times of the other keys are meant. A `+`
    that was not percent-encoded arrives as a space.

    Raises:
        InvalidQuery: it is none.

    Source: PS3.18 §8.3.4.1; PS3.3 §C.12.1.1.8
    """
    offset = value.strip()
    if not offset:
        return None
    found = re.fullmatch(r"([+-]?)(0[0-9]|1[0-4])([0-5][0-9])", offset, re.ASCII)
    if found is None:
        raise InvalidQuery("TimezoneOffsetFromUTC takes an offset such as +0100 or -0330")
    minutes = int(found[2]) * 60 + int(found[3])
    return -minutes if found[1] == "-" else minutes


def _is_universal(attribute: Attribute | None, value: str) -> bool:
    vr = attribute.vr if attribute else "LO"
    stars = vr in _WILDCARD_VRS and not value.strip("*")
    return not value or stars or (vr == "PN" and not value.strip("^= "))


def name_path(path: Path) -> str:
    """Return the keywords of a path, or its tags where the dictionary has none.

    Source: PS3.18 §8.3.4.1
    """
    return ".".join(keyword_for_tag(tag) or f"{tag:08X}" for tag in path)


def _rule(attribute: Attribute, value: str, *, every: bool, fuzzy: bool) -> Rule:
    if attribute.vr == "UI":
        return _uids(attribute, value, every=every)
    if attribute.vr in _RANGES:
        return _range(attribute, value)
    if attribute.vr in _INTEGER_VRS:
        return Equal((_integer(attribute, value),))
    if attribute.vr in {"DS", "FD", "FL"}:
        return Equal((_decimal(attribute, value),))
    if attribute.vr in {"AS", "AT"}:
        return Equal((clean_text(value.upper().replace(",", "")),))
    values = _split(attribute, value)
    if len(values) > MOST_VALUES:
        raise InvalidQuery(f"more than {MOST_VALUES} values for {attribute.keyword}")
    if attribute.vr == "PN":
        rules = [_near(attribute, item) if fuzzy else _name(item) for item in values]
    else:
        rules = [_text(item) for item in values]
    rules = rules if every else _join_equal(rules)
    return rules[0] if len(rules) == 1 else Several(tuple(rules), every)


def _join_equal(rules: list[Rule]) -> list[Rule]:
    """Make one rule of all that ask for a whole value; the index answers it at once."""
    whole = [rule.values[0] for rule in rules if isinstance(rule, Equal)]
    joined: list[Rule] = [Equal(tuple(map(str, whole)))] if whole else []
    return [*joined, *(rule for rule in rules if not isinstance(rule, Equal))]


def _split(attribute: Attribute, value: str) -> list[str]:
    """Return the values of a list; a comma parts codes only, elsewhere it is text (Q-19, Q-47)."""
    if attribute.vr == "CS":
        value = value.replace(",", "\\")
    values = value.split("\\") if attribute.vr in _LIST_VRS else [value]
    return [item.strip() for item in values if item.strip()] or [value]


def _uids(attribute: Attribute, value: str, *, every: bool) -> Rule:
    values = [item.strip() for item in re.split(r"[,\\]", value) if item.strip()]
    if not 1 <= len(values) <= MOST_UIDS:
        raise InvalidQuery(f"{attribute.keyword} takes 1 to {MOST_UIDS} UIDs")
    try:
        uids = tuple(dict.fromkeys(check_uid(item) for item in values))
    except InvalidUID as error:
        raise InvalidQuery(f"{attribute.keyword}: {error}") from error
    if every and len(uids) > 1:
        return Several(tuple(Equal((uid,)) for uid in uids), every)
    return Equal(uids)


def _integer(attribute: Attribute, value: str) -> int:
    number = clean_integer(value) if re.fullmatch(r"[+-]?[0-9]{1,20}", value, re.ASCII) else None
    if number is None:
        raise InvalidQuery(f"{attribute.keyword} takes a whole number")
    return number


def _decimal(attribute: Attribute, value: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", value, re.ASCII):
        raise InvalidQuery(f"{attribute.keyword} takes a number")
    return float(value)


def _text(value: str) -> Rule:
    if "*" in value or "?" in value:
        return Like(value)
    return Equal((clean_text(value),))


def _name(value: str) -> Name:
    return Name(tuple(fold_name_groups(value)))


def _near(attribute: Attribute, value: str) -> Rule:
    name = _name(value)
    parts = name_parts(name.groups)
    if sum(len(part.words) for part in parts) > MOST_WORDS:
        raise InvalidQuery(f"{attribute.keyword} takes up to {MOST_WORDS} words")
    return Near(name, parts) if parts else name


def _range(attribute: Attribute, value: str) -> Rule:
    low, dash, high = (part.strip() for part in value.partition("-"))
    if not dash:
        high = low
    bounds, form = _RANGES[attribute.vr]
    rule = bounds(low, high, bool(dash))
    if (low and not rule.low) or (high and not rule.high) or not (low or high):
        raise InvalidQuery(f"{attribute.keyword} takes {form}, or a range of two with - between")
    return rule


def _dates(low: str, high: str, ranged: bool) -> Between:
    return Between(clean_date(low), clean_date(high), ranged)


def _times(low: str, high: str, ranged: bool) -> Between:
    """Return a range of times; a time without seconds or fraction stands for all that it begins."""
    last = clean_time(high)
    whole = high.replace(":", "")
    if last and "." not in whole:
        last = f"{whole}{'5959'[len(whole) - 2 :]}.999999"
    return Between(clean_time(low), last, ranged)


def _moments(low: str, high: str, ranged: bool) -> Between:
    """Return a range of moments; one without seconds or fraction stands for all that it begins."""
    if "+" in low + high:
        return Between("", "")
    last = high if clean_datetime(high) else ""
    return Between(clean_datetime(low), last if "." in last or not last else f"{last}~", ranged)


_RANGES = {
    "DA": (_dates, "YYYYMMDD"),
    "TM": (_times, "HH, HHMM, HHMMSS or HHMMSS.FFFFFF"),
    "DT": (_moments, "YYYY to YYYYMMDDHHMMSS.FFFFFF, without an offset from UTC"),
}
