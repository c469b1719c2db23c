"""What is wrong with objects, where it is not mended yet; and the moves that mend it.

An object is mended as one that comes again is: its bytes are put under a new key, and the row is
moved there. Where no store has them whole, the row goes to quarantine (`index.quarantine`). Each
move is a fact in the log, and ends the findings of the object in the same transaction.

An object that a rebuild finds nowhere whole has no row: what is described by damaged bytes would be
given out as good. So there is a finding alone, until its Instance is stored again or deleted; while
there is one, what is left of the bytes is not swept (`kept.NAMED`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from app.index.engine import Index, fetch_at
from app.index.events import log_event
from app.index.kept import TABLES, KeptObject
from app.index.pool import Connection
from app.index.quarantine import quarantined_key

QUARANTINED = "quarantined"
LOST = "lost"
"""Accepted, as the log says, and nowhere whole when the index was made anew: no row names it."""
PAGE = 500

_MOVE = """
UPDATE {table} SET object_key = $4, base_offset = $5
WHERE tenant_id = $1 AND sop_instance_uid = $2 AND object_key = $3 RETURNING id
"""
_END = "DELETE FROM finding WHERE object_key = $1"
_END_IN = "DELETE FROM finding WHERE object_key = $1 AND store = $2"
_END_BELOW = """
DELETE FROM finding
WHERE store = $1 AND starts_with(object_key, $2) AND object_key <> ALL($3::text[])
"""
_NOTE = """
INSERT INTO finding
    (tenant_id, store, object_key, study_instance_uid, sop_instance_uid, state, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (object_key, store) DO UPDATE SET state = excluded.state, detail = excluded.detail
"""
_END_LOST = f"""
DELETE FROM finding WHERE state = '{LOST}' AND EXISTS (
    SELECT FROM instance WHERE instance.tenant_id = finding.tenant_id
        AND instance.sop_instance_uid = finding.sop_instance_uid
    UNION ALL
    SELECT FROM non_patient_instance it WHERE it.tenant_id = finding.tenant_id
        AND it.sop_instance_uid = finding.sop_instance_uid)
"""  # noqa: S608 - our own word
_LIST = """
SELECT id, store, object_key, study_instance_uid, sop_instance_uid, state, detail, since
FROM finding WHERE ($1::integer IS NULL OR tenant_id = $1) AND id > $2
    AND ($3::text IS NULL OR state = $3)
ORDER BY id LIMIT $4
"""
_COUNT = "SELECT state, count(*) FROM finding GROUP BY state ORDER BY state"


@dataclass(frozen=True, slots=True)
class FoundFault:
    """What is wrong with an object in a store; `store` is '' where it is lost in all of them."""

    id: int
    store: str
    object_key: str
    study: str
    instance: str
    state: str
    detail: str
    since: datetime


async def note_fault(index: Index, kept: KeptObject, store: str, state: str, detail: str) -> None:
    """Note what is wrong with an object in a store; since when is kept.

    Raises:
        Unavailable: the index does not answer.
    """
    names = (kept.study, kept.instance)
    await index.fetch(_NOTE, kept.tenant_id, store, kept.key, *names, state, detail)


async def note_lost(
    index: Index, tenant_id: int, key: str, names: tuple[str, str], detail: str
) -> None:
    """Note that no store has an object whole that has no row; `names` are Study and Instance.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_NOTE, tenant_id, "", key, *names, LOST, detail)


async def note_segment(
    index: Index, tenant_id: int, store: str, key: str, state: str, detail: str
) -> None:
    """Note what is wrong with a segment of the log in a store; it is of no Instance.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_NOTE, tenant_id, store, key, "", "", state, detail)


async def end_below(index: Index, store: str, prefix: str, but: Collection[str]) -> None:
    """Forget of what was lost in a store under keys that begin with `prefix`, but of some keys.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_END_BELOW, store, prefix, list(but))


async def end_lost(index: Index) -> None:
    """Forget of lost objects whose Instances are here again.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_END_LOST)


async def end_faults(index: Index, key: str) -> None:
    """Forget what was wrong with an object: it is whole, or gone."""
    await index.fetch(_END, key)


async def end_fault(index: Index, store: str, key: str) -> None:
    """Forget what was wrong with an object in a store.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_END_IN, key, store)


async def list_faults(
    index: Index,
    tenant_id: int | None = None,
    after: int = 0,
    state: str | None = None,
    limit: int = PAGE,
) -> list[FoundFault]:
    """Return findings after one of them, of a tenant or of all, in the order of finding.

    Raises:
        Unavailable: the index does not answer.
    """
    return [FoundFault(*row) for row in await index.fetch(_LIST, tenant_id, after, state, limit)]


async def count_faults(index: Index) -> dict[str, int]:
    """Return how many findings there are of each state.

    Raises:
        Unavailable: the index does not answer.
    """
    return {row["state"]: row["count"] for row in await index.fetch(_COUNT)}


def faults_of(url: str) -> dict[str, int]:
    """Return how many findings there are of each state, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """

    return {row["state"]: row["count"] for row in fetch_at(url, _COUNT)}


async def move_object(index: Index, kept: KeptObject, key: str, actor: str) -> bool:
    """Let a row have another object, of the same bytes from its beginning; say whether it did.

    It does not if the row was changed or removed meanwhile.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.retrying(lambda it: _move(it, kept, (key, 0), "mended", actor))


async def quarantine(index: Index, kept: KeptObject, detail: str, actor: str) -> bool:
    """Put an object into quarantine; say whether a row named it still.

    Raises:
        Unavailable: the index does not answer.
    """
    place = (quarantined_key(kept.key), kept.base_offset)

    async def put(connection: Connection) -> bool:
        if kept.object_key != place[0] and not await _move(
            connection, kept, place, QUARANTINED, actor
        ):
            return False
        names = (kept.study, kept.instance)
        await connection.execute(_NOTE, kept.tenant_id, "", kept.key, *names, QUARANTINED, detail)
        return True

    return await index.retrying(put)


async def release(index: Index, kept: KeptObject, actor: str) -> bool:
    """Let a row name its object again, which is whole after all; say whether it did.

    Raises:
        Unavailable: the index does not answer.
    """
    place = (kept.key, kept.base_offset)
    return await index.retrying(lambda it: _move(it, kept, place, "recovered", actor))


async def _move(
    connection: Connection, kept: KeptObject, place: tuple[str, int], kind: str, actor: str
) -> bool:
    who = (kept.tenant_id, kept.instance, kept.object_key)
    for table in TABLES:
        if await connection.fetchval(_MOVE.format(table=table), *who, *place) is not None:
            break
    else:
        return False
    await connection.execute(_END, kept.key)
    attempt = place[0].rpartition(f"/{kept.instance}.")[2]
    payload = {
        **({"study": kept.study} if kept.study else {}),
        "instances": {kept.instance: [kept.sha256.hex(), attempt]},
    }
    await log_event(connection, kept.tenant_id, kind, actor, payload)
    return True
