"""Take Instances out of the index, and bring rejected ones back, each in one transaction.

What is removed moves to `removed_instance` with everything that was known of it, so that live
queries never filter; its object stays. Counters follow, empty Series and Studies vanish. Where the
Instance that a Study or Series was described by is among them, it is described anew, by the first
one that is left.

Locks are taken as by those who add: the Study, its Instances, `tally`, Patients. Before them come
shared ones on retention rules and on holds of the Study.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson

from app.dicom.attributes import Level, series_values, study_values
from app.dicom.scanned import FrameKind, Frames, ScannedInstance
from app.dicom.uids import InstanceRef, Ref, SeriesRef, StudyRef
from app.errors import NotFound
from app.index.absence import REJECTED, SERIES_OF_KEY, absence
from app.index.access import INSTANCE, SERIES, STUDY, VISIBLE, covers, reference_arguments
from app.index.add_rows import COLUMNS, TALLY_SLOTS
from app.index.attribute_values import load_written, remove_values, write_values
from app.index.engine import Index
from app.index.events import log_event
from app.index.frames import unpack_bulk_values
from app.index.holds import refuse_held
from app.index.instances import NewInstance, add_instances
from app.index.keeping import refuse_kept, refuse_kept_rejected, share_rules
from app.index.packing import make_dictionary, metadata_packer, unpack_metadata
from app.index.parents import COUNT_STUDIES, find_patients
from app.index.pool import Connection
from app.rights import Scope

PAGE = 500
DELETED = "deleted"

Guard: TypeAlias = Callable[[str, datetime | None], None]
"""Is told the version and the date of what is about to be removed, and raises if it must not be.
The version is '' and there is no date if nothing but what was rejected is left."""

LOCK = f"""
SELECT study.id, patient_key, patient_id, issuer_of_patient_id FROM study
WHERE {VISIBLE} AND study_instance_uid = $3 FOR UPDATE
"""  # noqa: S608 - our own text, as below

_LIST = """
SELECT instance.id, series_key FROM instance JOIN series ON series.id = series_key
WHERE instance.study_key = $1
"""
LIST = {
    StudyRef: f"{_LIST} ORDER BY 1",
    SeriesRef: f"{_LIST} AND series_instance_uid = $2 ORDER BY 1",
    InstanceRef: f"{_LIST} AND series_instance_uid = $2 AND sop_instance_uid = $3 ORDER BY 1",
}

LOAD = """
SELECT instance.id, series_key, series_instance_uid, sop_instance_uid, sha256, instance.size,
    metadata, metadata_dictionary
FROM instance JOIN series ON series.id = series_key WHERE instance.id = ANY($1)
"""

_KEPT = [name for name in COLUMNS if name not in {"study_key", "series_key", "metadata"}]
_KEPT += ["base_offset", "derived_version", "stored_at"]
_NAMES = ", ".join(_KEPT)
_VALUES = ", ".join(f"instance.{name}" for name in _KEPT)

MOVE = f"""
WITH gone AS (
    INSERT INTO removed_instance (id, tenant_id, study_instance_uid, series_instance_uid, metadata,
        reason, event_id, {_NAMES})
    SELECT instance.id, instance.tenant_id, $3, series_instance_uid, packed, $4, $5, {_VALUES}
    FROM unnest($1::bigint[], $2::bytea[]) AS page (key, packed)
    JOIN instance ON instance.id = key JOIN series ON series.id = series_key
    RETURNING id
)
DELETE FROM instance WHERE id IN (SELECT id FROM gone)
"""  # noqa: S608

GUARDED = {
    StudyRef: f"SELECT study.id, study.version, study.updated_at {STUDY}",
    SeriesRef: f"SELECT series.id, series.version, series.updated_at {SERIES}",
    InstanceRef: f"SELECT instance.id, derived_version, instance.stored_at {INSTANCE}",
}

COUNT_SERIES = """
UPDATE series SET version = version + 1, updated_at = now(),
    conflicts = nullif(conflicts - $2::text[], '{}'),
    number_of_instances = (SELECT count(*) FROM instance WHERE series_key = series.id),
    sop_classes = ARRAY(
        SELECT DISTINCT sop_class_uid FROM instance WHERE series_key = series.id ORDER BY 1)
