"""A `Query` as SQL, at three levels.

The text of a statement is put together from fixed parts; every value of a request travels as a
parameter (so S608 is silenced here). Statements go through asyncpg itself: SQLAlchemy's making of
the same statement costs more than the database takes for it.

Order is newest Study first, then by UIDs and numbers, so pages are stable and disjoint. Keys of
lower levels than the one that is searched ask for a child that meets them all.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from app.dicom.attributes import TABLE as ATTRIBUTES
from app.dicom.attributes import Level, Returned
from app.dicom.matching import Between, Empty, Equal, Like, Match, Name, Query, Rule, Several
from app.index.engine import Index
from app.rights import Scope


class StudyRow(NamedTuple):
    """What an answer needs of a Study; `extra` is '' and the counts are 0 unless asked for."""

    study_instance_uid: str
    document: str
    modalities: list[str]
    sop_classes: list[str]
    number_of_series: int
    number_of_instances: int
    timezone_offset_from_utc: str
    extra: str
    patient_studies: int
    patient_series: int
    patient_instances: int


class SeriesRow(NamedTuple):
    """What an answer needs of a Series; `extra` is '' unless asked for."""

    series_instance_uid: str
    document: str
    number_of_instances: int
    extra: str


class InstanceRow(NamedTuple):
    """What an answer needs of an Instance; the last two are empty unless asked for.

    They are its Metadata, packed, and the dictionary to unpack it with.
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    number_of_frames: int | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    metadata: bytes
    metadata_dictionary: bytes


class Found(NamedTuple):
    """One match, with all levels above it."""

    study: StudyRow
    series: SeriesRow | None = None
    instance: InstanceRow | None = None


_TABLES = (
    "study s",
    "series e JOIN study s ON s.id = e.study_key AND s.tenant_id = e.tenant_id",
    "instance i JOIN series e ON e.id = i.series_key"
    " JOIN study s ON s.id = i.study_key AND s.tenant_id = i.tenant_id",
)
_CHILDREN = {
    (Level.STUDY, Level.SERIES): (
        "series e WHERE e.study_key = s.id AND e.tenant_id = s.tenant_id"
    ),
    (Level.STUDY, Level.INSTANCE): (
        "instance i JOIN series e ON e.id = i.series_key"
        " WHERE i.study_key = s.id AND i.tenant_id = s.tenant_id"
    ),
    (Level.SERIES, Level.INSTANCE): (
        "instance i WHERE i.series_key = e.id AND i.tenant_id = e.tenant_id"
    ),
}
_ALIASES = ("s", "e", "i")
_ORDERS = (
    "s.study_date DESC, s.study_time DESC, s.study_instance_uid",
    "e.series_number, e.series_instance_uid",
    "i.instance_number, i.sop_instance_uid",
)
_PATIENT = """
 (SELECT count(*) FROM study p WHERE p.patient_key = s.patient_key AND {scope}),
 (SELECT sum(number_of_series) FROM study p WHERE p.patient_key = s.patient_key AND {scope}),
 (SELECT sum(number_of_instances) FROM study p WHERE p.patient_key = s.patient_key AND {scope})
"""
_PATIENT_COUNTS = frozenset(
    row.tag for row in ATTRIBUTES if row.returned is Returned.COMPUTED_ASKED
)


class _Arguments(list[object]):
    """The values of a statement; each is named by its place in it."""

    def add(self, value: object) -> str:
        self.append(value)
        return f"${len(self)}"


async def find_matches(index: Index, scope: Scope, query: Query, most: int) -> list[Found]:
    """Return up to `most` matches from the query's offset on, in a stable order."""
    arguments = _Arguments()
    statement = _select(scope, query, most, arguments)
    rows = await index.search(statement, *arguments)
    return [_found(tuple(row), query.level) for row in rows]


async def count_matches(index: Index, scope: Scope, query: Query, skip: int, most: int) -> int:
    """Return how many matches there are after the first `skip`, counted up to `most`."""
    arguments = _Arguments()
    matching = _matching(scope, query, arguments)
    counted = f"{matching} OFFSET {arguments.add(skip)} LIMIT {arguments.add(most)}"
    statement = f"SELECT count(*) FROM (SELECT FROM {counted}) AS found"  # noqa: S608
    rows = await index.search(statement, *arguments)
    return int(rows[0][0])


