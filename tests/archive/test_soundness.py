"""No part of an object is given out before the whole was read, and found to be what was stored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from app.archive import checking, originals, soundness
from app.archive.bulk_data import retrieve_bulk_data
from app.archive.context import Archive
from app.archive.findings import list_findings
from app.archive.frames import find_frames, open_frames
from app.archive.originals import find_extent, read_stored, stream_stored
from app.archive.thumbnails import plan_thumbnail
from app.dicom.uids import InstanceRef, SeriesRef
from app.errors import Damaged, InvalidDataset, Unavailable
from app.index.places import InstancePlace, locate_instance
from app.mime.media_types import Form
from app.objects import replicated as stores
from app.objects.base import ObjectStore
from app.objects.local import LocalStore
from app.objects.replicated import ReplicatedStore
from app.rights import Principal, Scope
from tests.archive.test_repair import PICTURE, lose, stored
from tests.factories import make_part10
from tests.waiting import until

OCTETS = Form("application/octet-stream", multipart=False)
_Read = Callable[[Archive, Principal, InstanceRef], Awaitable[object]]


@pytest.fixture
def data() -> bytes:
    return make_part10(Rows=64, Columns=64)


async def a_frame(archive: Archive, principal: Principal, ref: InstanceRef) -> bytes:
    found = await find_frames(archive, principal, ref, [1], [OCTETS])
    (body,) = (await open_frames(archive, principal, found)).bodies  # type: ignore[misc]
    return b"".join([chunk async for chunk in body.chunks])


async def a_picture(archive: Archive, principal: Principal, ref: InstanceRef) -> object:
    series = SeriesRef(ref.study, ref.series)
    return await (await plan_thumbnail(archive, principal, series, PICTURE, None)).open()


async def a_value(archive: Archive, principal: Principal, ref: InstanceRef) -> object:
    answer = await retrieve_bulk_data(archive, principal, ref, "7FE00010", [OCTETS], "u")
    (body,) = answer.bodies  # type: ignore[misc]
    return b"".join([chunk async for chunk in body.chunks])


async def the_whole(archive: Archive, _: Principal, ref: InstanceRef) -> bytes:
    place = await place_of(archive, ref)
    return b"".join([chunk async for chunk in await stream_stored(archive, place, 0, place.size)])


async def a_range(archive: Archive, _: Principal, ref: InstanceRef) -> bytes:
    place = await place_of(archive, ref)
    return b"".join([chunk async for chunk in await stream_stored(archive, place, 5, 100)])


async def place_of(archive: Archive, ref: InstanceRef) -> InstancePlace:
    return await locate_instance(archive.index, Scope(), ref)


async def is_found(archive: Archive, principal: Principal) -> bool:
    return bool(await list_findings(archive, principal, 0, 10))


READS = [a_frame, a_picture, a_value, the_whole, a_range]


@pytest.mark.parametrize("read", READS)
async def test_nothing_damaged_is_given_out_and_what_was_found_is_kept_in_quarantine(
    archive: Archive, principal: Principal, data: bytes, read: _Read
) -> None:
    ref = await stored(archive, principal, data)
    await lose(archive, "first", (await place_of(archive, ref)).object_key, "bit")
    with pytest.raises(Damaged):
        await read(archive, principal, ref)
    await until(lambda: is_found(archive, principal))
    (finding,) = await list_findings(archive, principal, 0, 10)
    assert (finding.instance, finding.state) == (ref.instance, "quarantined")
    assert not list(archive.cache.directory.glob("rendered-*"))


@pytest.mark.parametrize("read", READS)
async def test_with_a_copy_the_good_bytes_are_given_out(
    replicated: Archive, principal: Principal, data: bytes, read: _Read
) -> None:
    ref = await stored(replicated, principal, data)
    good = await the_whole(replicated, principal, ref)
    assert good == data
    replicated.soundness._known.remove((await place_of(replicated, ref)).object_key)
    await lose(replicated, "first", (await place_of(replicated, ref)).object_key, "bit")
    await read(replicated, principal, ref)
    assert await a_frame(replicated, principal, ref) in data


async def test_what_a_copy_alone_has_whole_is_not_believed_of_the_first_store(
    replicated: Archive, principal: Principal, data: bytes
) -> None:
    ref = await stored(replicated, principal, data)
    place = await place_of(replicated, ref)
    await lose(replicated, "first", place.object_key, "bit")
    for _ in range(2):
        assert await a_frame(replicated, principal, ref) in data
        assert isinstance(replicated.objects, ReplicatedStore)
        replicated.objects._suspects.clear()  # as it is after a while, and nothing was repaired
    end = place.size - 7
    assert await read_stored(replicated, place, end, 7) == data[-7:]  # where the bit is


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all objects that were read as a whole."""
    read: list[str] = []
    given_out, checked = originals._stream_whole, stores.stream_whole

    async def noted(archive: Archive, place: InstancePlace) -> AsyncIterator[bytes]:
        read.append(place.object_key)
        return await given_out(archive, place)

    async def noted_too(store: ObjectStore, key: str, *what: Any) -> AsyncIterator[bytes]:
        read.append(key)
        return await checked(store, key, *what)

    monkeypatch.setattr(originals, "_stream_whole", noted)
    monkeypatch.setattr(checking, "stream_whole", noted_too)
    return read


