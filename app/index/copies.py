"""The queue of copies: what has to be done about the objects of each store (`copies_tables`).

Whoever takes tasks claims them for a while and renews that; the claim of one who dies runs out.
A task that fails is tried again later and later, without an end: those that failed often are told
of (`dead`), and wait for somebody to mend what is in their way.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.index.engine import Index
from app.index.kept import TABLES
from app.index.quarantine import QUARANTINE

CLAIM_SECONDS = 180
LONGEST_SECONDS = 3600
DEAD_TRIES = 12
PAGE = 2000

_ADD = """
INSERT INTO copy_task (kind, store, object_key)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING
"""
_CLAIM = f"""
UPDATE copy_task SET tries = tries + 1, next_try = now() + interval '{CLAIM_SECONDS} seconds'
WHERE id IN (SELECT id FROM copy_task WHERE store = $1 AND next_try <= now()
    ORDER BY next_try LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, store, object_key, tries
"""  # noqa: S608 - a number of ours, as below
_RENEW = f"""
UPDATE copy_task SET next_try = now() + interval '{CLAIM_SECONDS} seconds' WHERE id = ANY($1)
"""  # noqa: S608
_FAIL = f"""
UPDATE copy_task SET last_error = $2, next_try = now()
    + least({LONGEST_SECONDS}, power(2, least(tries, 20))) * interval '1 second'
WHERE id = $1
"""  # noqa: S608
_IS_QUEUED = "SELECT FROM copy_task WHERE store = $1 AND object_key = $2 AND kind = 'copy'"
_FILL = """
WITH page AS (
    SELECT id, object_key FROM {table} WHERE id > $2 ORDER BY id LIMIT $3
), queued AS (
    INSERT INTO copy_task (kind, store, object_key)
    SELECT 'copy', $1, object_key FROM page WHERE NOT starts_with(object_key, '{quarantine}')
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT max(id) FROM page) AS last, (SELECT count(*) FROM queued) AS queued
"""
_FILL_LOG = """
WITH page AS (
    SELECT number, object_key FROM segment WHERE number > $2
    ORDER BY number FETCH FIRST ($3) ROWS WITH TIES
), queued AS (
    INSERT INTO copy_task (kind, store, object_key) SELECT 'copy', $1, object_key FROM page
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT max(number) FROM page) AS last, (SELECT count(*) FROM queued) AS queued
"""
_FILLED = """
INSERT INTO scrubbed_store (name, filled) VALUES ($1, true)
ON CONFLICT (name) DO UPDATE SET filled = true
"""
_IS_FILLED = "SELECT FROM scrubbed_store WHERE name = $1 AND filled"
_QUEUES = f"""
SELECT store, count(*) AS waiting, min(queued_at) AS oldest,
    count(*) FILTER (WHERE tries >= {DEAD_TRIES}) AS dead,
    coalesce((array_agg(last_error ORDER BY tries DESC))[1], '') AS last_error
FROM copy_task GROUP BY store ORDER BY store
"""  # noqa: S608


_BEGIN = f"""
INSERT INTO copy_task (kind, store, object_key, next_try)
VALUES ('abort', $1, $2, now() + interval '{CLAIM_SECONDS} seconds') RETURNING id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Task:
    """What has to be done: `copy`, `remove` or `repair` an object, or `abort` its upload."""

    id: int
    kind: str
    store: str
    object_key: str
    tries: int


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a store. `oldest` is when the first of it was queued."""

    store: str
    waiting: int
    oldest: datetime
    dead: int
    last_error: str


async def add_tasks(index: Index, tasks: Collection[tuple[str, str, str]]) -> None:
    """Queue tasks, each a kind, a store and a key; one that waits already is the same.

    Raises:
        Unavailable: the index does not answer.
    """
    kinds, stores, keys = (list(column) for column in zip(*tasks, strict=True))
    await index.fetch(_ADD, kinds, stores, keys)


async def claim_tasks(index: Index, store: str, most: int) -> list[Task]:
    """Return tasks of a store whose time has come; they are the caller's for `CLAIM_SECONDS`.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Task(*row) for row in await index.fetch(_CLAIM, store, most)]


async def begin_upload(index: Index, store: str, key: str) -> int:
    """Record that an upload goes on for `CLAIM_SECONDS`; return the record's number.

    Raises:
        Unavailable: the index does not answer.
    """
    row: Any = await index.fetchrow(_BEGIN, store, key)
    return int(row[0])


async def end_upload(index: Index, number: int) -> bool:
    """Remove the record of an upload that came to its end; False if it was given up meanwhile."""
    statement = "DELETE FROM copy_task WHERE id = $1 RETURNING id"
    return await index.fetchrow(statement, number) is not None


async def give_up_upload(index: Index, number: int) -> None:
    """Leave what there is of an upload to whoever does tasks, at once."""
    await index.fetch("UPDATE copy_task SET next_try = now() WHERE id = $1", number)


async def renew_claim(index: Index, ids: Iterable[int]) -> None:
    """Keep claimed tasks for another `CLAIM_SECONDS`."""
    await index.fetch(_RENEW, list(ids))


async def end_task(index: Index, task: Task) -> None:
    """Take a task that is done out of the queue."""
    await index.fetch("DELETE FROM copy_task WHERE id = $1", task.id)


async def put_task_off(index: Index, task: Task, why: str) -> None:
    """Leave a task that failed for later."""
    await index.fetch(_FAIL, task.id, why[:500])


async def is_copy_queued(index: Index, store: str, key: str) -> bool:
    """Say whether an object is still to be copied to a store."""
    return await index.fetchrow(_IS_QUEUED, store, key) is not None


async def is_filled(index: Index, store: str) -> bool:
    """Say whether all that was stored before a copy came was queued for it."""
    return await index.fetchrow(_IS_FILLED, store) is not None


async def is_known(index: Index, store: str) -> bool:
    """Say whether a copy was filled or looked through before, so that it has to be there.

    Raises:
        Unavailable: the index does not answer.
    """
    known = "SELECT FROM scrubbed_store WHERE name = $1"
    return await index.fetchrow(known, store) is not None


async def list_known(index: Index) -> frozenset[str]:
    """Return the names of all stores that were filled or looked through before.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch("SELECT name FROM scrubbed_store")
    return frozenset(row["name"] for row in rows)


async def fill(index: Index, store: str) -> int:
    """Queue the copies of all that is kept, and of the log, to a store.

    Return how many were not queued yet.

    Raises:
        Unavailable: the index does not answer; what was queued stays so.
    """
    count = 0
    of_objects = (_FILL.format(table=table, quarantine=QUARANTINE) for table in TABLES)
    for statement in (*of_objects, _FILL_LOG):
        last = 0
        while True:
            row: Any = await index.fetchrow(statement, store, last, PAGE)
            count += row["queued"]
            if row["last"] is None:
                break
            last = row["last"]
    await index.fetch(_FILLED, store)
    return count


async def list_queues(index: Index) -> list[Queue]:
    """Return what waits, by store.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Queue(*row) for row in await index.fetch(_QUEUES)]
