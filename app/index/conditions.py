"""Rules of matching as SQL conditions.

Every value becomes a parameter; the text of a condition is put together from fixed parts.
"""

import re
from collections.abc import Iterable, Sequence

from app.dicom.fuzzy_names import BLANKS, SEPARATORS, Part, Word
from app.dicom.rules import Between, Empty, Equal, Like, Match, Name, Near, Rule, Several
from app.index.access import visible_to
from app.rights import Scope

ALIASES = ("s", "e", "i")
"""How statements call the tables of Study, Series and Instance."""

_TIME_OF = {
    "study_date": "study_time",
    "series_date": "series_time",
    "performed_procedure_step_start_date": "performed_procedure_step_start_time",
}
_DATE_OF = {time: date for date, time in _TIME_OF.items()}

# a date and time in the time zone of the request, where the Study says what its own is
_SHIFTED = """
(CASE WHEN {date} <> '' AND {time} <> '' AND s.timezone_offset_from_utc ~ '^[+-][0-9]{{4}}$'
 THEN to_char(({date} || ' ' || left({time}, 6))::timestamp
  - make_interval(
     hours => left(s.timezone_offset_from_utc, 3)::integer,
     mins => (left(s.timezone_offset_from_utc, 1) || right(s.timezone_offset_from_utc, 2))::integer)
  + make_interval(mins => {zone}), '{form}') || {rest} ELSE {column} END)
"""


class Arguments(list[object]):
    """The values of a statement, each named by its place in it; the first is the tenant.

    `zone` is the time zone of the dates and times of a request, in minutes east of UTC.
    """

    def __init__(self, scope: Scope, zone: int | None) -> None:
        super().__init__([scope.tenant_id])
        self._scope = scope
        self._zone = zone

    def visible(self, alias: str) -> str:
        """Return what the rows of `study` have to meet, which the statement calls by an alias."""
        return visible_to(self._scope, alias, self.add)

    def add(self, value: object) -> str:
        """Take a value in and return how the statement calls it."""
        self.append(value)
        return f"${len(self)}"

    def column(self, match: Match) -> str:
        """Return what a match compares."""
        alias, name = ALIASES[match.attribute.level], match.attribute.column or ""
        column = f"{alias}.{name}"
        if self._zone is None or not (name in _TIME_OF or name in _DATE_OF):
            return column
        date, time = _DATE_OF.get(name, name), _TIME_OF.get(name, name)
        return _SHIFTED.format(
            date=f"{alias}.{date}",
            time=f"{alias}.{time}",
            column=column,
            zone=f"{self.add(self._zone)}::integer",
            form="YYYYMMDD" if name in _TIME_OF else "HH24MISS",
            rest="''" if name in _TIME_OF else f"substr({alias}.{time}, 7)",
        )


def conditions(matches: Sequence[Match], arguments: Arguments) -> Iterable[str]:
    """Return one condition for each match that has a column.

    Of a date and a time in ranges it is one for both.
    """
    ranges = {
        match.attribute.column: (match, match.rule)
        for match in matches
        if isinstance(match.rule, Between) and match.rule.ranged
    }
    joint: list[Match] = []
    for date, time in _TIME_OF.items():
        if date in ranges and time in ranges:
            (day, days), (moment, times) = ranges[date], ranges[time]
            joint += [day, moment]
            columns = (arguments.column(day), arguments.column(moment))
            yield moments(columns, days, times, arguments)
    yield from (_condition(match, arguments) for match in matches if match not in joint)


def moments(columns: tuple[str, str], days: Between, times: Between, arguments: Arguments) -> str:
    """Match from a time of the first day to a time of the last (PS3.4 §C.2.2.2.5.4)."""
    day, time = columns
    met = [_between(day, days.low, days.high, arguments)]
    for sign, first, edge in ((">", days.low, times.low), ("<", days.high, times.high)):
        if first and edge:
            on, at = arguments.add(first), arguments.add(edge)
            met.append(f"({day} {sign} {on} OR {time} {sign}= {at})")
    return " AND ".join(met)


def _condition(match: Match, arguments: Arguments) -> str:
    attribute, column = match.attribute, arguments.column(match)
    if attribute.many:
        return array_condition(column, match.rule, arguments)
    number = attribute.vr in {"IS", "US"}
    if number and isinstance(match.rule, Empty):
        return f"{column} IS NULL"
    return text_condition(column, match.rule, arguments)


