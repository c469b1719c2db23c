"""The writer, where the Store transaction's tests do not reach: failing engines, many at once."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from app.archive.context import Archive
from app.archive.store import store_instances
from app.archive.writer import Writer, discard_object
from app.dicom.store_report import FailureReason, StoreReport
from app.errors import Unavailable
from app.index.instances import NewInstance
from app.objects.base import ObjectStore
from app.rights import Principal
from tests.archive.test_store import objects, parts, rows, store
from tests.factories import make_part10


class Counted:
    """The archive's object store, counting what is settled, and failing when told to."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.batches: list[int] = []
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def settle(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        await self.gate.wait()
        if self.fails:
            raise Unavailable("no")
        self.batches.append(len(keys))
        await self._objects.settle(keys)

    async def delete(self, key: str) -> None:
        if self.fails:
            raise Unavailable("no")
        await self._objects.delete(key)


@pytest.fixture
async def counted(archive: Archive) -> AsyncIterator[tuple[Archive, Counted]]:
    store = Counted(archive.objects)
    async with Writer(archive.index, store) as writer:
        yield replace(archive, objects=store, writer=writer), store


async def test_what_waits_while_a_batch_commits_is_the_next_batch(
    counted: tuple[Archive, Counted], principal: Principal
) -> None:
    archive, store_ = counted
    store_.gate.clear()
    tasks = [asyncio.create_task(store(archive, principal, make_part10())) for _ in range(9)]
    await asyncio.sleep(1)
    store_.gate.set()
    await asyncio.gather(*tasks)
    assert sum(store_.batches) == 9
    assert len(store_.batches) <= 3


async def test_when_names_cannot_be_made_durable_nothing_is_visible(
    counted: tuple[Archive, Counted], principal: Principal
) -> None:
    archive, store_ = counted
    store_.fails = True
    with pytest.raises(Unavailable):
        await store(archive, principal, make_part10())
    assert await rows(archive) == 0
    store_.fails = False
    assert (await store(archive, principal, make_part10())).stored


async def test_a_value_that_the_index_cannot_hold_fails_alone(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[NewInstance] = []
    add = archive.writer.add

    async def spoilt(tenant: int, actor: str, new: list[NewInstance]) -> Any:
        placed.extend(new)
        new[1] = replace(new[1], size=2**70)
        return await add(tenant, actor, new)

    monkeypatch.setattr(archive.writer, "add", spoilt)
    report = await store(archive, principal, *(make_part10() for _ in range(4)))
    assert [one.reason for one in report.failed] == [FailureReason.PROCESSING_FAILURE]
    assert await rows(archive) == len(await objects(archive)) == 3


async def test_while_the_index_does_not_answer_objects_are_left_for_the_sweeper(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise Unavailable("the index does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(type(archive.index), "retrying", gone)
        with pytest.raises(Unavailable):
            await store(archive, principal, make_part10())
    assert len(await objects(archive)) == 1
    assert await rows(archive) == 0


async def test_a_fault_of_ours_reaches_the_request_and_not_the_next_one(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr("app.archive.writer.add_each_instance", broken)
        with pytest.raises(RuntimeError):
            await store(archive, principal, make_part10())
    assert (await store(archive, principal, make_part10())).stored


async def test_instances_of_several_senders_share_a_batch(
    counted: tuple[Archive, Counted],
) -> None:
    archive, store_ = counted
    store_.gate.clear()
    senders = [Principal(name) for name in ("A", "B", "A", "B")]
    tasks = [asyncio.create_task(store(archive, sender, make_part10())) for sender in senders]
    await asyncio.sleep(0.5)
    store_.gate.set()
    await asyncio.gather(*tasks)
    events = await archive.index.fetch("SELECT actor FROM event ORDER BY actor")
    assert {event["actor"] for event in events} == {"A", "B"}
    assert await rows(archive) == 4


async def test_a_request_cancelled_in_the_queue_leaves_nothing(
    counted: tuple[Archive, Counted], principal: Principal
) -> None:
    archive, store_ = counted
    store_.gate.clear()
    first = asyncio.create_task(store(archive, principal, make_part10()))
    await asyncio.sleep(0.3)
    second = asyncio.create_task(store(archive, principal, make_part10(), make_part10()))
    await asyncio.sleep(0.5)
    second.cancel()
    with suppress(asyncio.CancelledError):
        await second
    store_.gate.set()
    assert (await first).stored
    assert (await store(archive, principal, make_part10())).stored
    assert await rows(archive) == len(await objects(archive)) == 2


async def test_a_duplicate_whose_request_was_cancelled_leaves_no_object(
    counted: tuple[Archive, Counted], principal: Principal
) -> None:
    archive, store_ = counted
    data = make_part10()
    await store(archive, principal, data)
    store_.gate.clear()
    again = asyncio.create_task(store(archive, principal, data))
    await asyncio.sleep(0.5)
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    store_.gate.set()
    await store(archive, principal, make_part10())
    assert await rows(archive) == len(await objects(archive)) == 2


async def test_stopping_writes_what_waits_and_takes_nothing_more(
    archive: Archive, principal: Principal
) -> None:
    async with Writer(archive.index, archive.objects) as writer:
        stopping = replace(archive, writer=writer)
        waiting = asyncio.create_task(store_instances(stopping, principal, parts(make_part10())))
        await asyncio.sleep(0.3)
    report: StoreReport = await waiting
    assert report.stored
    with pytest.raises(Unavailable):
        await store_instances(stopping, principal, parts(make_part10()))


async def test_an_object_that_cannot_be_deleted_is_left_without_a_word_to_the_caller(
    counted: tuple[Archive, Counted],
) -> None:
    archive, store_ = counted
    store_.fails = True
    await discard_object(archive.objects, "t/1/x")
