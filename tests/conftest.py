"""Fixtures for all tests: a real PostgreSQL, and a migrated database of its own for each test."""

import gc
import itertools
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog
from argon2 import profiles

from app.archive import passwords
from app.archive.context import Archive, Place, open_archive
from app.index.embedded import EmbeddedPostgres
from app.index.engine import Index, Session, open_index
from app.index.migrations import migrate
from app.logs import OURS
from app.rights import Principal
from tests import s3_server

_numbers = itertools.count(1)
_MEMORY = Path("/dev/shm")  # noqa: S108 - the name is random
_MEMORY_BYTES = 2 * 2**30

# Nothing here outlives the run, so nothing has to reach the disk.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "autovacuum": "off",
}


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later look for garbage: a tenth of the run."""
    gc.collect()
    gc.freeze()


# --- index --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL for the whole run (one for each worker of xdist), in memory if there is room.

    Each test copies a database of 8 MB, which takes a third of the time there.
    """
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("postgres")
        if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES:
            held = TemporaryDirectory(
                prefix="tests-of-fileroom-", dir=_MEMORY, ignore_cleanup_errors=True
            )
            directory = Path(stack.enter_context(held))
        server = EmbeddedPostgres(directory / "it", settings=_SETTINGS)
        server.start(note="tests")
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database that nobody is connected to."""
    postgres.ensure_database("template_fileroom")
    migrate(postgres.url("template_fileroom"))
    return "template_fileroom"


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database without a schema."""
    yield from _database(postgres, "template1")


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database that is this test's alone."""
    yield from _database(postgres, template)


@pytest.fixture
async def index(database_url: str) -> AsyncIterator[Index]:
    """The index on this test's database."""
    opened = await open_index(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def session(index: Index) -> AsyncIterator[Session]:
    """A transaction on the index, committed at the end of the test."""
    async with index.transaction() as opened:
        yield opened


def _database(server: EmbeddedPostgres, model: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.run_script(f'CREATE DATABASE "{name}" TEMPLATE "{model}" STRATEGY file_copy')
    yield server.url(name)
    server.run_script(f'DROP DATABASE "{name}" WITH (FORCE)')


# --- archive, client, principal: below, by those who build them ---------------------------------


@pytest.fixture
async def archive(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty archive on this test's database and directory."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache")
    async with open_archive(place) as opened:
        yield opened


@pytest.fixture(autouse=True)
def logs_kept() -> Iterator[None]:
    """Logs are afterwards as they were: whatever runs a command here configures them."""
    loggers = [logging.getLogger(), *map(logging.getLogger, OURS)]
    before = [(one, one.handlers[:], one.level) for one in loggers]
    yield
    for one, handlers, level in before:
        one.handlers[:] = handlers
        one.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def principal() -> Principal:
    """Somebody who may do everything."""
    return Principal("test")


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hash of a password cost nothing; to be asked for before what opens an archive."""
    monkeypatch.setattr(passwords, "PROFILE", profiles.CHEAPEST)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3Server]:
    """An S3 server, for tests of the group `s3`."""
    with s3_server.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
