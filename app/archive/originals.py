"""Stored bytes as reads want them: from the start of an Instance, a deflated one inflated.

A deflated Data Set has no offsets to read by, so an inflated rendition of the object is made once
and kept in the cache; the offsets that the scan recorded are into it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from app.archive.blocks import load_digests
from app.archive.checking import check_part, doubted, is_believed, stamp_of
from app.archive.context import Archive
from app.dicom.deflated import DEFLATED, inflate_dataset
from app.dicom.limits import Limits
from app.dicom.source import FileSource, Source
from app.errors import Damaged, NotFound, Unavailable
from app.index.frames import FramePlace
from app.index.places import InstancePlace
from app.index.quarantine import is_quarantined
from app.objects.blocks import BLOCK_BYTES, LARGE_BYTES
from app.objects.extents import Extent
from app.objects.replicated import ReplicatedStore, stream_whole

BLOCK = 2**20


class Original(Protocol):
    """The bytes of one Instance, a deflated one inflated; offsets count from its beginning."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        ...


async def read_stored(archive: Archive, place: InstancePlace, offset: int, length: int) -> bytes:
    """Return exactly `length` of an Instance's stored bytes.

    Raises:
        Unavailable: the object store does not answer, or has lost or damaged the object.
    """
    start = place.base_offset + offset
    try:
        if not is_believed(archive, place, offset, length):
            await check_part(archive, place, offset, length)
        data = archive.objects.read_now(place.object_key, start, length)
        if data is not None:
            return data
        return await archive.objects.read(place.object_key, start, length)
    except NotFound as error:
        raise lost(place) from error


def find_extent(archive: Archive, place: InstancePlace, offset: int, length: int) -> Extent | None:
    """Return `length` of an Instance's stored bytes as a file's, where those are in memory."""
    if not is_believed(archive, place, offset, length):
        return None
    return archive.objects.extent_now(place.object_key, place.base_offset + offset, length)


async def open_extent(archive: Archive, place: InstancePlace, part: FramePlace) -> Extent | None:
    """Return some of an Instance's stored bytes unread; None where objects are no files.

    Raises:
        Unavailable: the object store does not answer, or has lost the object.
    """
    offset = place.base_offset + part.offset
    try:
        if not is_believed(archive, place, part.offset, part.length):
            await check_part(archive, place, part.offset, part.length)
        return await archive.objects.extent(place.object_key, offset, part.length)
    except NotFound as error:
        raise lost(place) from error


async def stream_stored(
    archive: Archive, place: InstancePlace, offset: int, length: int
) -> AsyncIterator[bytes]:
    """Look the object up, then return an iterator over some of an Instance's stored bytes.

    It was read before, now or within the last hour. A large one is checked block by block on the
    way. A whole Instance of one block, or a large one without digests of its blocks, is read once:
    its end comes only if its digest is right.

    Raises:
        Unavailable: the object store does not answer, or has lost or damaged the object. In
            mid-stream, too.
    """
    whole = (offset, length) == (0, place.size)
    try:
        if not is_believed(archive, place, offset, length):
            large = place.size > LARGE_BYTES
            if large and not (whole and await load_digests(archive, place) is None):
                pieces = _in_blocks(archive, place, offset, length)
                return _after(await anext(pieces, b""), pieces)
            if whole and (large or place.size <= BLOCK):
                return await _stream_whole(archive, place)
            await check_part(archive, place, offset, length)
        return await archive.objects.stream(place.object_key, place.base_offset + offset, length)
    except NotFound as error:
        raise lost(place) from error


