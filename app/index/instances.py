"""Add Instances to the index with their parents, counters and the event, in one transaction.

How a batch is added, in statements:

1. the Studies' rows are locked and the Series' looked up by one statement; what is missing is
   made (`parents.find_parents`);
2. one statement inserts all Instances, ON CONFLICT DO NOTHING, raises counters and versions by the
   rows that really were inserted, queues them for where rules forward them, and logs them in
   `event` and `tally`;
3. Instances that did not come back are there already: they are read and returned as `Present`.

A Series that was met before is remembered with its keys. One that gets more Instances which agree
with it is locked by the statement of step 2 itself, which is all that is needed then; but not
where there are chosen attributes (`attribute_values`), whose values take a transaction.

Rules that hold: counters change only with rows; nothing is counted twice; locks are taken in the
order studies, instances, tally, patients, each sorted, so that deadlocks are rare (and tried again
by `Index.retrying`). An Instance that the database refuses fails alone (`add_each_instance`).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from traceback import format_tb
from typing import TypeAlias, TypeVar

import asyncpg

from app.dicom.attributes import Level, instance_values, series_document, study_document
from app.dicom.scanned import DERIVED_VERSION, ScannedInstance
from app.dicom.uids import InstanceRef
from app.errors import ArchiveError, InvalidDataset
from app.index.absence import REJECTED
from app.index.attribute_values import load_written, write_values
from app.index.engine import Index
from app.index.faults import TryAgain
from app.index.forwarding_rules import FORWARD
from app.index.frames import pack_bulk_values
from app.index.packing import metadata_packer
from app.index.parents import (
    Parent,
    Parents,
    SeriesName,
    find_parents,
    remember,
    settle_parents,
)
from app.index.pool import Connection
from app.index.present import Present, find_present

_log = logging.getLogger(__name__)

_Name = TypeVar("_Name", str, SeriesName)

TALLY_SLOTS = 16

SEARCHED: Mapping[str, str] = {
    "sop_class_uid": "text",
    "instance_number": "bigint",
    "rows": "integer",
    "columns": "integer",
    "bits_allocated": "integer",
    "number_of_frames": "integer",
}
"""What `dicom.attributes.instance_values` makes."""

COLUMNS: Mapping[str, str] = {
    "study_key": "bigint",
    "series_key": "bigint",
    "sop_instance_uid": "text",
    **SEARCHED,
    "transfer_syntax_uid": "text",
    "object_key": "text",
    "size": "bigint",
    "sha256": "bytea",
    "dataset_sha256": "bytea",
    "dataset_offset": "integer",
    "frame_kind": "smallint",
    "frame_count": "integer",
    "frame_offset": "bigint",
    "frame_length": "bigint",
    "frame_table": "bytea",
    "bulk_values": "text",
    "metadata": "bytea",
}
"""What `_row` fills, and the type of each: the rows go over as one array for each column."""

_NAMES = ", ".join(COLUMNS)
_PLACES = list(enumerate(COLUMNS.values(), start=5))
_ROWS = f"unnest({', '.join(f'${place}::{kind}[]' for place, kind in _PLACES)})"
_ROW = f"(VALUES ({', '.join(f'${place}::{kind}' for place, kind in _PLACES)}))"

# An object's file name is the SOP Instance UID, a dot, and the attempt: the event has that alone.
# `||` of equal arrays would still write an indexed column, hence the CASEs.
ADD_ROWS = f"""
WITH added AS (
    INSERT INTO instance (tenant_id, derived_version, {_NAMES})
    SELECT $1::integer, $2::smallint, new.* FROM {_ROWS} AS new ({_NAMES})
    WHERE NOT EXISTS (SELECT FROM removed_instance WHERE tenant_id = $1
        AND sop_instance_uid = new.sop_instance_uid AND starts_with(reason, '{REJECTED}'))
    AND NOT EXISTS (SELECT FROM swept_object WHERE object_key = new.object_key)
    {{guard}}
    ON CONFLICT (tenant_id, sop_instance_uid) DO NOTHING
    RETURNING id, study_key, series_key, sop_instance_uid, sop_class_uid, size, sha256, object_key
), series_added AS (
    SELECT study_key, series_key, count(*) AS instances, sum(size)::bigint AS size,
        array_agg(DISTINCT sop_class_uid) AS classes,
        jsonb_object_agg(sop_instance_uid, jsonb_build_array(
            encode(sha256, 'hex'),
            split_part(object_key, '/' || sop_instance_uid || '.', -1))) AS instances_logged
    FROM added GROUP BY 1, 2
), series_changed AS (
    UPDATE series SET number_of_instances = number_of_instances + added.instances,
        sop_classes = CASE WHEN series.sop_classes @> classes THEN series.sop_classes ELSE
            ARRAY(SELECT DISTINCT unnest(series.sop_classes || classes) ORDER BY 1) END,
        version = version + 1, updated_at = now()
    FROM series_added AS added WHERE series.id = added.series_key
    RETURNING added.*, modality, series_instance_uid,
        (number_of_instances = added.instances)::integer AS fresh
), study_added AS (
    SELECT study_key, sum(instances) AS instances, sum(size)::bigint AS size, sum(fresh) AS series,
        array_remove(array_agg(DISTINCT modality), '') AS modalities,
        jsonb_object_agg(series_instance_uid, instances_logged) AS series_logged
    FROM series_changed GROUP BY 1
), study_classes AS (
    SELECT study_key, array_agg(DISTINCT sop_class_uid) AS classes FROM added GROUP BY 1
), study_changed AS (
    UPDATE study SET number_of_instances = number_of_instances + added.instances,
        number_of_series = number_of_series + added.series,
        size = study.size + added.size,
        sop_classes = CASE WHEN study.sop_classes @> classes THEN study.sop_classes ELSE
            ARRAY(SELECT DISTINCT unnest(study.sop_classes || classes) ORDER BY 1) END,
        modalities = CASE WHEN study.modalities @> added.modalities THEN study.modalities ELSE
            ARRAY(SELECT DISTINCT unnest(study.modalities || added.modalities) ORDER BY 1) END,
        version = version + 1, updated_at = now()
    FROM study_added AS added JOIN study_classes USING (study_key)
    WHERE study.id = added.study_key
    RETURNING added.*, study_instance_uid,
        (number_of_instances = added.instances)::integer AS fresh
), logged AS (
    INSERT INTO event (tenant_id, kind, actor, payload)
    SELECT $1, 'accepted', $3::text,
        jsonb_build_object('study', study_instance_uid, 'series', series_logged)
    FROM study_changed
), forwarded AS ({FORWARD}
), counted AS (
    INSERT INTO tally (tenant_id, slot, studies, series, instances, bytes)
    SELECT $1, pg_backend_pid() % {TALLY_SLOTS},
        sum(fresh), sum(series), sum(instances), sum(size)
    FROM study_changed HAVING count(*) > 0
    ON CONFLICT (tenant_id, slot) DO UPDATE SET studies = tally.studies + excluded.studies,
        series = tally.series + excluded.series, instances = tally.instances + excluded.instances,
        bytes = tally.bytes + excluded.bytes
)
SELECT sop_instance_uid, id FROM added
"""  # noqa: S608 - our own names
CHOSEN = "SELECT FROM indexed_attribute WHERE tenant_id = $1"


def _statement(*, alone: bool, single: bool) -> str:
    """Return the text that adds Instances; the values of a `single` one go over as they are.

    `alone` adds nothing if there are chosen attributes, whose values have to be added, too.
    """
    guarded = ADD_ROWS.replace("{guard}", f"AND NOT EXISTS ({CHOSEN})" if alone else "")
    return guarded.replace(_ROWS, _ROW) if single else guarded


_STATEMENTS = {
    (alone, single): _statement(alone=alone, single=single)
    for alone in (False, True)
    for single in (False, True)
}


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An Instance whose object is durable under `object_key`."""

    ref: InstanceRef
    scanned: ScannedInstance
    object_key: str
    size: int
    sha256: bytes
    dataset_sha256: bytes
    source: str | None = None
    """The AE that sent it, '' if it is not known; None for what is not forwarded by rules."""


