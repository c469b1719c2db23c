"""Jobs are done, tried again, given up and given back."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.errors import Unavailable
from app.index.embedded import EmbeddedPostgres
from app.index.engine import Index, open_index
from app.index.migrations import migrate
from app.index.pool import Connection
from app.jobs import queue, running
from app.jobs.queue import Ending, Job, count_jobs, enqueue, list_jobs, retry_jobs
from app.jobs.running import Kind, jobs_done
from tests.index.test_engine import kill_all
from tests.waiting import until


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(running, "LONGEST_PAUSE", 0.1)


class Doer:
    """Does jobs, and fails as often as it is told to."""

    def __init__(self, failures: Sequence[Exception] = (), seconds: float = 0) -> None:
        self.failures = list(failures)
        self.seconds = seconds
        self.begun: list[int] = []
        self.done: list[int] = []
        self.buried: list[int] = []

    def kind(self, *pauses: float) -> dict[str, Kind]:
        return {"a": Kind(self.work, pauses, self.bury)}

    async def work(self, job: Job) -> Ending:
        self.begun.append(job.id)
        await asyncio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)

        async def end(_: Connection) -> None:
            self.done.append(job.id)

        return end

    async def bury(self, connection: Connection, job: Job) -> None:
        await connection.execute("SELECT 1")
        self.buried.append(job.id)


async def add(index: Index, *entrypoints: str) -> list[int]:
    async with index.writing() as connection:
        return [await enqueue(connection, one, b"") for one in entrypoints]


async def until_empty(index: Index) -> None:
    async def empty() -> bool:
        return not await list_jobs(index, 0, dead=False)

    await until(empty)


async def test_all_that_is_queued_is_done_once(index: Index) -> None:
    doer = Doer()
    async with jobs_done(index, doer.kind()):
        numbers = await add(index, "a/1", "a/1", "a/2", "a/3")
        await until_empty(index)
    assert sorted(doer.done) == numbers
    assert doer.begun.index(numbers[0]) < doer.begun.index(numbers[1])


async def test_more_than_is_done_at_once_waits_its_turn(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AT_ONCE", 2)
    doer = Doer(seconds=0.05)
    numbers = await add(index, *(f"a/{number}" for number in range(7)))
    async with jobs_done(index, doer.kind()):
        await asyncio.sleep(0.04)
        assert len(doer.begun) <= 2
        await until_empty(index)
    assert sorted(doer.done) == numbers


@pytest.mark.parametrize(
    ("error", "level", "said"),
    [
        (Unavailable("no answer"), logging.WARNING, "no answer"),
        (KeyError("a bug"), logging.ERROR, "KeyError"),
    ],
)
async def test_what_fails_is_tried_again_after_its_pauses(
    index: Index, caplog: pytest.LogCaptureFixture, error: Exception, level: int, said: str
) -> None:
    doer = Doer([error, error])
    (number,) = await add(index, "a/1")
    async with jobs_done(index, doer.kind(0.01, 0.3)):
        await until_failed(index, 2)
        (waiting,) = await list_jobs(index, 0, dead=False)
        assert (waiting.state, waiting.error) == ("waiting", said)
        await until_empty(index)
    assert doer.begun == [number] * 3
    assert doer.done == [number]
    logged = [record for record in caplog.records if record.name == running.__name__]
    assert [record.levelno for record in logged] == [level] * 2
    assert all((record.exc_info is not None) is (level == logging.ERROR) for record in logged)


async def test_what_is_put_off_while_the_queue_is_looked_at_is_taken_again(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue may show a job again before the task that has put it off is over."""
    put_off = queue.put_off

    async def lingers(*arguments: Any) -> bool:
        done = await put_off(*arguments)
        await asyncio.sleep(0.2)
        return done

    monkeypatch.setattr(running, "put_off", lingers)
    doer = Doer([Unavailable("no answer")])
    (number,) = await add(index, "a/1")
    async with jobs_done(index, doer.kind(0.0)):
        await until_empty(index)
    assert doer.begun == [number, number]
    assert doer.done == [number]


async def until_failed(index: Index, times: int) -> None:
    async def failed() -> bool:
        return [job.attempts for job in await list_jobs(index, 0, dead=False)] == [times]

    await until(failed)


