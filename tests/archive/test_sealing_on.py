"""The sealer of a server: it seals by itself, now and then, whatever goes on beside it."""

import asyncio
import logging

import pytest

from app.archive import sealing as module
from app.archive.context import Archive
from app.archive.sealing import Sealer, sealing
from app.errors import Unavailable
from app.index.segments import SegmentRow, list_segments
from app.objects.local import LocalStore
from tests.archive.test_sealing import append, check, segments


@pytest.fixture
async def hasty(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive whose sealer looks often."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)
    return archive


async def wait_until_sealed(archive: Archive, number: int) -> None:
    for _ in range(250):
        if [row.number async for row in list_segments(archive.index, 1)][-1:] == [number]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"segment {number} was not sealed")


async def test_a_server_seals_by_itself_and_survives_what_fails(
    hasty: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, module.__name__)
    put, failures = LocalStore.put, [ZeroDivisionError(), Unavailable("the store is away")]

    async def faulty(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        await put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "put", faulty)
    async with sealing(hasty.sealer):
        await append(hasty, "one")
        await wait_until_sealed(hasty, 1)
        await append(hasty, "two")
        await wait_until_sealed(hasty, 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    await append(hasty, "three")
    await asyncio.sleep(0.1)
    assert len(await segments(hasty)) == 2


async def test_what_comes_while_it_seals_is_left_for_the_next_time(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_next = Sealer.seal_next

    async def seal_while_others_store(sealer: Sealer, tenant_id: int) -> SegmentRow | None:
        row = await seal_next(sealer, tenant_id)
        await append(archive, "meanwhile")
        return row

    await append(archive, "first")
    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "seal_next", seal_while_others_store)
        assert await archive.sealer.seal_waiting() == 1
        assert await archive.sealer.seal_waiting() == 1
    assert await archive.sealer.seal_waiting() == 1
    assert [segment.head.entries for segment in await check(archive)] == [1, 1, 1]
