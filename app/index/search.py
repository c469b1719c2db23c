"""A `Query` as SQL, at three levels.

The text of a statement is put together from fixed parts; every value of a request travels as a
parameter (so S608 is silenced here). Statements go through asyncpg itself: SQLAlchemy's making of
the same statement costs more than the database takes for it.

Order is newest Study first, then by UIDs and numbers, so pages are stable and disjoint. Keys of
lower levels than the one that is searched ask for a child that meets them all.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from app.dicom.attributes import PATIENT_COUNTS, Level
from app.dicom.matching import Query
from app.dicom.rules import Empty
from app.dicom.sequence_keys import Group, together
from app.index.chosen_conditions import chosen_conditions
from app.index.conditions import ALIASES, Arguments, conditions
from app.index.contents import CONTENTS
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


class Among(NamedTuple):
    """Rows of one level by their keys: only what they are, or lie below, is found."""

    level: Level
    keys: list[int]


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
_ORDERS = (
    "s.study_date DESC, s.study_time DESC, s.study_instance_uid",
    "e.series_number, e.series_instance_uid",
    "i.instance_number, i.sop_instance_uid",
)
_OF_PATIENT = "FROM study p WHERE p.patient_key = s.patient_key AND"
_COUNTS = ("count(*)", "sum(number_of_series)", "sum(number_of_instances)")


async def find_matches(
    index: Index, scope: Scope, query: Query, most: int, among: Among | None = None
) -> list[Found]:
    """Return up to `most` matches from the query's offset on, in a stable order.

    Matches of attributes without a column are for the caller: `among` has the rows that meet them.
    """
    arguments = Arguments(scope, query.zone)
    statement = _select(query, most, arguments, among)
    rows = await index.search(statement, *arguments)
    return [_found(tuple(row), query.level) for row in rows]


async def count_matches(
    index: Index, scope: Scope, query: Query, skip: int, most: int, among: Among | None = None
) -> int:
    """Return how many matches there are after the first `skip`, counted up to `most`."""
    arguments = Arguments(scope, query.zone)
    found = matching(query, arguments, among)
    counted = f"{found} OFFSET {arguments.add(skip)} LIMIT {arguments.add(most)}"
    statement = f"SELECT count(*) FROM (SELECT FROM {counted}) AS found"  # noqa: S608
    rows = await index.search(statement, *arguments)
    return int(rows[0][0])


def _found(row: tuple[Any, ...], level: Level) -> Found:
    study = StudyRow(*row[:11])
    if level is Level.STUDY:
        return Found(study)
    series = SeriesRow(*row[11:15])
    return Found(study, series, InstanceRow(*row[15:]) if level is Level.INSTANCE else None)


def _select(query: Query, most: int, arguments: Arguments, among: Among | None) -> str:
    found = matching(query, arguments, among)
    columns = _columns(query, arguments)
    # what the path names is the same in all rows
    named = 0 if query.study is None else 1 if query.series is None else 2
    order = ", ".join(_ORDERS[named : query.level + 1])
    page = f"ORDER BY {order} OFFSET {arguments.add(query.offset)} LIMIT {arguments.add(most)}"
    if query.study is not None:
        return f"SELECT {columns} FROM {found} {page}"  # noqa: S608
    # keys first: what is skipped or does not match is seen in the narrow index alone
    tables, key = _TABLES[query.level], f"{ALIASES[query.level]}.id"
    keys = f"SELECT {key} FROM {found} {page}"  # noqa: S608
    return f"SELECT {columns} FROM {tables} WHERE {key} IN ({keys}) ORDER BY {order}"  # noqa: S608


def _columns(query: Query, arguments: Arguments) -> str:
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
    columns = [study, "0, 0, 0"]
    if query.include & PATIENT_COUNTS:
        seen = arguments.visible("p")
        columns[1] = ", ".join(f"(SELECT {value} {_OF_PATIENT} {seen})" for value in _COUNTS)
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


def matching(query: Query, arguments: Arguments, among: Among | None = None) -> str:
    """Return `tables WHERE conditions`."""
    met = [arguments.visible("s")]
    if query.study is not None:
        met.append(f"s.study_instance_uid = {arguments.add(query.study)}")
    if query.series is not None:
        met.append(f"e.series_instance_uid = {arguments.add(query.series)}")
    if among is not None:
        keys = arguments.add(among.keys)
        met.append(f"{ALIASES[among.level]}.id = ANY({keys}::bigint[])")
    own, below = _by_level(query)
    met += _conditions(own, arguments)
    if below:
        lowest = Level(max(group[0].attribute.level for group in below))
        children = " AND ".join([_CHILDREN[query.level, lowest], *_conditions(below, arguments)])
        met.append(f"EXISTS (SELECT FROM {children})")
    return f"{_TABLES[query.level]} WHERE {' AND '.join(met)}"


def _by_level(query: Query) -> tuple[list[Group], list[Group]]:
    """Return the matches that the index answers for, those of lower levels than the query apart.

    That one Item has no value does not say that none has: who looks into the data decides that.
    """
    own: list[Group] = []
    below: list[Group] = []
    for group in together(query.matches):
        alone = len(group) == 1
        indexed = tuple(
            match
            for match in group
            if match.indexed and (alone or not isinstance(match.rule, Empty))
        )
        if indexed:
            (below if indexed[0].attribute.level > query.level else own).append(indexed)
    return own, below


def _conditions(groups: list[Group], arguments: Arguments) -> Iterable[str]:
    matches = [match for group in groups for match in group]
    yield from conditions([match for match in matches if match.chosen is None], arguments)
    for group in groups:
        chosen = [match for match in group if match.chosen is not None]
        yield from chosen_conditions(chosen, arguments)


class Candidate(NamedTuple):
    """A row to be looked into, and the row that an answer would be restricted to."""

    key: int
    target: int


async def find_candidates(
    index: Index, scope: Scope, query: Query, depth: Level, most: int
) -> list[Candidate]:
    """Return up to `most` rows of the level `depth` that meet all matches with a column.

    Keys of lower levels ask for one child that meets them all, as ever. The targets are rows of
    the query's level, or of `depth` if that is above. Those of a Series stand together.
    """
    target = min(query.level, depth)
    series = query.series if depth >= Level.SERIES else None
    arguments = Arguments(scope, query.zone)
    below = matching(replace(query, level=depth, series=series), arguments)
    parent = "e.id" if depth is Level.INSTANCE else "s.id"
    columns = f"{ALIASES[depth]}.id AS key, {ALIASES[target]}.id AS target, {parent} AS parent"
    found = f"SELECT {columns} FROM {below} LIMIT {arguments.add(most)}"  # noqa: S608
    statement = f"SELECT key, target FROM ({found}) AS found ORDER BY parent, key"  # noqa: S608
    rows = await index.search(statement, *arguments)
    return [Candidate(*row) for row in rows]


async def load_contents(index: Index, depth: Level, keys: list[int]) -> list[tuple[Any, ...]]:
    """Return for each row its key and what it keeps of the data, for `read_contents`."""
    rows = await index.search(CONTENTS[depth], keys)
    return [tuple(row) for row in rows]
