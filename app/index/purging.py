"""Forget what was deleted long ago: its row goes, in one transaction with a fact in the log.

Rejected Instances stay: their rows say that they may not be stored again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.index.engine import Index
from app.index.pool import Connection
from app.index.removal import DELETED, LOG

PAGE = 500

_COLUMNS = "id, tenant_id, {study} AS study, sop_instance_uid, object_key, size"
_LIST = """
SELECT {columns} FROM {table} WHERE id > $1 AND removed_at < $2 AND {deleted} ORDER BY id LIMIT $3
"""
_TAKE = "DELETE FROM {table} WHERE id = ANY($1) AND {deleted} RETURNING {columns}"
TABLES = {
    "removed_instance": ("study_instance_uid", f"reason = '{DELETED}'"),
    "removed_non_patient_instance": ("''", "true"),
}


@dataclass(frozen=True, slots=True)
class Deleted:
    """An Instance that is deleted; `study` is '' for one of no Patient. `size` in bytes."""

    table: str
    id: int
    study: str
    instance: str
    object_key: str
    size: int


async def list_deleted(index: Index, table: str, before: datetime, after: int = 0) -> list[Deleted]:
    """Return a page of what was deleted `before` and comes `after` an id, in order of id.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_statement(_LIST, table), after, before, PAGE)
    return [_deleted(table, row) for row in rows]


async def forget_deleted(
    index: Index, table: str, page: Sequence[Deleted], actor: str
) -> list[Deleted]:
    """Remove the rows of a page that are deleted still, and log it; return those.

    Their objects have no name any more: the caller removes them after this.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.retrying(lambda it: _forget(it, table, page, actor))


async def _forget(
    connection: Connection, table: str, page: Sequence[Deleted], actor: str
) -> list[Deleted]:
    rows = await connection.fetch(_statement(_TAKE, table), [one.id for one in page])
    logged: dict[tuple[int, str], list[str]] = defaultdict(list)
    for row in rows:
        logged[row["tenant_id"], row["study"]].append(row["sop_instance_uid"])
    for (tenant_id, study), uids in logged.items():
        payload = {**({"study": study} if study else {}), "instances": uids}
        await connection.fetchval(LOG, tenant_id, "purged", actor, orjson.dumps(payload).decode())
    return [_deleted(table, row) for row in rows]


def _statement(text: str, table: str) -> str:
    study, deleted = TABLES[table]
    return text.format(table=table, deleted=deleted, columns=_COLUMNS.format(study=study))


def _deleted(table: str, row: Any) -> Deleted:
    identity = (row["id"], row["study"], row["sop_instance_uid"])
    return Deleted(table, *identity, row["object_key"], row["size"])
