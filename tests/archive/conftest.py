"""Archives with copies, and one whose index is made anew."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.archive.context import Archive, Place, open_archive
from app.index.migrations import migrate
from app.objects.base import new_attempt
from app.objects.bucket import CopyPlace
from tests.objects.conftest import ON_S3


@pytest.fixture(params=["local", pytest.param("s3", marks=ON_S3)])
def second(request: pytest.FixtureRequest, tmp_path: Path) -> CopyPlace:
    """A `sync` copy, in another directory or in a bucket."""
    where = tmp_path / "second"
    if request.param == "s3":
        where = request.getfixturevalue("s3").bucket(new_attempt())
    return CopyPlace("second", sync=True, where=where)


@pytest.fixture
def later(tmp_path: Path) -> CopyPlace:
    """An `async` copy, in a third directory."""
    return CopyPlace("later", sync=False, where=tmp_path / "later")


@pytest.fixture
async def replicated(
    database_url: str, tmp_path: Path, second: CopyPlace
) -> AsyncIterator[Archive]:
    """An empty archive with a `sync` copy."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache", copies=[second])
    async with open_archive(place) as opened:
        yield opened


@pytest.fixture
async def followed(database_url: str, tmp_path: Path, later: CopyPlace) -> AsyncIterator[Archive]:
    """An empty archive with an `async` copy."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache", copies=[later])
    async with open_archive(place) as opened:
        yield opened


@pytest.fixture
async def again(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """The same objects with a new, empty index."""
    await asyncio.to_thread(migrate, empty_database_url)
    place = Place(empty_database_url, tmp_path / "objects", tmp_path / "cache-again")
    async with open_archive(place) as opened:
        yield opened
