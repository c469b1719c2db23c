"""A part of a large object is read with its blocks, each of which is what was stored."""

import random
from pathlib import Path

import pytest

from app.archive import checking, originals
from app.archive.context import Archive
from app.archive.findings import list_findings
from app.archive.originals import find_extent, read_stored, stream_stored
from app.errors import Damaged
from app.index.places import InstancePlace
from app.objects import staged
from app.objects.blocks import BLOCK_BYTES, BlockDigests, blocks_of
from app.rights import Principal
from tests.archive.test_repair import stored
from tests.archive.test_soundness import flip, is_found, place_of, readings
from tests.factories import make_part10
from tests.waiting import until

__all__ = ["readings"]
SIDE = 1300


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an object be large that has some blocks."""
    for module in (checking, originals):
        monkeypatch.setattr(module, "LARGE_BYTES", BLOCK_BYTES)


@pytest.fixture
def data() -> bytes:
    pixels = random.Random(1).randbytes(SIDE * SIDE * 2)
    data = make_part10(Rows=SIDE, Columns=SIDE, PixelData=pixels)
    assert len(data) // BLOCK_BYTES == 3
    return data


async def a_stream(archive: Archive, place: InstancePlace, offset: int, length: int) -> bytes:
    stream = await stream_stored(archive, place, offset, length)
    return b"".join([chunk async for chunk in stream])


def forget(archive: Archive) -> None:
    """Know nothing any more but what is kept in the cache, as after a start."""
    archive.soundness.__init__()  # type: ignore[misc]


def spoil_digests(archive: Archive) -> Path:
    """Let the cache have wrong digests, and nobody know better; return where."""
    (kept,) = archive.cache.directory.glob("blocks-*")
    kept.write_bytes(bytes(kept.stat().st_size))
    forget(archive)
    return kept


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_digests_are_the_same_however_the_bytes_come(size: int) -> None:
    data = random.Random(size).randbytes(size)
    whole, pieces = BlockDigests(), BlockDigests()
    whole.update(data)
    for at in range(0, size, 100_003):
        pieces.update(data[at : at + 100_003])
    assert whole.joined() == pieces.joined()
    assert len(whole.joined()) == 32 * len(blocks_of(0, size))


def test_blocks_are_those_with_bytes_of_the_range() -> None:
    assert list(blocks_of(0, 0)) == []
    assert list(blocks_of(0, 1)) == [0]
    assert list(blocks_of(BLOCK_BYTES - 1, 2)) == [0, 1]
    assert list(blocks_of(BLOCK_BYTES, BLOCK_BYTES)) == [1]


async def test_the_whole_is_read_once_and_then_no_more_than_blocks(
    archive: Archive, principal: Principal, data: bytes, readings: list[str]
) -> None:
    place = await place_of(archive, await stored(archive, principal, data))
    assert await read_stored(archive, place, 7, 9) == data[7:16]
    assert readings == [place.object_key]
    forget(archive)
    at = 2 * BLOCK_BYTES - 5
    assert await read_stored(archive, place, at, 10) == data[at : at + 10]
    assert await a_stream(archive, place, 5, 2 * BLOCK_BYTES) == data[5 : 2 * BLOCK_BYTES + 5]
    assert await a_stream(archive, place, at, len(data) - at) == data[at:]
    assert await a_stream(archive, place, 0, len(data)) == data
    assert len(readings) == 1
    assert find_extent(archive, place, at, 10) is not None


async def test_they_are_made_while_a_large_one_is_stored(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch, readings: list[str]
) -> None:
    monkeypatch.setattr(staged, "LARGE_BYTES", BLOCK_BYTES)
    pixels = random.Random(2).randbytes(1700 * 1700 * 2)
    data = make_part10(Rows=1700, Columns=1700, PixelData=pixels)
    place = await place_of(archive, await stored(archive, principal, data))
    digests = BlockDigests()
    digests.update(data)
    (kept,) = archive.cache.directory.glob("blocks-*")
    assert kept.read_bytes() == digests.joined()
    forget(archive)
    for at in (0, BLOCK_BYTES, len(data) - 9):
        assert await read_stored(archive, place, at, 9) == data[at : at + 9]
    assert readings == []


async def test_damage_elsewhere_lets_the_rest_be_read_and_in_the_part_is_never_given_out(
    archive: Archive, principal: Principal, data: bytes, tmp_path: Path
) -> None:
    ref = await stored(archive, principal, data)
    place = await place_of(archive, ref)
    assert await read_stored(archive, place, 0, 9) == data[:9]
    forget(archive)
    flip(tmp_path, place.object_key, BLOCK_BYTES + 5)
    assert find_extent(archive, place, 0, 9) is None
    assert await read_stored(archive, place, 0, BLOCK_BYTES) == data[:BLOCK_BYTES]
    for offset, length in ((BLOCK_BYTES, 1), (0, BLOCK_BYTES + 1), (0, len(data))):
        with pytest.raises(Damaged):
            await a_stream(archive, place, offset, length)
    await until(lambda: is_found(archive, principal))
    with pytest.raises(Damaged):
        await read_stored(archive, await place_of(archive, ref), 0, 9)


async def test_what_is_damaged_later_is_seen_at_once(
    archive: Archive, principal: Principal, data: bytes, tmp_path: Path
) -> None:
    place = await place_of(archive, await stored(archive, principal, data))
    for _ in range(2):
        assert await read_stored(archive, place, 0, 9) == data[:9]
    flip(tmp_path, place.object_key, 5)
    with pytest.raises(Damaged):
        await read_stored(archive, place, 0, 9)


async def test_a_block_comes_from_the_copy_at_once(
    replicated: Archive, principal: Principal, data: bytes, tmp_path: Path, readings: list[str]
) -> None:
    place = await place_of(replicated, await stored(replicated, principal, data))
    assert await read_stored(replicated, place, 0, 9) == data[:9]
    forget(replicated)
    flip(tmp_path, place.object_key, 5)
    assert await read_stored(replicated, place, 0, 9) == data[:9]
    assert await a_stream(replicated, place, 3, len(data) - 3) == data[3:]
    assert await a_stream(replicated, place, 0, len(data)) == data
    assert len(readings) == 1


async def test_digests_that_are_wrong_are_made_again(
    archive: Archive, principal: Principal, data: bytes, readings: list[str]
) -> None:
    place = await place_of(archive, await stored(archive, principal, data))
    assert await read_stored(archive, place, 0, 9) == data[:9]
    kept = spoil_digests(archive)
    assert await read_stored(archive, place, 0, 9) == data[:9]
    assert await read_stored(archive, place, len(data) - 9, 9) == data[-9:]
    assert readings.count(place.object_key) == 2
    forget(archive)
    assert await read_stored(archive, place, 0, 9) == data[:9]
    assert await list_findings(archive, principal, 0, 10) == []
    kept.write_bytes(b"short")
    forget(archive)
    assert await read_stored(archive, place, 0, 9) == data[:9]
    assert readings.count(place.object_key) == 3


async def test_digests_that_are_wrong_keep_no_copy_from_being_read(
    replicated: Archive, principal: Principal, data: bytes, tmp_path: Path
) -> None:
    place = await place_of(replicated, await stored(replicated, principal, data))
    assert await read_stored(replicated, place, 0, 9) == data[:9]
    spoil_digests(replicated)
    flip(tmp_path, place.object_key, 5)
    assert await read_stored(replicated, place, 0, 9) == data[:9]