WHERE id = ANY($1)
"""
DELETE_SERIES = """
DELETE FROM series WHERE id = ANY($1) AND number_of_instances = 0 RETURNING id
"""
COUNT_STUDY = """
UPDATE study SET version = version + 1, updated_at = now(),
    conflicts = nullif(conflicts - $2::text[], '{}'),
    number_of_series = (SELECT count(*) FROM series WHERE study_key = study.id),
    (number_of_instances, size) =
        (SELECT count(*), coalesce(sum(size), 0) FROM instance WHERE study_key = study.id),
    modalities = ARRAY(SELECT DISTINCT modality FROM series
        WHERE study_key = study.id AND modality <> '' ORDER BY 1),
    sop_classes = ARRAY(
        SELECT DISTINCT unnest(sop_classes) FROM series WHERE study_key = study.id ORDER BY 1)
WHERE id = $1 RETURNING number_of_instances
"""
DELETE_STUDY = "DELETE FROM study WHERE id = $1"

FIRST_OF_STUDY = "SELECT min(id) FROM instance WHERE study_key = $1"
FIRST_OF_SERIES = """
SELECT series_key, min(id) AS first FROM instance WHERE series_key = ANY($1) GROUP BY 1
"""

SUBTRACT = f"""
INSERT INTO tally (tenant_id, slot, studies, series, instances, bytes)
VALUES ($1, pg_backend_pid() % {TALLY_SLOTS}, -$2::bigint, -$3::bigint, -$4::bigint, -$5::bigint)
ON CONFLICT (tenant_id, slot) DO UPDATE SET studies = tally.studies + excluded.studies,
    series = tally.series + excluded.series, instances = tally.instances + excluded.instances,
    bytes = tally.bytes + excluded.bytes
"""  # noqa: S608

FIND_REJECTED = f"""
SELECT id, series_instance_uid, sop_instance_uid, sha256, metadata, stored_at
FROM removed_instance
WHERE tenant_id = $1 AND study_instance_uid = $2 AND starts_with(reason, '{REJECTED}')
    AND ($3::text IS NULL OR series_instance_uid = $3)
    AND ($4::text IS NULL OR sop_instance_uid = $4)
ORDER BY id LIMIT {PAGE} FOR UPDATE
"""  # noqa: S608
TAKE = "DELETE FROM removed_instance WHERE id = ANY($1) RETURNING *"
GIVE_UP = """
UPDATE removed_instance SET reason = $2, event_id = $3, removed_at = now() WHERE id = ANY($1)
"""
GIVE_UP_LOST = f"""
DELETE FROM finding WHERE tenant_id = $1 AND study_instance_uid = $2 AND state = 'lost'
    AND ($3::text IS NULL OR {SERIES_OF_KEY} = $3)
    AND ($4::text IS NULL OR sop_instance_uid = $4)
RETURNING sop_instance_uid
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Removal:
    """The rows that one removal takes away; `series` are those that lose any."""

    keys: list[int]
    series: list[int]

    async def take(
        self, connection: Connection, scope: Scope, study: str, actor: str, reason: str
    ) -> tuple[list[str], int]:
        """Log and move them, a page at a time; return their UIDs, and their size in bytes."""
        uids, size = [], 0
        for start in range(0, len(self.keys), PAGE):
            keys = self.keys[start : start + PAGE]
            page = await connection.fetch(LOAD, keys)
            event = await _log(connection, scope.tenant_id, study, actor, reason, page)
            await _move(connection, page, study, reason, event)
            await remove_values(connection, scope.tenant_id, Level.INSTANCE, keys)
            uids += [row["sop_instance_uid"] for row in page]
            size += sum(row["size"] for row in page)
        return uids, size


