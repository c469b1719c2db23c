"""The queue: who gets a job, who may end it, and what is left of it."""

import asyncio
import uuid
from contextlib import suppress

import pytest
from pgqueuer.adapters.persistence import schema_inspect
from pgqueuer.adapters.persistence.schema_plan import plan
from pgqueuer.domain.schema.declaration import target

from app.index.engine import Index
from app.index.pool import Connection
from app.jobs import queue
from app.jobs.queue import (
    Counts,
    Job,
    bury,
    clear,
    count_jobs,
    count_jobs_at,
    discard_job,
    enqueue,
    finish,
    forget_log,
    give_back,
    keep,
    list_jobs,
    put_off,
    retry_jobs,
    statements,
    take,
)

ME, YOU = uuid.uuid4(), uuid.uuid4()
LEFT_OUT = ("job_statistics", "job_schedule", "job_changed", "job_log_not_aggregated")
UNUSED_INDEXES = ("job_priority_id_id1_idx", "job_updated_id_id1_idx", "job_log_status")


async def nothing(_: Connection) -> None:
    """Write nothing."""


async def add(index: Index, *entrypoints: str) -> list[int]:
    async with index.writing() as connection:
        return [await enqueue(connection, one, one.encode()) for one in entrypoints]


async def take_all(index: Index, who: uuid.UUID = ME, most: int = 9) -> list[Job]:
    return await take(index, who, ["a", "b"], most)


async def age(index: Index, seconds: float) -> None:
    statement = "UPDATE job SET heartbeat = heartbeat - make_interval(secs => $1)"
    await index.fetch(statement, seconds)


async def test_the_tables_are_those_of_pgqueuer_but_for_what_is_left_out(index: Index) -> None:
    async with index.at_once() as connection:
        live = await schema_inspect.inspect(statements(connection).driver, queue.NAMES)
    missing = plan(live, target(queue.NAMES), queue.NAMES).statements
    left = [one for one in missing if not any(name in one for name in (*LEFT_OUT, *UNUSED_INDEXES))]
    assert left == []
    assert len(missing) > len(left)


async def test_a_job_is_queued_with_the_transaction_that_it_follows_from(index: Index) -> None:
    with suppress(ZeroDivisionError):
        async with index.writing() as connection:
            await enqueue(connection, "a/1", b"")
            raise ZeroDivisionError
    assert await take_all(index) == []
    (number,) = await add(index, "a/1")
    (job,) = await take_all(index)
    assert (job.id, job.entrypoint, job.payload, job.attempts) == (number, "a/1", b"a/1", 0)


async def test_only_asked_for_kinds_are_taken(index: Index) -> None:
    await add(index, "a/1", "c/1")
    assert [job.entrypoint for job in await take_all(index)] == ["a/1"]


async def test_one_entrypoint_is_done_one_job_at_a_time_in_order(index: Index) -> None:
    first, second, other = await add(index, "a/1", "a/1", "a/2")
    assert [job.id for job in await take_all(index)] == [first, other]
    assert await take_all(index, YOU) == []
    async with index.writing() as connection:
        await clear(connection, "a/2")
    (row,) = await index.fetch("SELECT id FROM job WHERE status = 'picked'")
    assert row["id"] == first
    await give_back(index, ME)
    (job,) = await take_all(index)
    assert await finish(index, ME, job, nothing)
    assert [job.id for job in await take_all(index, YOU)] == [second]


async def test_many_who_take_at_once_get_each_job_once(index: Index) -> None:
    numbers = await add(index, *(f"a/{number}" for number in range(20)))
    took: list[int] = []

    async def greedy() -> None:
        me = uuid.uuid4()
        for _ in range(10):
            took.extend(job.id for job in await take_all(index, me, 3))

    await asyncio.gather(*(greedy() for _ in range(4)))
    assert sorted(took) == numbers