def _found(row: tuple[Any, ...], level: Level) -> Found:
    study = StudyRow(*row[:11])
    if level is Level.STUDY:
        return Found(study)
    series = SeriesRow(*row[11:15])
    return Found(study, series, InstanceRow(*row[15:]) if level is Level.INSTANCE else None)


def _select(scope: Scope, query: Query, most: int, arguments: _Arguments) -> str:
    matching = _matching(scope, query, arguments)
    columns = _columns(scope, query, arguments)
    # what the path names is the same in all rows
    named = 0 if query.study is None else 1 if query.series is None else 2
    order = ", ".join(_ORDERS[named : query.level + 1])
    page = f"ORDER BY {order} OFFSET {arguments.add(query.offset)} LIMIT {arguments.add(most)}"
    if query.study is not None:
        return f"SELECT {columns} FROM {matching} {page}"  # noqa: S608
    # keys first: what is skipped or does not match is seen in the narrow index alone
    tables, key = _TABLES[query.level], f"{_ALIASES[query.level]}.id"
    keys = f"SELECT {key} FROM {matching} {page}"  # noqa: S608
    return f"SELECT {columns} FROM {tables} WHERE {key} IN ({keys}) ORDER BY {order}"  # noqa: S608


def _columns(scope: Scope, query: Query, arguments: _Arguments) -> str:
    if query.wants(Level.STUDY):
        extra = "s.extra" if query.wants_extra(Level.STUDY) else "''"
        study = (
            "s.study_instance_uid, s.document, s.modalities, s.sop_classes, s.number_of_series,"
            f" s.number_of_instances, s.timezone_offset_from_utc, {extra}"
        )
    else:
        study = (
            "s.study_instance_uid, '', '{}'::text[], '{}'::text[], 0, 0,"
            " s.timezone_offset_from_utc, ''"
        )
    columns = [study, _patient_columns(scope, query, arguments)]
    if query.level >= Level.SERIES:
        document = "e.document" if query.wants(Level.SERIES) else "''"
        extra = "e.extra" if query.wants_extra(Level.SERIES) else "''"
        columns.append(f"e.series_instance_uid, {document}, e.number_of_instances, {extra}")
    if query.level is Level.INSTANCE:
        columns.append(
            "i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.instance_number,"
            " i.number_of_frames, i.rows, i.columns, i.bits_allocated"
        )
        packed = "i.metadata, e.metadata_dictionary" if query.wants_metadata() else "''::bytea, ''"
        columns.append(packed)
    return ", ".join(columns)


def _patient_columns(scope: Scope, query: Query, arguments: _Arguments) -> str:
    if not query.include & _PATIENT_COUNTS:
        return "0, 0, 0"
    return _PATIENT.format(scope=_in_scope(scope, "p", arguments))


def _matching(scope: Scope, query: Query, arguments: _Arguments) -> str:
    """Return `tables WHERE conditions`."""
    conditions = [_in_scope(scope, "s", arguments)]
    if query.study is not None:
        conditions.append(f"s.study_instance_uid = {arguments.add(query.study)}")
    if query.series is not None:
        conditions.append(f"e.series_instance_uid = {arguments.add(query.series)}")
    own, below = _by_level(query)
    conditions += _conditions(own, arguments)
    if below:
        lowest = Level(max(match.attribute.level for match in below))
        met = " AND ".join(_conditions(below, arguments))
        child = _CHILDREN[query.level, lowest]
        conditions.append(f"EXISTS (SELECT FROM {child} AND {met})")
    return f"{_TABLES[query.level]} WHERE {' AND '.join(conditions)}"


def _in_scope(scope: Scope, alias: str, arguments: _Arguments) -> str:
    condition = f"{alias}.tenant_id = {arguments.add(scope.tenant_id)}"
    if scope.studies is not None:
        named = arguments.add(sorted(scope.studies))
        condition += f" AND {alias}.study_instance_uid = ANY({named}::text[])"
    return condition


def _by_level(query: Query) -> tuple[list[Match], list[Match]]:
    own = [match for match in query.matches if match.attribute.level <= query.level]
    return own, [match for match in query.matches if match.attribute.level > query.level]


