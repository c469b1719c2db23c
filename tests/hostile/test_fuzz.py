"""Whatever comes, the answer is one of ours, and the archive stays clean."""

import os
import random
import time

import pytest

from tests.hostile.fuzz import originals, send_mutated, store_mutated
from tests.hostile.scene import Scene

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))


@pytest.mark.slow
async def test_mutated_instances_and_bodies_are_survived(scene: Scene) -> None:
    seed = random.randrange(2**32) if SECONDS else 1
    dice, those, end = random.Random(seed), originals(), time.monotonic() + SECONDS
    print(f"seed {seed}")  # noqa: T201 - to do it again
    for number in range(10**9):
        if number >= 20 and time.monotonic() > end:
            break
        await store_mutated(scene, dice, those)
        for _ in range(10):
            await send_mutated(scene, dice)
        if number % 50 == 0:
            assert await scene.faults() == []