Added: TypeAlias = Present | InvalidDataset | None
"""What became of one: None if added, else what is there already, or why it may not be in."""


async def add_each_instance(
    index: Index, tenant_id: int, actor: str, new: Sequence[NewInstance]
) -> list[Added]:
    """Add Instances in as few transactions as it takes for each to stand or fall alone.

    The answers are those of `add_instances`, and `InvalidDataset` for one that cannot be indexed.
    When this raises, those of an earlier half may be in: adding them again finds them `Present`.

    Raises:
        Unavailable: the index does not answer.
        StorageFull: it has no room left.
    """
    if not new:
        return []
    try:
        at_once = await add_to_known(index, tenant_id, actor, new)
        if at_once is not None:
            return [*at_once]
        results, parents = await index.retrying(lambda it: _add(it, tenant_id, actor, new))
        remember(index, tenant_id, parents)
        return [*results]
    except ArchiveError:
        raise
    except Exception as error:
        if len(new) == 1:
            # where it happened, but not its message: that may quote a patient's name
            said = type(error).__name__, "".join(format_tb(error.__traceback__))
            _log.error("Instance %s cannot be indexed: %s\n%s", new[0].ref.instance, *said)
            return [InvalidDataset("The index cannot hold a value of this Instance", 0x0110)]
    half = len(new) // 2
    return [
        *await add_each_instance(index, tenant_id, actor, new[:half]),
        *await add_each_instance(index, tenant_id, actor, new[half:]),
    ]