def array_condition(column: str, rule: Rule, arguments: Arguments) -> str:
    """Return what a column of several texts has to meet, any of which may."""
    match rule:
        case Empty():
            return f"cardinality({column}) = 0"
        case Equal(values):
            return f"{column} && {arguments.add(list(values))}::text[]"
        case Several(rules, every=True):
            return " AND ".join(array_condition(column, one, arguments) for one in rules)
    met = text_condition("v", rule, arguments)
    return f"EXISTS (SELECT FROM unnest({column}) AS v WHERE {met})"


def text_condition(column: str, rule: Rule, arguments: Arguments) -> str:
    """Return what a column of one text has to meet."""
    match rule:
        case Equal(values):
            return _equal(column, values, arguments)
        case Like(pattern):
            return f"{column} LIKE {arguments.add(_like(pattern))}"
        case Name(groups):
            return _name_condition(column, groups, arguments)
        case Near(name, parts):
            return _near_condition(column, name, parts, arguments)
        case Between(low, high):
            return _between(column, low, high, arguments)
        case Empty():
            return f"{column} = ''"
    joint = " AND " if rule.every else " OR "
    return f"({joint.join(text_condition(column, one, arguments) for one in rule.rules)})"


def _equal(column: str, values: Sequence[str | float], arguments: Arguments) -> str:
    if len(values) > 1:
        return f"{column} = ANY({arguments.add(list(values))}::text[])"
    cast = "bigint" if isinstance(values[0], int) else "text"
    return f"{column} = {arguments.add(values[0])}::{cast}"


def _between(column: str, low: str, high: str, arguments: Arguments) -> str:
    if low == high:
        return f"{column} = {arguments.add(low)}"
    lower = f"{column} >= {arguments.add(low)}" if low else f"{column} > ''"
    return f"{lower} AND {column} <= {arguments.add(high)}" if high else lower


def _name_condition(column: str, groups: Sequence[str], arguments: Arguments) -> str:
    """Return what a column of folded names `=a=i=p=` has to meet.

    The LIKE finds candidates by the trigram index. Where its % may run over the mark between
    two groups, a regular expression decides.
    """
    whole = len(groups) > 1
    if whole:
        form = "=".join(["", *(group or "*" for group in (*groups, "", "")[:3]), ""])
        pattern, crossing = form, "*" in form or "?" in form
    else:
        group = groups[0]
        form = f"={group}="
        inner = group.strip("*")
        head = "*" if group.startswith("*") else "*="
        tail = "*" if group.endswith("*") else "=*"
        pattern, crossing = f"{head}{inner}{tail}", "*" in inner or "?" in inner
    found = f"{column} LIKE {arguments.add(_like(pattern))}"
    if not crossing:
        return found
    return f"({found} AND {column} ~ {arguments.add(_regex(form, whole=whole))})"


def _near_condition(column: str, name: Name, parts: Sequence[Part], arguments: Arguments) -> str:
    """Return what a column of names of `study` has to meet, and the column of their keys."""

    def has(word: Word) -> str:
        if word.expression:
            return f"{column} ~ {arguments.add(word.expression)}"
        near = f"{column}_keys && {arguments.add(list(word.keys))}::integer[]"
        if not word.beginning:
            return near
        # many keys that no name has look common to the planner: so the index is asked beforehand
        among = arguments.add([*word.keys, *word.candidates])
        blanked = f"translate({column}, {arguments.add(SEPARATORS)}, {arguments.add(BLANKS)})"
        begins = f"strpos({blanked}, {arguments.add(f' {word.beginning}')}) > 0"
        found = f"{column}_keys && {among}::integer[] AND ({near} OR {begins})"
        rows = f"SELECT s.id FROM study s WHERE s.tenant_id = $1 AND {found}"  # noqa: S608
        return f"s.id = ANY(ARRAY({rows}))"

    each = []
    for part in parts:
        met = " AND ".join(map(has, part.words))
        each.append(f"({met} OR {has(part.joined)})" if part.joined else met)
    near = " AND ".join(each)
    if not any(sign in group for group in name.groups for sign in "*?"):
        return f"({near})"  # a name without wildcards has all its own words
    return f"({_name_condition(column, name.groups, arguments)} OR {near})"


_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})


def _like(pattern: str) -> str:
    return re.sub(r"\*+", "*", pattern).translate(_LIKE)


def _regex(form: str, *, whole: bool) -> str:
    """Return a name's form as a regular expression of PostgreSQL: wildcards stay in a group."""
    escaped = re.sub(r"([^\w=*?])", r"\\\1", form)
    escaped = re.sub(r"\*+", "[^=]*", escaped).replace("?", "[^=]")
    return f"^{escaped}$" if whole else escaped
