"""The clock jumps while the whole application runs: what was deleted can still be brought back."""

import asyncio
from datetime import timedelta

import pytest

from app.archive import upkeep
from app.index.clock import see_time_pass
from tests.hostile.clocks import jump
from tests.hostile.instances import Raw
from tests.hostile.scene import Scene


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0)


async def test_what_was_deleted_before_a_jump_of_a_year_can_be_brought_back(scene: Scene) -> None:
    raw = Raw()
    assert (await scene.store(raw)).status_code == 200
    await see_time_pass(scene.archive.index, 60)
    assert (await scene.client.delete(raw.path)).status_code == 204
    await jump(scene.archive.index, timedelta(days=365))
    await asyncio.sleep(0.5)
    assert (await scene.client.get(raw.path)).status_code == 410
    assert (await scene.client.post(f"{raw.path}/restore")).status_code == 200