async def add_instances(
    connection: Connection,
    tenant_id: int,
    actor: str,
    new: Sequence[NewInstance],
    *,
    in_order: bool = False,
) -> list[Added]:
    """Add all Instances; for each return None, or what is there already under its UID, or why not.

    Of several with one SOP Instance UID the first is added and the others find it present. The
    transaction is the caller's: any error means that it must be given up, with all Instances.
    The least UID describes a new Study or Series, as the log has no order in a batch; the first one
    does with `in_order`.
    """
    return (await _add(connection, tenant_id, actor, new, in_order=in_order))[0]


async def add_to_known(
    index: Index, tenant_id: int, actor: str, new: Sequence[NewInstance]
) -> list[Added] | None:
    """Add Instances to a Series that was met before, as `add_instances` does but in one statement.

    Nothing is locked beforehand, so this is for one Series alone; and for Instances that agree with
    it, since conflicts are kept in the transaction that finds them. None: it cannot be done so.
    """
    name = _series_name(new[0])
    known = index.known.get(key := (tenant_id, *name))
    if not isinstance(known, Parents) or not all(_agrees(one, name, known) for one in new):
        return None
    index.known.move_to_end(key)
    first = _first(new, lambda one: one.ref.instance)
    try:
        async with index.at_once() as connection:
            added = await _insert(connection, tenant_id, actor, first, known, alone=True)
            if len(added) < len(first) and await connection.fetchrow(CHOSEN, tenant_id) is not None:
                index.known.clear()
                return None
            return await _results(connection, tenant_id, new, {id(first[uid]) for uid in added})
    except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError, TryAgain):
        index.known.pop(key, None)  # the Series was removed, or changes meanwhile
        return None


def _agrees(one: NewInstance, name: SeriesName, known: Parents) -> bool:
    return (
        _series_name(one) == name
        and study_document(one.scanned.fragments) == known.studies[name[0]].document
        and series_document(one.scanned.fragments) == known.series[name].document
    )