async def test_it_is_read_once_an_hour_however_many_ask(
    archive: Archive,
    principal: Principal,
    data: bytes,
    readings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = await stored(archive, principal, data)
    place = await place_of(archive, ref)
    assert find_extent(archive, place, 0, 10) is None
    parts = await asyncio.gather(*(read_stored(archive, place, at, 7) for at in range(50)))
    assert parts == [data[at : at + 7] for at in range(50)]
    assert await the_whole(archive, principal, ref) == data
    assert readings == [place.object_key]
    later = monotonic() + soundness.KNOWN_SECONDS + 1
    monkeypatch.setattr(soundness, "monotonic", lambda: later)
    assert await read_stored(archive, place, 0, 7) == data[:7]
    assert len(readings) == 2


@pytest.mark.parametrize("read", READS)
async def test_damage_after_a_good_read_ends_the_trust(
    archive: Archive, principal: Principal, data: bytes, tmp_path: Path, read: _Read
) -> None:
    ref = await stored(archive, principal, data)
    place = await place_of(archive, ref)
    await the_whole(archive, principal, ref)
    await a_frame(archive, principal, ref)
    flip(tmp_path, place.object_key, place.size - 1)
    with pytest.raises(Damaged):
        await read(archive, principal, ref)
    await until(lambda: is_found(archive, principal))


@pytest.mark.parametrize("read", READS)
async def test_what_is_cut_short_goes_to_quarantine_whatever_is_asked_of_it(
    archive: Archive, principal: Principal, data: bytes, read: _Read
) -> None:
    ref = await stored(archive, principal, data)
    await lose(archive, "first", (await place_of(archive, ref)).object_key, "cut")
    with pytest.raises(Unavailable):
        await read(archive, principal, ref)
    await until(lambda: is_found(archive, principal))


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("at", [500, -1])
async def test_a_larger_one_comes_from_the_copy_at_once(
    replicated: Archive, principal: Principal, tmp_path: Path, read: _Read, at: int
) -> None:
    data = make_part10(Rows=1200, Columns=1200, NumberOfFrames=1)
    assert len(data) > originals.BLOCK
    ref = await stored(replicated, principal, data)
    flip(tmp_path, (await place_of(replicated, ref)).object_key, at % len(data))
    await read(replicated, principal, ref)
    assert await the_whole(replicated, principal, ref) == data


def flip(tmp_path: Path, key: str, at: int) -> None:
    """Flip a bit of an object in the first store."""
    path = tmp_path / "objects" / key
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))


async def test_whoever_goes_away_stops_nobody_else(
    archive: Archive, principal: Principal, data: bytes, readings: list[str]
) -> None:
    place = await place_of(archive, await stored(archive, principal, data))
    first, second = (asyncio.create_task(read_stored(archive, place, 0, 7)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == data[:7]
    assert first.cancelled()
    assert len(readings) == 1


async def test_a_store_that_does_not_answer_has_damaged_nothing(
    archive: Archive, principal: Principal, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await stored(archive, principal, data)

    async def silent(*_: object) -> AsyncIterator[bytes]:
        raise Unavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "stream", silent)
        with pytest.raises(Unavailable, match="no answer"):
            await a_frame(archive, principal, ref)
    assert await a_frame(archive, principal, ref)
    assert await list_findings(archive, principal, 0, 10) == []


async def test_a_deflated_one_is_not_inflated_from_damaged_bytes(
    archive: Archive, principal: Principal
) -> None:
    ref = await stored(
        archive, principal, make_part10(transfer_syntax=DeflatedExplicitVRLittleEndian)
    )
    await lose(archive, "first", (await place_of(archive, ref)).object_key, "bit")
    with pytest.raises((Damaged, InvalidDataset)):
        await a_frame(archive, principal, ref)
    assert not list(archive.cache.directory.glob("inflated-*"))
