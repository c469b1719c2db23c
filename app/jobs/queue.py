"""The queue of jobs: pgqueuer's tables and statements, over our own connections.

A job is queued in the transaction of what it follows from. Whoever takes it (FOR UPDATE SKIP
LOCKED) holds it as long as it gives signs of life; the jobs of one who died are another's after
`STALE_SECONDS`. Its end is written in one transaction with what follows from it, if it is held
still. So a job is done at least once; and its work should bear to be done again.

An entrypoint is `kind/name`. Jobs of one entrypoint are done one at a time over all processes, for
which pgqueuer keeps a unique slot; those of one kind are done by the same code (`running`).
"""

import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel, QueueEntrypoint, QueueManagerId
from pgqueuer.models import Job, TracebackRecord
from pgqueuer.queries import EntrypointExecutionParameter, Queries

from app.index.engine import Index, fetch_at
from app.index.pool import Connection

__all__ = ["Job"]

STALE_SECONDS = 30.0
"""Without a sign of life for so long, a job is another's."""
LOG_DAYS = 30
MOST_LANES = 100
Ending: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What is written in the transaction in which a job ends."""

NAMES = DBSettings(
    prefix="",
    db_schema=None,
    queue_table="job",
    queue_table_log="job_log",
    queue_status_type="job_status",
    statistics_table="job_statistics",
    schedules_table="job_schedule",
    function="job_changed",
    trigger="job_changed",
    channel=Channel("job"),
    durability=Durability.durable,
)
STATES = {"queued": "waiting", "picked": "running", "failed": "dead"}

_DUE = """
SELECT DISTINCT entrypoint FROM job
WHERE split_part(entrypoint, '/', 1) = ANY($1)
    AND (status = 'queued' AND execute_after < now()
        OR status = 'picked' AND heartbeat < now() - $2::interval)
LIMIT $3
"""
_HELD = """
SELECT true FROM job WHERE id = $1 AND queue_manager_id = $2 AND status = 'picked' FOR UPDATE
"""
_GIVE_BACK = """
UPDATE job SET status = 'queued', queue_manager_id = NULL, slot = NULL, updated = now()
WHERE queue_manager_id = $1 AND status = 'picked'
"""
_LIST = """
SELECT id, entrypoint, status::text AS state, attempts, created, execute_after AS due,
    coalesce((SELECT traceback ->> 'exception_message' FROM job_log
        WHERE job_id = job.id AND traceback IS NOT NULL
        ORDER BY job_log.created DESC, job_log.id DESC LIMIT 1), '') AS error
FROM job WHERE id > $1 AND (status = 'failed' OR NOT $2) ORDER BY id LIMIT $3
"""
_RETRY = """
UPDATE job SET status = 'queued', execute_after = now(), updated = now(), attempts = 0,
    queue_manager_id = NULL
WHERE (status = 'failed' OR status = 'queued' AND NOT $2) AND ($1::bigint[] IS NULL OR id = ANY($1))
RETURNING id
"""
_DISCARD = "DELETE FROM job WHERE id = $1 AND status = 'failed' RETURNING id"
_COUNT = """
SELECT count(*) FILTER (WHERE status <> 'failed') AS waiting,
    coalesce(extract(epoch FROM now() - min(created) FILTER (WHERE status <> 'failed')), 0)::float8
        AS oldest,
    count(*) FILTER (WHERE status = 'failed') AS dead
FROM job
"""
_FORGET = """
DELETE FROM job_log WHERE created < now() - make_interval(days => $1)
    AND NOT EXISTS (SELECT FROM job WHERE job.id = job_log.job_id)
"""


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A job as operators see it: `waiting` to be done at `due`, `running`, or `dead`."""

    id: int
    entrypoint: str
    state: str
    attempts: int
    created: datetime
    due: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs that are to be done, since how many seconds the oldest of them is, and dead ones."""

    waiting: int
    oldest: float
    dead: int


def statements(connection: Connection) -> Queries:
    """Return pgqueuer's statements on a connection, for our tables."""
    return Queries(
        AsyncpgDriver(connection),
        QueryBuilderEnvironment(NAMES),
        QueryQueueBuilder(NAMES),
        QuerySchedulerBuilder(NAMES),
    )


async def enqueue(connection: Connection, entrypoint: str, payload: bytes) -> int:
    """Queue a job in the connection's transaction; return its number."""
    (number,) = await statements(connection).enqueue(entrypoint, payload)
    return int(number)