async def test_the_job_of_one_who_died_is_anothers_and_only_that_one_may_end_it(
    index: Index,
) -> None:
    await add(index, "a/1")
    (mine,) = await take_all(index)
    await age(index, 29)
    assert await take_all(index, YOU) == []
    await age(index, 2)
    (yours,) = await take_all(index, YOU)
    assert yours.id == mine.id

    async def never(_: Connection) -> None:
        raise AssertionError("it is not mine any more")

    assert not await finish(index, ME, mine, never)
    assert not await put_off(index, ME, mine, "late", 1)
    assert not await bury(index, ME, mine, "late", never)
    assert await finish(index, YOU, yours, nothing)
    assert await count_jobs(index) == Counts(0, 0.0, 0)


async def test_a_sign_of_life_keeps_a_job(index: Index) -> None:
    await add(index, "a/1")
    jobs = await take_all(index)
    await age(index, 31)
    await keep(index, jobs)
    assert await take_all(index, YOU) == []


async def test_what_follows_from_a_job_is_written_with_its_end_or_not_at_all(index: Index) -> None:
    await add(index, "a/1")
    (job,) = await take_all(index)

    async def broken(connection: Connection) -> None:
        await enqueue(connection, "b/1", b"")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await finish(index, ME, job, broken)
    assert [job.state for job in await list_jobs(index, 0, dead=False)] == ["running"]

    async def whole(connection: Connection) -> None:
        await enqueue(connection, "b/1", b"")

    assert await finish(index, ME, job, whole)
    assert [job.entrypoint for job in await list_jobs(index, 0, dead=False)] == ["b/1"]


async def test_a_job_that_failed_waits_and_says_why(index: Index) -> None:
    await add(index, "a/1")
    (job,) = await take_all(index)
    assert await put_off(index, ME, job, "no answer", 60)
    assert await take_all(index) == []
    (seen,) = await list_jobs(index, 0, dead=False)
    assert (seen.state, seen.attempts, seen.error) == ("waiting", 1, "no answer")
    assert 55 < (seen.due - seen.created).total_seconds() < 65
    assert await retry_jobs(index, [job.id]) == [job.id]
    assert [job.attempts for job in await take_all(index)] == [0]


async def test_dead_letters_stay_until_they_are_retried_or_discarded(
    index: Index, database_url: str
) -> None:
    numbers = await add(index, "a/1", "a/2", "b/1")
    for job in await take_all(index):
        assert await bury(index, ME, job, f"{job.entrypoint} is broken", nothing)
    (waiting,) = await add(index, "b/2")
    assert await take(index, ME, ["a"], 9) == []
    dead = await list_jobs(index, 0, dead=True)
    assert [(one.id, one.error) for one in dead] == [
        (numbers[0], "a/1 is broken"),
        (numbers[1], "a/2 is broken"),
        (numbers[2], "b/1 is broken"),
    ]
    assert [one.id for one in await list_jobs(index, numbers[1], dead=False)] == [
        numbers[2],
        waiting,
    ]
    counts = await count_jobs(index)
    assert (counts.waiting, counts.dead) == (1, 3)
    assert counts.oldest >= 0
    assert (await asyncio.to_thread(count_jobs_at, database_url)).dead == 3
    assert await discard_job(index, numbers[0])
    assert not await discard_job(index, numbers[0])
    assert not await discard_job(index, waiting)
    assert await retry_jobs(index, None) == numbers[1:]
    assert len(await take_all(index)) == 3


async def test_what_became_of_jobs_is_forgotten_in_time(index: Index) -> None:
    await add(index, "a/1", "a/2")
    done, dead = await take_all(index)
    await finish(index, ME, done, nothing)
    await bury(index, ME, dead, "broken", nothing)
    await forget_log(index)
    assert len(await index.fetch("SELECT FROM job_log")) == 6
    await index.fetch("UPDATE job_log SET created = now() - interval '31 days'")
    await forget_log(index)
    rows = await index.fetch("SELECT DISTINCT job_id FROM job_log")
    assert [row["job_id"] for row in rows] == [dead.id]
    assert (await list_jobs(index, 0, dead=True))[0].error == "broken"
