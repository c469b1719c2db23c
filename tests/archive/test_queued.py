"""The queue as operators see it."""

import uuid

import pytest

from app.archive import queued
from app.archive.context import Archive
from app.errors import Forbidden, NotFound
from app.index.pool import Connection
from app.jobs.queue import bury, enqueue, take
from app.rights import Principal, Verb

ME = uuid.uuid4()
NOBODY = Principal("viewer", verbs=frozenset({Verb.SEARCH}))


async def nothing(_: Connection) -> None:
    """Write nothing."""


async def dead_and_waiting(archive: Archive) -> tuple[int, int]:
    async with archive.index.writing() as connection:
        dead = await enqueue(connection, "a/1", b"")
    (job,) = await take(archive.index, ME, ["a"], 1)
    await bury(archive.index, ME, job, "broken", nothing)
    async with archive.index.writing() as connection:
        return dead, await enqueue(connection, "a/2", b"")


async def numbers(archive: Archive, principal: Principal, *, dead: bool) -> list[int]:
    return [job.id async for job in await queued.list_jobs(archive, principal, dead=dead)]


async def test_jobs_are_listed_retried_and_discarded(
    archive: Archive, principal: Principal
) -> None:
    dead, waiting = await dead_and_waiting(archive)
    assert await numbers(archive, principal, dead=False) == [dead, waiting]
    assert await numbers(archive, principal, dead=True) == [dead]
    with pytest.raises(NotFound, match="Dead letter"):
        await queued.discard_job(archive, principal, waiting)
    with pytest.raises(NotFound, match="Job 99 not found"):
        await queued.retry_jobs(archive, principal, [99, waiting])
    await queued.discard_job(archive, principal, dead)
    assert await queued.retry_jobs(archive, principal, None) == []
    assert await numbers(archive, principal, dead=False) == [waiting]


async def test_the_queue_is_for_administrators(archive: Archive) -> None:
    with pytest.raises(Forbidden):
        await queued.list_jobs(archive, NOBODY, dead=False)
    with pytest.raises(Forbidden):
        await queued.retry_jobs(archive, NOBODY, None)
    with pytest.raises(Forbidden):
        await queued.discard_job(archive, NOBODY, 1)
