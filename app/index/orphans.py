"""Processes of a PostgreSQL whose parent is gone, found by the directory in which they work."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def processes_in(cluster: Path) -> Iterator[int]:
    """Yield the ids of `postgres` processes whose working directory is `cluster`."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            place = (entry / "cwd").stat()
            mine = cluster.stat()
            program = (entry / "exe").readlink().name.removesuffix(" (deleted)")
            here = (place.st_dev, place.st_ino) == (mine.st_dev, mine.st_ino)
            if here and program == "postgres":
                yield int(entry.name)


def signal_all(cluster: Path, number: signal.Signals) -> None:
    """Send a signal to every process of the cluster; one that has just ended is no error."""
    for pid in processes_in(cluster):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
