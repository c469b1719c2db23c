"""The writer, where the Store transaction's tests do not reach: failing engines, many at once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from app.archive.context import Archive
from app.archive.store import store_instances
from app.archive.writer import Writer, discard_object
from app.dicom.store_report import FailureReason, StoreReport
from app.errors import Unavailable
from app.index.admission import Admission
from app.index.engine import Index
from app.index.instances import NewInstance, add_each_instance
from app.rights import Principal
from tests.archive.test_store import objects, parts, rows, store
from tests.factories import make_part10


class Gate:
    """Lets batches through to the index, and counts them."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.open = asyncio.Event()

    async def add(
        self, index: Index, tenant: int, actor: str, new: Sequence[NewInstance], under: Admission
    ) -> Any:
        await self.open.wait()
        self.batches.append(len(new))
        return await add_each_instance(index, tenant, actor, new, under)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Closed: nothing comes into the index until it is opened."""
    gate = Gate()
    monkeypatch.setattr("app.archive.writer.add_each_instance", gate.add)
    return gate


async def test_what_waits_while_a_batch_commits_is_the_next_batch(
    archive: Archive, principal: Principal, gate: Gate
) -> None:
    tasks = [asyncio.create_task(store(archive, principal, make_part10())) for _ in range(9)]
    await asyncio.sleep(1)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert sum(gate.batches) == 9
    assert len(gate.batches) <= 3


async def test_a_value_that_the_index_cannot_hold_fails_alone(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[NewInstance] = []
    add = archive.writer.add

    async def spoilt(tenant: int, actor: str, new: list[NewInstance], under: Admission) -> Any:
        placed.extend(new)
        new[1] = replace(new[1], size=2**70)
        return await add(tenant, actor, new, under)

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


async def test_instances_of_several_senders_share_a_batch(archive: Archive, gate: Gate) -> None:
    senders = [Principal(name) for name in ("A", "B", "A", "B")]
    tasks = [asyncio.create_task(store(archive, sender, make_part10())) for sender in senders]
    await asyncio.sleep(0.5)
    gate.open.set()
    await asyncio.gather(*tasks)
    events = await archive.index.fetch("SELECT actor FROM event ORDER BY actor")
    assert {event["actor"] for event in events} == {"A", "B"}
    assert await rows(archive) == 4


async def test_a_request_cancelled_in_the_queue_leaves_nothing(
    archive: Archive, principal: Principal, gate: Gate
) -> None:
    first = asyncio.create_task(store(archive, principal, make_part10()))
    await asyncio.sleep(0.3)
    second = asyncio.create_task(store(archive, principal, make_part10(), make_part10()))
    await asyncio.sleep(0.5)
    second.cancel()
    with suppress(asyncio.CancelledError):
        await second
    gate.open.set()
    assert (await first).stored
    assert (await store(archive, principal, make_part10())).stored
    assert await rows(archive) == len(await objects(archive)) == 2


async def test_a_duplicate_whose_request_was_cancelled_leaves_no_object(
    archive: Archive, principal: Principal, gate: Gate
) -> None:
    data = make_part10()
    gate.open.set()
    await store(archive, principal, data)
    gate.open.clear()
    again = asyncio.create_task(store(archive, principal, data))
    await asyncio.sleep(0.5)
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    gate.open.set()
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
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: str) -> None:
        raise Unavailable("no")

    monkeypatch.setattr(archive.objects, "delete", fails)
    await discard_object(archive.objects, "t/1/x")
    assert "object t/1/x is left to the sweeper" in caplog.messages
