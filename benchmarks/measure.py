"""Processor time, memory and disturbance, read from /proc.

A server is every process below the one that was started, and every process whose working
directory lies in the server's own directory: PostgreSQL may have been sent to the background.
"""

import os
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_LOOK_SECONDS = 0.5

NOISY_CORES = 0.2
"""Processor time of strangers, in cores, above which a figure is marked."""


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, parent, …; [] if it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _stands_in(pid: int, directory: Path) -> bool:
    try:
        return (_PROC / str(pid) / "cwd").readlink().is_relative_to(directory)
    except OSError:
        return False


def find_processes(root: int, directory: Path) -> set[int]:
    """Return the processes of the server that was started as `root` in `directory`."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = {root} & parents.keys() | {pid for pid in parents if _stands_in(pid, directory)}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def processor_seconds(pid: int) -> float:
    """Return user and system time of a process so far, 0 if it is gone."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def proportional_size(pids: Iterable[int]) -> int:
    """Return the memory of the processes in bytes, shared pages counted once (PSS)."""
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
    return total * 1024


def busy_seconds() -> float:
    """Return the time that all cores together were busy since the machine was started."""
    user, nice, system, _idle, _wait, irq, soft, stolen = (
        int(value) for value in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + stolen) / _TICKS


@dataclass(frozen=True, slots=True)
class Usage:
    """What a stretch of time cost a server."""

    seconds: float
    processor: float
    """Seconds of processor time of all its processes."""
    peak: int
    """The largest proportional set size seen, in bytes."""
    others: float
    """Cores kept busy by neither the server nor this client."""


class Meter:
    """Watches a server from `start` to `stop`; memory is sampled about twice a second."""

    def __init__(self, root: int, directory: Path, *, interval: float = 0.5) -> None:
        self._root, self._directory, self._interval = root, directory, interval
        self._before: dict[int, float] = {}
        self._latest: dict[int, float] = {}
        self._peak = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = (0.0, 0.0, 0.0)

    def _look(self) -> None:
        for pid in find_processes(self._root, self._directory):
            self._latest[pid] = max(processor_seconds(pid), self._latest.get(pid, 0.0))
        self._peak = max(self._peak, proportional_size(self._latest))

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval):
            self._look()

    def start(self) -> None:
        """Begin to watch."""
        self._look()
        self._before = dict(self._latest)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._started = (time.perf_counter(), busy_seconds(), time.process_time())

    def stop(self) -> Usage:
        """End to watch and say what was seen."""
        assert self._thread is not None
        ended = (time.perf_counter(), busy_seconds(), time.process_time())
        seconds, busy, client = (b - a for a, b in zip(self._started, ended, strict=True))
        self._stopping.set()
        self._thread.join()
        self._look()
        spent = sum(self._latest.values()) - sum(self._before.values())
        others = max(0.0, (busy - spent - client) / max(seconds, 1e-9))
        return Usage(seconds, spent, self._peak, others)


def wait_until_idle(root: int, directory: Path, *, quiet: float = 2, timeout: float = 1800) -> None:
    """Wait until the server used less than 4 % of a core for `quiet` seconds in a row.

    Raises TimeoutError when it never comes to rest.
    """
    started = calm_since = time.monotonic()
    before = _spent(root, directory)
    while time.monotonic() - calm_since < quiet:
        if time.monotonic() - started > timeout:
            raise TimeoutError("the server does not come to rest")
        time.sleep(_LOOK_SECONDS)
        now = _spent(root, directory)
        if now - before > 0.04 * _LOOK_SECONDS:
            calm_since = time.monotonic()
        before = now


def _spent(root: int, directory: Path) -> float:
    return sum(processor_seconds(pid) for pid in find_processes(root, directory))


@dataclass(frozen=True, slots=True)
class Spread:
    """Repetitions as they are reported: the median and what lies around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))