async def _in_blocks(
    archive: Archive, place: InstancePlace, offset: int, length: int
) -> AsyncIterator[bytes]:
    """Yield some of a large Instance's bytes."""
    end = offset + length
    while offset < end:
        following = min((offset // BLOCK_BYTES + 1) * BLOCK_BYTES, end)
        yield await read_stored(archive, place, offset, following - offset)
        offset = following


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _stream_whole(archive: Archive, place: InstancePlace) -> AsyncIterator[bytes]:
    objects, key = archive.objects, place.object_key
    stream = (
        objects.stream_whole
        if isinstance(objects, ReplicatedStore)
        else partial(stream_whole, objects)
    )
    try:
        stamp = await stamp_of(objects, key)
        chunks = await stream(key, place.base_offset, place.size, place.sha256)
    except Unavailable as error:
        raise doubted(archive, place, error) from error
    return _learning(archive, place, stamp, chunks)


async def _learning(
    archive: Archive, place: InstancePlace, stamp: int | None, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Pass chunks on; that all came is learnt of the first store, if it was that one."""
    try:
        async for chunk in chunks:
            yield chunk
    except Unavailable as error:
        raise doubted(archive, place, error) from error
    if stamp is not None and stamp == archive.objects.stamp_now(place.object_key):
        archive.soundness.learn(place.object_key, stamp)


def lost(place: InstancePlace) -> Unavailable:
    """Return the error for an object that the index names and the store does not have."""
    if is_quarantined(place.object_key):
        return Damaged(f"the bytes of Instance {place.ref.instance} are damaged, in every store")
    return Unavailable(f"the bytes of Instance {place.ref.instance} are missing")


@dataclass(frozen=True, slots=True)
class _Stored:
    archive: Archive
    place: InstancePlace

    async def read(self, offset: int, length: int) -> bytes:
        return await read_stored(self.archive, self.place, offset, length)


@dataclass(frozen=True, slots=True)
class _Inflated:
    path: Path

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            raise Unavailable("the inflated rendition was thrown away; ask again") from None

    async def read(self, offset: int, length: int) -> bytes:
        return await asyncio.to_thread(self.read_now, offset, length)

    def read_now(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes. Blocks."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            raise Unavailable("the inflated rendition was thrown away; ask again") from None
        try:
            return FileSource(descriptor, offset + length).read(offset, length)
        finally:
            os.close(descriptor)


async def open_original(archive: Archive, place: InstancePlace) -> Original:
    """Return what reads an Instance's bytes; makes the rendition of a deflated one if need be.

    Raises:
        NotFound, Unavailable: the object cannot be read.
        InvalidDataset: a deflated Data Set is damaged.
    """
    if place.transfer_syntax_uid not in DEFLATED:
        return _Stored(archive, place)
    name = f"inflated-{place.sha256.hex()}"
    path = archive.cache.find(name)
    if path is None:
        async with archive.cache.making(name):
            path = archive.cache.find(name) or await _inflate(archive, place, name)
    return _Inflated(path)


async def _inflate(archive: Archive, place: InstancePlace, name: str) -> Path:
    temporary = archive.cache.temporary()
    source = source_of(archive, place)
    try:
        await asyncio.to_thread(
            _write_rendition, source, place.dataset_offset, archive.limits, temporary
        )
        return await asyncio.to_thread(archive.cache.add, name, temporary)
    except OSError as error:
        raise Unavailable("the inflated rendition cannot be kept") from error
    finally:
        temporary.unlink(missing_ok=True)


class _Rendition:
    """The inflated rendition as a Source for threads."""

    def __init__(self, inflated: _Inflated) -> None:
        self._inflated = inflated
        self.size = inflated.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        return self._inflated.read_now(offset, min(length, self.size - offset))


def _write_rendition(source: Source, dataset_offset: int, limits: Limits, path: Path) -> None:
    with path.open("wb") as file:
        file.write(source.read(0, dataset_offset))
        for chunk in inflate_dataset(source, dataset_offset, limits):
            file.write(chunk)


async def inflated_source(archive: Archive, place: InstancePlace) -> Source:
    """Return an Instance's bytes as a Source for threads, those of a deflated one inflated.

    Raises:
        NotFound, Unavailable: the object cannot be read.
        InvalidDataset: a deflated Data Set is damaged.
    """
    original = await open_original(archive, place)
    if isinstance(original, _Inflated):
        return await asyncio.to_thread(_Rendition, original)
    return source_of(archive, place)


def source_of(archive: Archive, place: InstancePlace) -> Source:
    """Return an Instance's stored bytes as a Source for threads, whatever the store is.

    Its reads wait for the event loop, so they must never run on it.
    """
    return _Waiting(asyncio.get_running_loop(), archive, place)


class _Waiting:
    """Reads an object from a thread by asking the event loop and waiting for it."""

    __slots__ = ("_archive", "_loop", "_place", "size")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, archive: Archive, place: InstancePlace
    ) -> None:
        self._loop = loop
        self._archive = archive
        self._place = place
        self.size = place.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        reading = read_stored(self._archive, self._place, offset, length)
        return asyncio.run_coroutine_threadsafe(reading, self._loop).result()
