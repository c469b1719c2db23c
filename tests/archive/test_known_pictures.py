"""What is remembered of pictures, and that it is bounded."""

import asyncio
from dataclasses import replace

import pytest

from app.archive import known_pictures
from app.archive.context import Archive
from app.archive.known_pictures import Known, KnownPictures
from app.archive.leases import LEASE_SECONDS
from app.archive.removal import delete
from app.archive.render import RenderRequest, plan_frames, plan_instance
from app.dicom.pictures import Wanted
from app.dicom.uids import InstanceRef
from app.errors import Gone, NotFound
from app.index import described
from app.mime.media_types import Form
from app.rights import Principal, Scope
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10

READER = Principal("reader")
REQUEST = RenderRequest([Form("*/*", multipart=False)])


@pytest.fixture
async def stored(archive: Archive) -> InstanceRef:
    """An image."""
    dataset = make_dataset()
    await store(archive, Principal("storer"), make_part10(dataset))
    return InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


async def picture_of(archive: Archive, ref: InstanceRef, request: RenderRequest) -> bytes:
    answer = await (await plan_instance(archive, READER, ref, request)).open()
    (body,) = answer.bodies  # type: ignore[misc]
    return b"".join([chunk async for chunk in body.chunks])


async def test_the_same_request_needs_no_data_set(
    archive: Archive, stored: InstanceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await plan_instance(archive, READER, stored, REQUEST)
    picture = await picture_of(archive, stored, REQUEST)
    other = replace(REQUEST, wanted=Wanted(quality=10))
    monkeypatch.setattr(described, "LOAD_DESCRIBED", "nothing that a database understands")
    assert (await plan_instance(archive, READER, stored, REQUEST)).etag == first.etag
    assert await picture_of(archive, stored, REQUEST) == picture
    assert await picture_of(archive, stored, other) != picture  # what it says is remembered, too


async def test_who_may_not_see_it_gets_nothing_that_is_remembered(
    archive: Archive, stored: InstanceRef
) -> None:
    await picture_of(archive, stored, REQUEST)
    stranger = Principal("stranger", Scope(studies=frozenset()))
    with pytest.raises(NotFound):
        await plan_instance(archive, stranger, stored, REQUEST)
    with pytest.raises(NotFound):
        await plan_frames(archive, stranger, stored, [1], REQUEST)


async def test_a_picture_that_was_thrown_away_is_made_again(
    archive: Archive, stored: InstanceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_pictures, "LARGEST", 0)
    picture = await picture_of(archive, stored, REQUEST)
    assert await picture_of(archive, stored, REQUEST) == picture  # from the cache
    for kept in archive.cache.directory.glob("rendered-*"):
        kept.unlink()
    assert await picture_of(archive, stored, REQUEST) == picture


async def test_what_is_removed_and_stored_again_is_found_where_it_lies_now(
    archive: Archive,
) -> None:
    dataset = make_dataset()
    ref = InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    data = make_part10(dataset)
    await store(archive, Principal("storer"), data)
    picture = await picture_of(archive, ref, REQUEST)
    await delete(archive, Principal("remover"), ref)
    with pytest.raises((NotFound, Gone)):
        await plan_instance(archive, READER, ref, REQUEST)
    await store(archive, Principal("storer"), data)
    await asyncio.sleep(LEASE_SECONDS)
    assert await picture_of(archive, ref, REQUEST) == picture
    assert await picture_of(archive, ref, replace(REQUEST, wanted=Wanted(quality=10))) != picture


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_pictures, "MOST_KNOWN", 2)
    monkeypatch.setattr(known_pictures, "MOST_BYTES", 10)
    known = KnownPictures()
    for number in range(3):
        known.learn(number, Known(f"{number}", "image/png", multipart=False, etag=""))
        known.find(0)
        known.hold(f"{number}", b"12345")
        known.hold(f"{number}", b"12345")
        known.picture("0")
    assert [known.find(number) is not None for number in range(3)] == [True, False, True]
    assert [known.picture(f"{number}") for number in range(3)] == [b"12345", None, b"12345"]