async def remove_instances(
    index: Index, scope: Scope, ref: Ref, actor: str, reason: str, guard: Guard
) -> int:
    """Remove a Study, a Series or an Instance; return how many Instances that were.

    `reason` is `DELETED`, or begins with `REJECTED`: such ones may not be stored again until they
    are brought back or deleted, too.

    Raises:
        Changed: the guard does not let it.
        Conflict: the Study is held, or a rule keeps it from being deleted.
        NotFound, Gone: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    index.known.clear()
    count = await index.retrying(lambda it: remove(it, scope, ref, actor, reason, guard))
    if not count:
        raise await absence(index, scope, ref)
    return count


async def restore_rejected(index: Index, scope: Scope, ref: Ref, actor: str) -> int:
    """Bring back what was rejected of a Study, Series or Instance; return how many Instances.

    Raises:
        NotFound: nothing of it is rejected, or the scope does not cover it.
        Unavailable: the index does not answer.
    """
    total = 0
    while True:
        count = await index.retrying(lambda it: _restore(it, scope, ref, actor))
        total += count
        if count < PAGE:
            break
    if not total:
        raise NotFound("A rejected Instance of", ref.study)
    return total


async def remove(
    connection: Connection, scope: Scope, ref: Ref, actor: str, reason: str, guard: Guard
) -> int:
    """Remove as `remove_instances` does, in the caller's transaction; 0 if there is nothing."""
    if not await covers(connection, scope, ref.study):
        return 0
    await share_rules(connection, scope.tenant_id)
    await refuse_held(connection, scope.tenant_id, ref.study)
    arguments = reference_arguments(scope, ref)
    study = await connection.fetchrow(LOCK, *arguments[:3])
    rows = await connection.fetch(LIST[type(ref)], study["id"], *arguments[3:]) if study else []
    if rows:
        ((key, version, modified),) = await connection.fetch(GUARDED[type(ref)], *arguments)
        guard(f"{key}.{version}", modified)
        if reason == DELETED:
            await refuse_kept(connection, scope.tenant_id, ref.study)
        await _remove_rows(connection, scope, ref, (actor, reason), study, rows)
    if reason != DELETED:
        return len(rows)
    given_up = await _give_up_rejected(connection, scope.tenant_id, ref, actor)
    given_up += await _give_up_lost(connection, scope.tenant_id, ref, actor)
    if given_up and not rows:
        guard("", None)
    return len(rows) + given_up


async def _give_up_rejected(connection: Connection, tenant_id: int, ref: Ref, actor: str) -> int:
    """Delete what was rejected, so that it may be stored again; return how many Instances."""
    total = 0
    while page := await connection.fetch(FIND_REJECTED, tenant_id, ref.study, *below(ref)):
        await refuse_kept_rejected(connection, tenant_id, ref.study, page)
        event = await _log(connection, tenant_id, ref.study, actor, DELETED, page)
        await connection.execute(GIVE_UP, [row["id"] for row in page], DELETED, event)
        total += len(page)
    return total


async def _give_up_lost(connection: Connection, tenant_id: int, ref: Ref, actor: str) -> int:
    """Delete what a rebuild found nowhere, so that none looks for it; return how many Instances."""
    lost = await connection.fetch(GIVE_UP_LOST, tenant_id, ref.study, *below(ref))
    if lost:
        await refuse_kept(connection, tenant_id, ref.study)
        uids = [row["sop_instance_uid"] for row in lost]
        payload = {"study": ref.study, "instances": uids, "reason": DELETED}
        await log_event(connection, tenant_id, "removed", actor, payload)
    return len(lost)


def below(ref: Ref) -> tuple[str | None, str | None]:
    """Return the UIDs of the Series and the Instance that a reference names."""
    series = ref.series if isinstance(ref, SeriesRef | InstanceRef) else None
    return series, ref.instance if isinstance(ref, InstanceRef) else None


async def _remove_rows(
    connection: Connection,
    scope: Scope,
    ref: Ref,
    why: tuple[str, str],
    study: Any,
    rows: Sequence[Any],
) -> None:
    actor, reason = why
    removal = _Removal([row["id"] for row in rows], sorted({row["series_key"] for row in rows}))
    described_by = await connection.fetchval(FIRST_OF_STUDY, study["id"])
    firsts = {row["first"] for row in await connection.fetch(FIRST_OF_SERIES, removal.series)}
    uids, size = await removal.take(connection, scope, ref.study, actor, reason)
    gone = set(removal.keys)
    await connection.execute(COUNT_SERIES, removal.series, uids)
    emptied = [row["id"] for row in await connection.fetch(DELETE_SERIES, removal.series)]
    await remove_values(connection, scope.tenant_id, Level.SERIES, emptied)
    if firsts & gone:
        await _describe_series(connection, scope.tenant_id, removal.series)
    left = await connection.fetchval(COUNT_STUDY, study["id"], uids)
    totals = (int(not left), len(emptied), len(gone), size)
    await connection.execute(SUBTRACT, scope.tenant_id, *totals)
    if not left:
        await connection.execute(DELETE_STUDY, study["id"])
        await remove_values(connection, scope.tenant_id, Level.STUDY, [study["id"]])
        await connection.execute(COUNT_STUDIES, [study["patient_key"]], [-1])
    elif described_by in gone:
        await _describe_study(connection, scope.tenant_id, study)


