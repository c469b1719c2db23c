"""Add Instances to the index with their parents, counters and the event, in one transaction.

How a batch is added, in statements:

1. the Studies' rows are locked and the Series' looked up by one statement; what is missing is
   made (`parents.find_parents`);
2. one statement inserts all Instances, ON CONFLICT DO NOTHING, raises counters and versions by the
   rows that really were inserted, and logs them in `event` and `tally`;
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
from app.errors import ArchiveError, InvalidDataset, InvalidRequest
from app.index.access import visible_arguments
from app.index.add_rows import CHOSEN, SEARCHED, STATEMENTS, Alone
from app.index.admission import (
    NOT_ADMITTED,
    Admission,
    admitted_only,
    label_new_studies,
    refused_studies,
)
from app.index.attribute_values import load_written, write_values
from app.index.engine import Index
from app.index.faults import TryAgain
from app.index.frames import pack_bulk_values
from app.index.packing import metadata_packer
from app.index.parents import Parent, Parents, SeriesName, find_parents, settle_parents
from app.index.pool import Connection
from app.index.present import Present, find_present

_log = logging.getLogger(__name__)

_Name = TypeVar("_Name", str, SeriesName)

MOST_KNOWN = 64
"""Series that are remembered between batches."""


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An Instance whose object is durable under `object_key`."""

    ref: InstanceRef
    scanned: ScannedInstance
    object_key: str
    size: int
    sha256: bytes
    dataset_sha256: bytes


Added: TypeAlias = Present | InvalidDataset | None
"""What became of one: None if added, else what is there already, or why it may not be in."""


async def add_each_instance(
    index: Index,
    tenant_id: int,
    actor: str,
    new: Sequence[NewInstance],
    under: Admission | None = None,
) -> list[Added]:
    """Add Instances in as few transactions as it takes for each to stand or fall alone.

    The answers are those of `add_instances`, and `InvalidDataset` for one that cannot be indexed,
    or that may not come in `under` these terms.
    When this raises, those of an earlier half may be in: adding them again finds them `Present`.

    Raises:
        Unavailable: the index does not answer.
        StorageFull: it has no room left.
    """
    if not new:
        return []
    try:
        at_once = await add_to_known(index, tenant_id, actor, new, under)
        if at_once is not None:
            return [*at_once]
        results, parents = await index.retrying(
            lambda it: _add(it, tenant_id, actor, new, under=under)
        )
        _remember(index, tenant_id, parents)
        return [*results]
    except Exception as error:
        if isinstance(error, ArchiveError) and not isinstance(error, InvalidRequest):
            raise
        if len(new) == 1:
            # where it happened, but not its message: that may quote a patient's name
            said = type(error).__name__, "".join(format_tb(error.__traceback__))
            _log.error("Instance %s cannot be indexed: %s\n%s", new[0].ref.instance, *said)
            return [InvalidDataset("The index cannot hold a value of this Instance", 0x0110)]
    half = len(new) // 2
    return [
        *await add_each_instance(index, tenant_id, actor, new[:half], under),
        *await add_each_instance(index, tenant_id, actor, new[half:], under),
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
    index: Index,
    tenant_id: int,
    actor: str,
    new: Sequence[NewInstance],
    under: Admission | None = None,
) -> list[Added] | None:
    """Add Instances to a Series that was met before, as `add_instances` does but in one statement.

    Nothing is locked beforehand, so this is for one Series alone; and for Instances that agree with
    it, since conflicts are kept in the transaction that finds them. None: it cannot be done so; if
    it is not of the sender's scope, nothing is added, and the transaction says so.
    """
    name = _series_name(new[0])
    known = index.known.get(key := (tenant_id, *name))
    if not isinstance(known, Parents) or not all(_agrees(one, name, known) for one in new):
        return None
    index.known.move_to_end(key)
    first = _first(new, lambda one: one.ref.instance)
    try:
        async with index.at_once() as connection:
            alone = under or Admission()
            added = await _insert(connection, tenant_id, actor, first, known, alone)
            if len(added) < len(first) and await connection.fetchrow(CHOSEN, tenant_id) is not None:
                index.known.clear()
                return None
            if not added and not alone.scope.is_whole:
                return None
            fresh = {id(first[uid]) for uid in added}
            results = await _results(connection, tenant_id, new, fresh)
            return await admitted_only(connection, under, {name[0]}, results)
    except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError, TryAgain):
        index.known.pop(key, None)  # the Series was removed, or changes meanwhile
        return None


def _agrees(one: NewInstance, name: SeriesName, known: Parents) -> bool:
    return (
        _series_name(one) == name
        and study_document(one.scanned.fragments) == known.studies[name[0]].document
        and series_document(one.scanned.fragments) == known.series[name].document
    )


def _remember(index: Index, tenant_id: int, parents: Parents) -> None:
    if parents.written:
        return
    for name, series in parents.series.items():
        if series.gained:
            studies = {name[0]: parents.studies[name[0]]}
            index.known[tenant_id, *name] = Parents(studies, {name: series})
    while len(index.known) > MOST_KNOWN:
        index.known.popitem(last=False)


async def _add(
    connection: Connection,
    tenant_id: int,
    actor: str,
    new: Sequence[NewInstance],
    *,
    in_order: bool = False,
    under: Admission | None = None,
) -> tuple[list[Added], Parents]:
    if not new:
        return [], Parents({}, {})
    first = _first(new, lambda one: one.ref.instance)
    heads = _first((first[uid] for uid in (first if in_order else sorted(first))), _series_name)
    scanned = {name: one.scanned for name, one in heads.items()}
    parents = await find_parents(connection, tenant_id, scanned)
    if refused := await refused_studies(connection, under, parents):
        await settle_parents(connection, parents)
        rest = [one for one in new if one.ref.study not in refused]
        results, parents = await _add(connection, tenant_id, actor, rest, under=under)
        said = iter(results)
        return [NOT_ADMITTED if one.ref.study in refused else next(said) for one in new], parents
    added = await _insert(connection, tenant_id, actor, first, parents)
    for uid in added:
        _note_gain(first[uid], parents)
    await label_new_studies(connection, tenant_id, actor, under, parents, scanned)
    await settle_parents(connection, parents)
    await _write_values(connection, tenant_id, added.values(), parents)
    results = await _results(connection, tenant_id, new, {id(first[uid]) for uid in added})
    return await admitted_only(connection, under, parents.studies, results), parents


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
    alone: Admission | None = None,
) -> dict[str, int]:
    """Insert Instances, count and log them; return UIDs and keys of those that were not there.

    `alone`: there is no transaction, and the statement itself sees to these terms.
    """
    rows = [_row(one, *_of(one, parents)) for _, one in sorted(new.items())]
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    values = rows[0] if len(rows) == 1 else columns
    how = Alone.NO if alone is None else Alone.YES
    narrowing: tuple[object, ...] = ()
    if alone is not None and not alone.scope.is_whole:
        how, narrowing = Alone.VISIBLE, visible_arguments(alone.scope)[1:]
    statement = STATEMENTS[how, len(rows) == 1]
    back = await connection.fetch(statement, tenant_id, DERIVED_VERSION, actor, *values, *narrowing)
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
