"""Thumbnails made after a store: for those who ask later, and at nobody's cost."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from app.archive import thumbnails_ahead
from app.archive.context import Archive
from app.archive.render import RenderRequest
from app.archive.thumbnails import plan_thumbnail
from app.archive.thumbnails_ahead import thumbnails_made_ahead
from app.archive.upcoming import Upcoming
from app.dicom.uids import SeriesRef, StudyRef
from app.mime.media_types import Form
from app.rights import Principal
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10

REQUEST = RenderRequest([Form("image/*", multipart=False), Form("*/*", multipart=False)])


@pytest.fixture
def hasty(archive: Archive) -> Archive:
    """An archive that waits for nothing."""
    return replace(archive, upcoming=Upcoming(0, 0.01))


def kept(archive: Archive) -> list[Path]:
    return list(archive.cache.directory.glob("rendered-*"))


async def wait_for_pictures(archive: Archive, count: int) -> None:
    for _ in range(200):
        if len(kept(archive)) >= count and archive.workers.is_idle():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(kept(archive))} pictures, {count} were awaited")


async def test_a_series_and_its_study_have_their_thumbnail_before_anyone_asks(
    hasty: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = make_dataset(), make_dataset()
    async with thumbnails_made_ahead(hasty):
        await store(hasty, Principal("storer"), make_part10(first), make_part10(other))
        await wait_for_pictures(hasty, 2)
    monkeypatch.setattr("app.archive.rendered_images._RENDER", "none:none")  # nothing is made now
    for dataset in (first, other):
        study, series = dataset.StudyInstanceUID, dataset.SeriesInstanceUID
        for ref in (StudyRef(study), SeriesRef(study, series)):
            rendering = await plan_thumbnail(hasty, Principal("reader"), ref, REQUEST, None)
            answer = await rendering.open()
            assert answer.media_type == "image/jpeg"


async def test_nothing_is_made_of_what_shows_nothing(
    hasty: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, thumbnails_ahead.__name__)
    raw = make_dataset(Rows=None, Columns=None, PixelData=None)
    async with thumbnails_made_ahead(hasty):
        await store(hasty, Principal("storer"), make_part10(raw))
        await store(hasty, Principal("storer"), make_part10(make_dataset()))
        await wait_for_pictures(hasty, 1)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


async def test_a_fault_ends_one_picture_and_no_more(
    hasty: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make = plan_thumbnail

    async def faulty(*arguments: object) -> object:
        monkeypatch.setattr(thumbnails_ahead, "plan_thumbnail", make)
        raise KeyError("a bug")

    monkeypatch.setattr(thumbnails_ahead, "plan_thumbnail", faulty)
    async with thumbnails_made_ahead(hasty):
        for _ in range(2):
            await store(hasty, Principal("storer"), make_part10(make_dataset()))
            await asyncio.sleep(0.1)
        await wait_for_pictures(hasty, 1)
    (record,) = caplog.records
    assert record.levelname == "ERROR"


async def test_without_it_a_store_makes_no_pictures(hasty: Archive) -> None:
    await store(hasty, Principal("storer"), make_part10(make_dataset()))
    await asyncio.sleep(0.3)
    assert kept(hasty) == []
