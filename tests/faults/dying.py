"""A process that dies in the middle of an action: `python -m tests.faults.dying`, told by a pickle.

It prints `armed` when what it did before is acknowledged, so that only the action is in doubt.
"""

import asyncio
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from app.archive import removal
from app.archive.context import Place, open_archive
from tests.faults.points import Point, When, die, fault
from tests.faults.scene import Action, Scene
from tests.killing.ledger import Ledger, Sent

ROOT = Path(__file__).parent.parent.parent
SURVIVED = 7
"""Exit code: the action came to its end, so the step was not met."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a process has to do, and where it dies."""

    place: Place
    spool: Path
    named: dict[str, Sent]
    action: Action
    point: Point
    when: When


def die_at(order: Order) -> subprocess.CompletedProcess[bytes]:
    """Let a process do it; returns when it has ended."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.dying"],
        input=pickle.dumps(order),
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
    )


async def _run(order: Order) -> None:
    vars(removal)["LEASE_SECONDS"] = 0.0
    scene = Scene(Ledger(order.spool), order.named)
    async with open_archive(order.place) as archive:
        await scene.warm(archive, order.action)
        sys.stdout.write("armed\n")
        sys.stdout.flush()
        with fault(order.point, order.when, die):
            await scene.act(archive, order.action)


if __name__ == "__main__":
    asyncio.run(_run(pickle.load(sys.stdin.buffer)))  # noqa: S301 - from a test
    sys.exit(SURVIVED)
