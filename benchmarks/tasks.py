"""What is measured: rows of the table, and the tasks that produce their figures."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.measure import Usage
from benchmarks.server import Server

SETTLE_SECONDS = 5
"""Idle that long, a server has begun and ended what it does once a series is complete."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: the full run, or a quick one for developers."""

    studies: int
    series: int
    long_series: int
    frames: int
    seconds: float
    repetitions: int
    quiet: float
    """Seconds for which both servers must be idle before a turn."""


FULL = Size(20_000, 300, 1_000, 200, 3.0, 3, 2.0)
QUICK = Size(2_000, 60, 120, 20, 1.0, 1, 0.5)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `unit` decides what is better: of milliseconds and MB, fewer."""

    name: str
    title: str
    unit: str
    operation: str = "request"
    gate: float | None = None
    """The ratio to the peer that must be reached."""
    limit: float | None = None
    """A bound on our own figure, whatever the peer's is."""

    @property
    def fewer_is_better(self) -> bool:
        """Whether a smaller figure is the better one."""
        return self.unit in {"ms", "s", "MB", "×"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one repetition, and what it cost the server."""

    value: float
    operations: int = 1
    usage: Usage | None = None


Measure = Callable[[Server, int], Awaitable[dict[str, Sample]]]
"""Measures one repetition on one server; the keys are names of rows."""
Prepare = Callable[[Server], Awaitable[None]]
"""Brings into a server what a task reads, and compares what comes back; done once for each."""


@dataclass(frozen=True, slots=True)
class Task:
    """Some rows that are measured together, and what must be in a server beforehand."""

    rows: tuple[Row, ...]
    measure: Measure
    prepare: Prepare | None = None


@dataclass(slots=True)
class Watched:
    """Filled with the usage when the block that is watched has ended."""

    usage: Usage | None = field(default=None)


@contextmanager
def watch(server: Server) -> Iterator[Watched]:
    """Watch the server's processes while the block runs."""
    watched, meter = Watched(), server.meter()
    meter.start()
    try:
        yield watched
    finally:
        watched.usage = meter.stop()