_TIMES = {
    "s.study_date": "s.study_time",
    "e.series_date": "e.series_time",
    "e.performed_procedure_step_start_date": "e.performed_procedure_step_start_time",
}


def _conditions(matches: Sequence[Match], arguments: _Arguments) -> Iterable[str]:
    """Return one condition for each match, but one for both of a date and a time in ranges."""
    ranges = {
        _column(match): (match, match.rule)
        for match in matches
        if isinstance(match.rule, Between) and match.rule.ranged
    }
    joint: list[Match] = []
    for date, time in _TIMES.items():
        if date in ranges and time in ranges:
            joint += [ranges[date][0], ranges[time][0]]
            yield _moments((date, time), ranges[date][1], ranges[time][1], arguments)
    yield from (_condition(match, arguments) for match in matches if match not in joint)


def _moments(columns: tuple[str, str], days: Between, times: Between, arguments: _Arguments) -> str:
    """Match from a time of the first day to a time of the last (PS3.4 §C.2.2.2.5.4)."""
    day, time = columns
    met = [_between(day, days.low, days.high, arguments)]
    for sign, first, edge in ((">", days.low, times.low), ("<", days.high, times.high)):
        if first and edge:
            on, at = arguments.add(first), arguments.add(edge)
            met.append(f"({day} {sign} {on} OR {time} {sign}= {at})")
    return " AND ".join(met)


def _column(match: Match) -> str:
    return f"{_ALIASES[match.attribute.level]}.{match.attribute.column}"


def _condition(match: Match, arguments: _Arguments) -> str:
    attribute, column = match.attribute, _column(match)
    if attribute.many:
        return _array_condition(column, match.rule, arguments)
    number = attribute.vr in {"IS", "US"}
    if number and isinstance(match.rule, Empty):
        return f"{column} IS NULL"
    return _text_condition(column, match.rule, arguments)


def _array_condition(column: str, rule: Rule, arguments: _Arguments) -> str:
    match rule:
        case Empty():
            return f"cardinality({column}) = 0"
        case Equal(values):
            return f"{column} && {arguments.add(list(values))}::text[]"
        case Several(rules, every):
            joint = " AND " if every else " OR "
            return f"({joint.join(_array_condition(column, one, arguments) for one in rules)})"
    met = _text_condition("v", rule, arguments)
    return f"EXISTS (SELECT FROM unnest({column}) AS v WHERE {met})"


def _text_condition(column: str, rule: Rule, arguments: _Arguments) -> str:
    match rule:
        case Equal(values):
            return _equal(column, values, arguments)
        case Like(pattern):
            return f"{column} LIKE {arguments.add(_like(pattern))}"
        case Name(groups):
            return _name_condition(column, groups, arguments)
        case Between(low, high):
            return _between(column, low, high, arguments)
        case Empty():
            return f"{column} = ''"
        case Several(rules, every):
            joint = " AND " if every else " OR "
            return f"({joint.join(_text_condition(column, one, arguments) for one in rules)})"


def _equal(column: str, values: Sequence[str | int], arguments: _Arguments) -> str:
    if len(values) > 1:
        return f"{column} = ANY({arguments.add(list(values))}::text[])"
    cast = "bigint" if isinstance(values[0], int) else "text"
    return f"{column} = {arguments.add(values[0])}::{cast}"


def _between(column: str, low: str, high: str, arguments: _Arguments) -> str:
    if low == high:
        return f"{column} = {arguments.add(low)}"
    lower = f"{column} >= {arguments.add(low)}" if low else f"{column} > ''"
    return f"{lower} AND {column} <= {arguments.add(high)}" if high else lower


def _name_condition(column: str, groups: Sequence[str], arguments: _Arguments) -> str:
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


_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_", "*": "%", "?": "_"})


def _like(pattern: str) -> str:
    return re.sub(r"\*+", "*", pattern).translate(_LIKE)


def _regex(form: str, *, whole: bool) -> str:
    """Return a name's form as a regular expression of PostgreSQL: wildcards stay in a group."""
    escaped = re.sub(r"([^\w=*?])", r"\\\1", form)
    escaped = re.sub(r"\*+", "[^=]*", escaped).replace("?", "[^=]")
    return f"^{escaped}$" if whole else escaped
