"""The data directory of a command: who works in it, and where its index answers.

`serve` locks the directory and runs PostgreSQL. Other commands join a PostgreSQL that runs, and
where none does they run it themselves as long as they need it.
"""

import contextlib
import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.cli.refusal import Refusal
from app.index.account import EmbeddedError
from app.index.embedded import AlreadyRunning, EmbeddedPostgres
from app.index.locks import FileLock
from app.index.revisions import revisions
from app.settings import Settings
from app.turns import Shares

JOIN_SECONDS = 120.0
FOR_COMMANDS = 24
"""Connections beside those of the workers: for an import, a doctor, a person with psql."""
_POOLS = 3
LOCK_NAME = "serve.lock"
DATABASE = "fileroom"
RESTORING = "restoring"
"""In a data directory into which a backup is being restored: the stamp when its index is there."""
REBUILDING = "rebuilding"
"""In a data directory whose index is being made anew."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def served_directory(directory: Path) -> Iterator[None]:
    """Make the data directory if it is missing, and be the one `serve` in it.

    Raises:
        Refusal: another `serve` works in it, or this user may not; it is half restored.
    """
    check_restored(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(directory / LOCK_NAME)
        held = lock.acquire("fileroom serve")
    except OSError as error:
        raise Refusal(
            f"The data directory {directory.absolute()} cannot be used: {error.strerror}. Choose "
            "another one with --data-dir, or mend its owner and modes."
        ) from None
    if not held:
        pid, _ = lock.holder() or (0, "")
        raise Refusal(
            f"Fileroom already serves {directory.absolute()}: process {pid}. Stop that one first "
            f"(`kill {pid}`), or choose another directory with --data-dir."
        )
    with lock:
        yield


def check_restored(directory: Path) -> None:
    """Refuse to work on half an archive.

    Raises:
        Refusal: a backup is being restored into the directory, or its index made anew, or that was
            broken off.
    """
    if (directory / REBUILDING).exists():
        raise Refusal(
            f"The index is not made anew to its end in {directory.absolute()}: run "
            "`fileroom rebuild` again."
        )
    if (directory / RESTORING).exists():
        raise Refusal(
            f"A backup is not restored to its end in {directory.absolute()}: run the same "
            "`fileroom restore` again, which goes on where it was."
        )


def own_postgres(settings: Settings) -> EmbeddedPostgres:
    """Return the PostgreSQL that belongs to the data directory, large enough for all workers."""
    database = settings.database
    needed = settings.http.workers * connections_of(database.pool_size) + FOR_COMMANDS
    sizes = {
        "shared_buffers": f"{database.shared_buffers // 1024}kB",
        "max_connections": str(max(database.max_connections, needed)),
    }
    return EmbeddedPostgres(settings.postgres_directory, settings=sizes)


def connections_of(pool_size: int) -> int:
    """Return how many connections to the index one worker has at most, in all its pools."""
    return _POOLS * Shares("connections", pool_size, 0).size


def is_current(postgres: EmbeddedPostgres) -> bool:
    """Say whether the index is surely of this version; asks without a database driver."""
    if postgres.run_script("SELECT to_regclass('alembic_version')", DATABASE) == "\n":
        return False
    found = postgres.run_script("SELECT version_num FROM alembic_version", DATABASE)
    return found.strip() == revisions()[-1]


@dataclass(frozen=True, slots=True)
class Joined:
    """Settings that know the index's URL. `started`: its PostgreSQL runs for this command alone."""

    settings: Settings
    url: str
    started: bool


@contextlib.contextmanager
def joined_index(settings: Settings, note: str) -> Iterator[Joined]:
    """Say where the index answers; our own PostgreSQL runs during the block.

    Raises:
        Refusal: it does not run, and this user may not start it.
        EmbeddedError: it cannot be started.
    """
    if settings.database.url is not None:
        yield Joined(settings, settings.database.url.get_secret_value(), started=False)
        return
    postgres = own_postgres(settings)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        users, started = _start_or_join(postgres, note)
    except OSError as error:
        who = "Run this as the user who runs `fileroom serve`."
        mend = "Make room there." if error.errno in _NO_ROOM else who
        raise Refusal(
            f"The index in {postgres.directory} cannot be used: {error.strerror}. {mend}"
        ) from None
    try:
        postgres.ensure_database()
        url = postgres.url()
        yield Joined(settings.with_database(url), url, started)
    finally:
        if started:
            _wait_for_others(users)
        postgres.stop()
        users.release()


def _start_or_join(postgres: EmbeddedPostgres, note: str) -> tuple[FileLock, bool]:
    """Return the lock of those who joined, and whether PostgreSQL was started here."""
    users = FileLock(postgres.directory / "joined")
    while True:
        try:
            postgres.start(note=note)
        except AlreadyRunning:
            if users.share() and _is_ready_in_time(postgres):
                return users, False
            users.release()
            time.sleep(0.1)  # who runs it is about to stop it
        else:
            return users, True


def _wait_for_others(users: FileLock) -> None:
    """Wait for commands that joined a PostgreSQL which ends with us."""
    while not users.acquire("about to stop"):
        time.sleep(0.1)


def _is_ready_in_time(postgres: EmbeddedPostgres) -> bool:
    """Wait for a PostgreSQL that another process runs; return False if that process ends."""
    end = time.monotonic() + JOIN_SECONDS
    while not postgres.is_ready():
        if postgres.running_elsewhere() is None:
            return False
        if time.monotonic() > end:
            raise EmbeddedError(
                "The PostgreSQL of this data directory was starting and does not answer. Look at "
                f"{postgres.directory / 'postgres.log'}."
            )
        time.sleep(0.05)
    return True
