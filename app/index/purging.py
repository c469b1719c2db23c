"""Forget what was deleted long ago: its row goes, in one transaction with a fact in the log.

Rejected Instances stay: their rows say that they may not be stored again. So does what belongs to a
Study under legal hold, whenever the hold was put on it. With the last of a Study its labels go.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.errors import Unavailable
from app.index.dump import LOCK as BACKUP
from app.index.engine import Index
from app.index.events import log_event
from app.index.holds import share_locks
from app.index.labels import forget_labels, lock_labels
from app.index.pool import Connection
from app.index.removal import DELETED

PAGE = 100
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_COLUMNS = "id, tenant_id, {study} AS study, sop_instance_uid, object_key, size, removed_at"
_LIST = """
SELECT {columns} FROM {table} WHERE (removed_at, id) > ($1, $2) AND removed_at < $3 AND {deleted}
ORDER BY removed_at, id LIMIT $4
"""
_TAKE = """
DELETE FROM {table} WHERE id = ANY($1) AND removed_at < $2 AND {deleted} RETURNING {columns}
"""
_NOT_HELD = """NOT EXISTS (
    SELECT FROM hold WHERE hold.tenant_id = removed_instance.tenant_id
        AND hold.study_instance_uid = removed_instance.study_instance_uid)
"""
TABLES = {
    "removed_instance": ("study_instance_uid", f"reason = '{DELETED}' AND {_NOT_HELD}"),
    "removed_non_patient_instance": ("''", "true"),
}
WAITING = f"""
SELECT coalesce(sum(instances), 0)::bigint AS instances, coalesce(sum(bytes), 0)::bigint AS bytes
FROM (
    SELECT count(*) AS instances, sum(size) AS bytes FROM removed_instance
    WHERE reason = '{DELETED}'
    UNION ALL
    SELECT count(*), sum(size) FROM removed_non_patient_instance
) AS waiting
"""  # noqa: S608 - our own name


@dataclass(frozen=True, slots=True)
class Deleted:
    """An Instance that is deleted; `study` is '' for one of no Patient. `size` in bytes."""

    table: str
    id: int
    tenant_id: int
    study: str
    instance: str
    object_key: str
    size: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much is deleted and not purged, held or not."""

    instances: int
    bytes: int


async def count_waiting(index: Index) -> Waiting:
    """Return how much waits for a purge, of all tenants.

    Raises:
        Unavailable: the index does not answer.
    """
    (row,) = await index.search(WAITING)
    return Waiting(**row)


async def list_deleted(
    index: Index, table: str, before: datetime, after: Deleted | None = None
) -> list[Deleted]:
    """Return a page of what was deleted `before` and comes `after` one, the oldest first.

    What is held is left out.

    Raises:
        Unavailable: the index does not answer.
    """
    place = (after.at, after.id) if after else (BEGINNING, 0)
    rows = await index.fetch(_statement(_LIST, table), *place, before, PAGE)
    return [_deleted(table, row) for row in rows]


async def forget_deleted(
    index: Index, table: str, before: datetime, page: Sequence[Deleted], actor: str
) -> list[Deleted]:
    """Remove the rows of a page that are deleted still and not held, and log it; return those.

    Their objects have no name any more: the caller removes them after this.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.retrying(lambda it: forget(it, table, before, page, actor))


async def forget(
    connection: Connection, table: str, before: datetime, page: Sequence[Deleted], actor: str
) -> list[Deleted]:
    """Do as `forget_deleted`, in the caller's transaction."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock_shared($1)", BACKUP):
        raise Unavailable("a backup is being made, which needs what is deleted")
    studies = {(one.tenant_id, one.study) for one in page if one.study}
    if studies:
        await share_locks(connection, studies)
        await lock_labels(connection, studies)
    rows = await connection.fetch(_statement(_TAKE, table), [one.id for one in page], before)
    logged: dict[tuple[int, str], list[str]] = defaultdict(list)
    for row in rows:
        logged[row["tenant_id"], row["study"]].append(row["sop_instance_uid"])
    for (tenant_id, study), uids in logged.items():
        payload = {**({"study": study} if study else {}), "instances": uids}
        await log_event(connection, tenant_id, "purged", actor, payload)
    if studies:
        await forget_labels(connection, studies, actor)
    return [_deleted(table, row) for row in rows]


def _statement(text: str, table: str) -> str:
    study, deleted = TABLES[table]
    return text.format(table=table, deleted=deleted, columns=_COLUMNS.format(study=study))


def _deleted(table: str, row: Any) -> Deleted:
    identity = (row["id"], row["tenant_id"], row["study"], row["sop_instance_uid"])
    return Deleted(table, *identity, row["object_key"], row["size"], row["removed_at"])