async def _log(
    connection: Connection,
    tenant_id: int,
    study: str,
    actor: str,
    reason: str,
    page: Sequence[Any],
) -> int:
    """Log who removed what, and why; return the event's number."""
    series: dict[str, dict[str, str]] = {}
    for row in page:
        instances = series.setdefault(row["series_instance_uid"], {})
        instances[row["sop_instance_uid"]] = row["sha256"].hex()
    kind = "rejected" if reason.startswith(REJECTED) else "removed"
    payload = {"study": study, "series": series, "reason": reason}
    return await log_event(connection, tenant_id, kind, actor, payload)


async def _move(
    connection: Connection, page: Sequence[Any], study: str, reason: str, event: int
) -> None:
    """Move Instances, each with its Metadata packed by itself: its Series may be gone later."""
    pack = metadata_packer(make_dictionary(b""))
    packed = [pack(unpack_metadata(row["metadata_dictionary"], row["metadata"])) for row in page]
    await connection.execute(MOVE, [row["id"] for row in page], packed, study, reason, event)


async def _describe_series(connection: Connection, tenant_id: int, keys: Sequence[int]) -> None:
    """Describe those Series that are left by the first Instance that each has."""
    firsts = {
        row["series_key"]: row["first"] for row in await connection.fetch(FIRST_OF_SERIES, keys)
    }
    for key, first in firsts.items():
        await _update(connection, "series", key, series_values(await _load(connection, first)))
    indexed = await load_written(connection, tenant_id)
    await write_values(connection, tenant_id, indexed, Level.SERIES, list(firsts))


async def _describe_study(connection: Connection, tenant_id: int, study: Any) -> None:
    """Describe a Study by the first Instance that is left; it may be another Patient's."""
    first = await connection.fetchval(FIRST_OF_STUDY, study["id"])
    values = study_values(await _load(connection, first))
    patient = (str(values["patient_id"]), str(values["issuer_of_patient_id"]))
    if patient != (study["patient_id"], study["issuer_of_patient_id"]):
        found = (await find_patients(connection, tenant_id, [patient]))[patient]
        await connection.execute(COUNT_STUDIES, [study["patient_key"], found], [-1, 1])
        values["patient_key"] = found
    await _update(connection, "study", study["id"], values)
    indexed = await load_written(connection, tenant_id)
    await write_values(connection, tenant_id, indexed, Level.STUDY, [study["id"]])


async def _load(connection: Connection, key: int) -> dict[int, bytes]:
    (row,) = await connection.fetch(LOAD, [key])
    return dict(_fragments(unpack_metadata(row["metadata_dictionary"], row["metadata"])))


def _fragments(metadata: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the members of a JSON object as a scan makes them."""
    for tag, element in orjson.loads(metadata).items():
        yield int(tag, 16), b'"%b":%b' % (tag.encode(), orjson.dumps(element))


async def _update(
    connection: Connection, table: str, key: int, values: Mapping[str, object]
) -> None:
    places = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, start=2))
    statement = f"UPDATE {table} SET {places} WHERE id = $1"  # noqa: S608 - our own names
    await connection.execute(statement, key, *values.values())


async def _restore(connection: Connection, scope: Scope, ref: Ref, actor: str) -> int:
    if not await covers(connection, scope, ref.study):
        return 0
    tenant_id = scope.tenant_id
    found = await connection.fetch(FIND_REJECTED, tenant_id, ref.study, *below(ref))
    rows = await connection.fetch(TAKE, [row["id"] for row in found])
    if rows:
        uids = [row["sop_instance_uid"] for row in rows]
        payload = {"study": ref.study, "instances": uids}
        await log_event(connection, tenant_id, "restored", actor, payload)
        back = sorted(rows, key=lambda row: int(row["id"]))
        await add_instances(connection, tenant_id, actor, [as_new(row) for row in back])
    return len(rows)


def as_new(row: Any) -> NewInstance:
    """Return a removed Instance as if its object had just been put."""
    fragments = dict(_fragments(unpack_metadata(make_dictionary(b""), row["metadata"])))
    kind = FrameKind(row["frame_kind"])
    where = (row["frame_count"], row["frame_offset"], row["frame_length"], row["frame_table"])
    return NewInstance(
        ref=InstanceRef(
            row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
        ),
        scanned=ScannedInstance(
            transfer_syntax_uid=row["transfer_syntax_uid"],
            dataset_offset=row["dataset_offset"],
            fragments=fragments,
            bulk_values=unpack_bulk_values(row["bulk_values"]),
            frames=Frames(kind, *where),
        ),
        object_key=row["object_key"],
        size=row["size"],
        sha256=row["sha256"],
        dataset_sha256=row["dataset_sha256"],
    )