async def _add(
    connection: Connection,
    tenant_id: int,
    actor: str,
    new: Sequence[NewInstance],
    *,
    in_order: bool = False,
) -> tuple[list[Added], Parents]:
    if not new:
        return [], Parents({}, {})
    first = _first(new, lambda one: one.ref.instance)
    heads = _first((first[uid] for uid in (first if in_order else sorted(first))), _series_name)
    scanned = {name: one.scanned for name, one in heads.items()}
    parents = await find_parents(connection, tenant_id, scanned)
    added = await _insert(connection, tenant_id, actor, first, parents)
    for uid in added:
        _note_gain(first[uid], parents)
    await settle_parents(connection, parents)
    await _write_values(connection, tenant_id, added.values(), parents)
    fresh = {id(first[uid]) for uid in added}
    return await _results(connection, tenant_id, new, fresh), parents


async def _results(
    connection: Connection, tenant_id: int, new: Sequence[NewInstance], fresh: Collection[int]
) -> list[Added]:
    """Return what became of each; `fresh` has the ids of the objects in `new` that were added."""
    others = {one.ref.instance for one in new if id(one) not in fresh}
    present = await find_present(connection, tenant_id, others) if others else {}
    return [None if id(one) in fresh else present[one.ref.instance] for one in new]


def _series_name(one: NewInstance) -> SeriesName:
    return one.ref.study, one.ref.series


def _first(
    new: Iterable[NewInstance], name: Callable[[NewInstance], _Name]
) -> dict[_Name, NewInstance]:
    """Return the first Instance of each name, in the order they came."""
    first: dict[_Name, NewInstance] = {}
    for one in new:
        first.setdefault(name(one), one)
    return first


async def _insert(
    connection: Connection,
    tenant_id: int,
    actor: str,
    new: Mapping[str, NewInstance],
    parents: Parents,
    *,
    alone: bool = False,
) -> dict[str, int]:
    """Insert Instances, count and log them; return UIDs and keys of those that were not there."""
    rows = [_row(one, *_of(one, parents)) for _, one in sorted(new.items())]
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    values = rows[0] if len(rows) == 1 else columns
    statement = _STATEMENTS[alone, len(rows) == 1]
    about = (tenant_id, DERIVED_VERSION, actor, next(iter(new.values())).source)
    back = await connection.fetch(statement, *about, *values)
    return {row["sop_instance_uid"]: row["id"] for row in back}


async def _write_values(
    connection: Connection, tenant_id: int, keys: Iterable[int], parents: Parents
) -> None:
    """Write what the index keeps of the chosen attributes of new rows."""
    indexed = await load_written(connection, tenant_id)
    if not indexed:
        return
    parents.written = True
    for level, rows in ((Level.STUDY, parents.studies), (Level.SERIES, parents.series)):
        made = [row.key for row in rows.values() if row.created and row.gained]
        await write_values(connection, tenant_id, indexed, level, made)
    await write_values(connection, tenant_id, indexed, Level.INSTANCE, list(keys))


def _row(one: NewInstance, study: Parent, series: Parent) -> tuple[object, ...]:
    packed = metadata_packer(series.dictionary)(one.scanned.metadata)
    return instance_row(one, study.key, series.key, packed)


def instance_row(
    one: NewInstance, study_key: int, series_key: int, packed: bytes
) -> tuple[object, ...]:
    """Return the values of `COLUMNS`, in their order; `packed` is the Metadata."""
    scanned, frames = one.scanned, one.scanned.frames
    searched = instance_values(scanned.fragments)
    return (
        study_key,
        series_key,
        one.ref.instance,
        *(searched.get(name) for name in SEARCHED),
        scanned.transfer_syntax_uid,
        one.object_key,
        one.size,
        one.sha256,
        one.dataset_sha256,
        scanned.dataset_offset,
        frames.kind,
        frames.count,
        frames.offset,
        frames.length,
        frames.table,
        pack_bulk_values(scanned.bulk_values),
        packed,
    )


def _of(one: NewInstance, parents: Parents) -> tuple[Parent, Parent]:
    return parents.studies[one.ref.study], parents.series[_series_name(one)]


def _note_gain(one: NewInstance, parents: Parents) -> None:
    uid, fragments, (study, series) = one.ref.instance, one.scanned.fragments, _of(one, parents)
    study.gain(uid, study_document(fragments))
    series.gain(uid, series_document(fragments))
