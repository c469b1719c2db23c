"""Where the workers of one `serve` share what they count: in memory, apart from the archive's disk.

`prometheus_client` maps files into memory, and the kernel kills whoever writes to a mapped page for
which its disk has no room. So the files lie in `/dev/shm` where there is one, and a worker reserves
their room before it begins; one that gets none counts for itself alone.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.settings import METRICS_VARIABLE

MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
ROOM = {"counter": 2**20, "histogram": 2**21, "gauge_livesum": 2**16}
"""Kinds of counts and the bytes of a worker's file; every route and status together need less."""


@contextmanager
def counting_directory(data_dir: Path) -> Iterator[Path | None]:
    """Make the directory of the one `serve` on `data_dir`, empty; None where none can be made.

    Its name comes from the data directory, so that what a killed `serve` has left is removed.
    """
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    made = None
    with suppress(OSError):
        made = _new_directory(f"fileroom-{os.geteuid()}-{digest}")
    try:
        yield made
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _new_directory(name: str) -> Path:
    parent = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    wanted = parent / name
    shutil.rmtree(wanted, ignore_errors=True)
    try:
        wanted.mkdir(mode=0o700)
    except FileExistsError:  # another user's, or no directory at all
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    return wanted


def counting_environment(directory: Path | None) -> dict[str, str]:
    """Return the variables of a worker that shares its counts in `directory`."""
    environment = {name: value for name, value in os.environ.items() if name != METRICS_VARIABLE}
    return environment if directory is None else {**environment, METRICS_VARIABLE: str(directory)}


def reserve_counts() -> None:
    """Reserve the room of this process' files; forget that counts are shared if there is none."""
    directory = os.environ.get(METRICS_VARIABLE)
    if not directory:
        return
    try:
        for kind, size in ROOM.items():
            _reserve(Path(directory, f"{kind}_{os.getpid()}.db"), size)
    except OSError:
        del os.environ[METRICS_VARIABLE]
        forget_process(Path(directory), os.getpid())


def _reserve(path: Path, size: int) -> None:
    with path.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def forget_process(directory: Path, pid: int) -> None:
    """Remove all that a process has counted and shared."""
    for path in directory.glob(f"*_{pid}.db"):
        path.unlink()


def keep_totals(directory: Path, pid: int) -> None:
    """Keep the totals of a worker that has ended, in as little room as they take."""
    for path in directory.glob(f"*_{pid}.db"):
        if path.name.startswith("gauge_live"):
            path.unlink()  # the requests that were open in it are not any more
            continue
        with path.open("rb") as file:
            used = int.from_bytes(file.read(4), "little")  # as `prometheus_client` begins a file
        os.truncate(path, max(used, 8))
