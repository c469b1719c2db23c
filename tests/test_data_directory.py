"""Every version opens the data directories of all versions before it."""

import asyncio
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from app.archive.context import Place, open_archive
from app.index.account import choose_account
from app.index.embedded import EmbeddedPostgres
from app.index.migrations import migrate
from tests.data_directory import FIXTURES, describe


@pytest.fixture(params=sorted(FIXTURES.glob("*.tar.xz")), ids=lambda path: path.name)
def data_directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data directory as its version left it."""
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="tar")  # keeps the modes, which PostgreSQL checks
    directory = tmp_path / "data"
    if os.geteuid() == 0:
        account = choose_account(directory / "postgres")
        for place in (directory / "postgres").rglob("*"):
            shutil.chown(place, account.uid, account.gid)
    return directory


async def test_an_older_data_directory_is_opened_as_it_was(data_directory: Path) -> None:
    server = EmbeddedPostgres(data_directory / "postgres")
    server.start()
    try:
        url = server.url("fileroom")
        await asyncio.to_thread(migrate, url)
        place = Place(url, data_directory / "objects", data_directory / "cache")
        async with open_archive(place) as archive:
            answered = await describe(archive)
    finally:
        server.stop()
    assert json.loads(json.dumps(answered)) == json.loads(
        (data_directory / "expected.json").read_text("utf-8")
    )


def test_there_is_a_data_directory_of_each_released_version() -> None:
    assert list(FIXTURES.glob("data-directory-0.1.0.tar.xz"))