async def test_what_fails_each_time_is_a_dead_letter_until_somebody_retries_it(
    index: Index,
) -> None:
    doer = Doer([Unavailable("no answer")] * 2)
    (number,) = await add(index, "a/1")

    async def dead() -> bool:
        return (await count_jobs(index)).dead == 1

    async with jobs_done(index, doer.kind(0.01)):
        await until(dead)
        assert doer.buried == [number]
        assert [job.error for job in await list_jobs(index, 0, dead=True)] == ["no answer"]
        assert await retry_jobs(index, None) == [number]
        await until_empty(index)
    assert doer.done == [number]


async def test_an_end_that_cannot_be_written_is_a_failure(index: Index) -> None:
    doer = Doer()

    async def work(job: Job) -> Ending:
        async def end(connection: Connection) -> None:
            doer.begun.append(job.id)
            if len(doer.begun) == 1:
                await connection.execute("SELECT 1 / 0")
            doer.done.append(job.id)

        return end

    (number,) = await add(index, "a/1")
    async with jobs_done(index, {"a": Kind(work, [0.01], doer.bury)}):
        await until_empty(index)
    assert doer.begun == [number, number]
    assert doer.done == [number]


async def test_what_is_under_way_at_the_end_is_given_back_and_not_counted_as_a_try(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "STOP_SECONDS", 0.3)
    slow, quick = Doer(seconds=60), Doer(seconds=0.1)
    numbers = await add(index, "a/1", "b/1")
    kinds = {"a": slow.kind()["a"], "b": quick.kind()["a"]}
    async with asyncio.timeout(5), jobs_done(index, kinds):

        async def begun() -> bool:
            return bool(slow.begun and quick.begun)

        await until(begun)
    assert (slow.done, quick.done) == ([], [numbers[1]])
    (job,) = await list_jobs(index, 0, dead=False)
    assert (job.id, job.state, job.attempts) == (numbers[0], "waiting", 0)
    another = Doer()
    async with jobs_done(index, another.kind()):
        await until_empty(index)
    assert another.done == [numbers[0]]


async def test_signs_of_life_are_given_and_a_late_one_does_not_begin_it_twice(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "STALE_SECONDS", 0.3)
    keep, failures = queue.keep, [Unavailable("no answer")]

    async def fails_once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await keep(*arguments)

    monkeypatch.setattr(running, "keep", fails_once)
    doer = Doer(seconds=1.0)
    (number,) = await add(index, "a/1")
    async with jobs_done(index, doer.kind()):

        async def begun() -> bool:
            return bool(doer.begun)

        await until(begun)
        await index.fetch("UPDATE job SET heartbeat = now() - interval '10 seconds'")

        async def alive() -> bool:
            (row,) = await index.fetch("SELECT now() - heartbeat AS age FROM job")
            return bool(row["age"].total_seconds() < 2)

        await until(alive, 0.8)
        await index.fetch("UPDATE job SET heartbeat = now() - interval '1 minute'")
        await until_empty(index)
    assert doer.begun == doer.done == [number]


async def test_connections_that_are_lost_lose_no_job(index: Index, database_url: str) -> None:
    doer = Doer(seconds=0.05)
    async with jobs_done(index, doer.kind(0.01, 0.01, 0.01, 0.01)):
        numbers = []
        for number in range(8):
            numbers += await add(index, f"a/{number}")
            await kill_all(database_url)
        await index.fetch("UPDATE job SET heartbeat = now() - interval '1 minute'")

        async def empty() -> bool:
            await index.fetch(
                "UPDATE job SET heartbeat = now() - interval '1 minute'"
                " WHERE heartbeat < now() - interval '1 second'"
            )
            return not await list_jobs(index, 0, dead=False)

        await until(empty)
    assert set(doer.done) == set(numbers)


@pytest.mark.slow
async def test_a_postgresql_that_is_restarted_loses_no_job(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    server.start()
    server.ensure_database()
    await asyncio.to_thread(migrate, server.url())
    index = await open_index(server.url())
    doer = Doer(seconds=0.2)
    try:
        async with jobs_done(index, doer.kind(0.1, 0.1, 0.1)):
            numbers = await add(index, *(f"a/{number}" for number in range(20)))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
            await index.fetch("UPDATE job SET heartbeat = now() - interval '1 minute'")
            await until_empty(index)
    finally:
        await index.close()
        server.stop()
    assert set(doer.done) == set(numbers)