async def clear(connection: Connection, entrypoint: str) -> None:
    """Take all jobs of an entrypoint out of the queue, dead ones too."""
    await statements(connection).clear_queue(entrypoint)


async def take(index: Index, who: uuid.UUID, kinds: Collection[str], most: int) -> list[Job]:
    """Return jobs whose time has come, of these kinds; `who` holds them from now on.

    Raises:
        Unavailable: the index does not answer.
    """
    stale = timedelta(seconds=STALE_SECONDS)
    due = await index.fetch(_DUE, list(kinds), stale, MOST_LANES)
    if not due:
        return []
    one = EntrypointExecutionParameter(concurrency_limit=1)
    lanes = {QueueEntrypoint(row["entrypoint"]): one for row in due}
    async with index.at_once() as connection:
        dequeue = statements(connection).dequeue
        return await dequeue(most, lanes, QueueManagerId(who), None, stale)


async def keep(index: Index, jobs: Collection[Job]) -> None:
    """Give a sign of life for jobs that are being done.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.at_once() as connection:
        await statements(connection).update_heartbeat([job.id for job in jobs])


async def finish(index: Index, who: uuid.UUID, job: Job, ending: Ending) -> bool:
    """End a job that is done, and write its `ending`; False if it is another's by now.

    Raises:
        Unavailable: the index does not answer; the job is done again later.
    """
    async with index.writing() as connection:
        if not await _is_held(connection, who, job):
            return False
        await statements(connection).log_jobs([(job, "successful", None)])
        await ending(connection)
    return True


async def put_off(index: Index, who: uuid.UUID, job: Job, why: str, seconds: float) -> bool:
    """Leave a job that failed for later; False if it is another's by now.

    Raises:
        Unavailable: the index does not answer; the job is done again later.
    """
    async with index.writing() as connection:
        if not await _is_held(connection, who, job):
            return False
        delay = timedelta(seconds=seconds)
        await statements(connection).retry_job(job, delay, _record(job, why))
    return True


async def bury(index: Index, who: uuid.UUID, job: Job, why: str, ending: Ending) -> bool:
    """Keep a job that failed for good as a dead letter; False if it is another's by now.

    Raises:
        Unavailable: the index does not answer; the job is done again later.
    """
    async with index.writing() as connection:
        if not await _is_held(connection, who, job):
            return False
        await statements(connection).log_jobs([(job, "failed", _record(job, why))])
        await ending(connection)
    return True


async def give_back(index: Index, who: uuid.UUID) -> None:
    """Let others do at once what `who` still holds.

    Raises:
        Unavailable: the index does not answer; others do it when it is stale.
    """
    await index.fetch(_GIVE_BACK, who)


async def list_jobs(index: Index, after: int, *, dead: bool, limit: int = 500) -> list[SeenJob]:
    """Return jobs with numbers over `after`, in their order; only `dead` ones, if asked for.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = [dict(row) for row in await index.fetch(_LIST, after, dead, limit)]
    return [SeenJob(**{**row, "state": STATES[row["state"]]}) for row in rows]


async def retry_jobs(index: Index, numbers: Sequence[int] | None) -> list[int]:
    """Have these jobs done now, be they dead or waiting; None: all dead ones. Return which.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_RETRY, numbers, numbers is None)
    return sorted(row["id"] for row in rows)


async def discard_job(index: Index, number: int) -> bool:
    """Take a dead letter out of the queue; False if there is none of this number.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.fetchrow(_DISCARD, number) is not None


async def count_jobs(index: Index) -> Counts:
    """Return how many jobs there are.

    Raises:
        Unavailable: the index does not answer.
    """
    (row,) = await index.fetch(_COUNT)
    return Counts(*row)


def count_jobs_at(url: str) -> Counts:
    """Return what `count_jobs` returns, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """
    (row,) = fetch_at(url, _COUNT)
    return Counts(*row)


async def forget_log(index: Index) -> None:
    """Forget what became of jobs `LOG_DAYS` ago.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_FORGET, LOG_DAYS)


async def _is_held(connection: Connection, who: uuid.UUID, job: Job) -> bool:
    return bool(await connection.fetchval(_HELD, job.id, who))


def _record(job: Job, why: str) -> TracebackRecord:
    return TracebackRecord(
        job_id=job.id,
        timestamp=datetime.now(UTC),
        exception_type="",
        exception_message=why,
        traceback="",
        additional_context=None,
    )
