"""What is read of the stores to see that an Instance, or a part of it, is what was stored."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from app.archive.blocks import forget_digests, keep_digests, load_digests
from app.archive.context import Archive
from app.archive.repair import repair_object
from app.errors import Damaged, Unavailable
from app.index.places import InstancePlace
from app.objects.base import ObjectStore
from app.objects.blocks import BLOCK_BYTES, LARGE_BYTES, BlockDigests, blocks_of, fits
from app.objects.replicated import ReplicatedStore, stream_whole

_Value = TypeVar("_Value")


def is_believed(archive: Archive, place: InstancePlace, offset: int, length: int) -> bool:
    """Say whether a part of an Instance may be given out."""
    key, soundness = place.object_key, archive.soundness
    stamp = archive.objects.stamp_now(key)
    return soundness.knows(key, stamp) or (
        place.size > LARGE_BYTES and soundness.knows_blocks(key, stamp, blocks_of(offset, length))
    )


async def check_part(archive: Archive, place: InstancePlace, offset: int, length: int) -> None:
    """See that a part of an Instance is what was stored, from the first store that has it so.

    Raises:
        NotFound: no store has the object.
        Unavailable: no store has it, or that part of it, as it was stored.
    """
    key, digests = place.object_key, None
    if place.size > LARGE_BYTES:
        digests = await load_digests(archive, place)
    if digests is None:
        await archive.soundness.check(key, partial(_check_whole, archive, place))
        return
    for number in blocks_of(offset, length):
        await archive.soundness.check(
            f"{key} {number}", partial(_check_block, archive, place, digests, number)
        )


async def _check_whole(archive: Archive, place: InstancePlace) -> None:
    """Read an Instance as a whole; a large one has digests of its blocks then."""
    is_large = place.size > LARGE_BYTES

    async def read(store: ObjectStore) -> BlockDigests:
        digests = BlockDigests()
        at = place.base_offset
        async for chunk in await stream_whole(
            store, place.object_key, at, place.size, place.sha256
        ):
            if is_large:
                await asyncio.to_thread(digests.update, chunk)
        return digests

    digests = await _checked(archive, place, read, archive.soundness.learn)
    if is_large:
        await keep_digests(archive, place.sha256, digests.joined())


async def _check_block(archive: Archive, place: InstancePlace, digests: bytes, number: int) -> None:
    """Read a block of a large Instance."""
    at = number * BLOCK_BYTES
    length = min(BLOCK_BYTES, place.size - at)

    async def read(store: ObjectStore) -> None:
        data = await store.read(place.object_key, place.base_offset + at, length)
        if not await asyncio.to_thread(fits, data, digests, number):
            raise Damaged("its bytes are not those that were stored")

    def learn(key: str, stamp: int) -> None:
        archive.soundness.learn_blocks(key, stamp, (number,))

    try:
        await _checked(archive, place, read, learn)
    except Damaged:
        await forget_digests(archive, place)
        raise


async def _checked(
    archive: Archive,
    place: InstancePlace,
    read: Callable[[ObjectStore], Awaitable[_Value]],
    learn: Callable[[str, int], None],
) -> _Value:
    """Return what a reading found; `learn` of the first store, if it was that one."""
    objects, key = archive.objects, place.object_key
    stamp = await stamp_of(objects, key)
    try:
        if isinstance(objects, ReplicatedStore):
            _, found = await objects.from_any(key, read)
        else:
            found = await read(objects)
    except Unavailable as error:
        raise doubted(archive, place, error) from error
    if stamp is not None and stamp == objects.stamp_now(key):
        learn(key, stamp)
    return found


async def stamp_of(objects: ObjectStore, key: str) -> int | None:
    """Return the stamp of an object, which is opened for that; None if there is none to trust.

    Raises:
        NotFound, Unavailable: it cannot be opened.
    """
    stamp = objects.stamp_now(key)
    if stamp is None:
        await objects.size(key)  # opens the file
        stamp = objects.stamp_now(key)
    return stamp


def doubted(archive: Archive, place: InstancePlace, error: Unavailable) -> Unavailable:
    """Return the error for an object that cannot be read as a whole, and have it looked at.

    What is damaged or cut short goes to quarantine then; a store that does not answer at all has
    damaged nothing.
    """
    key = place.object_key
    archive.soundness.repair(key, lambda: repair_object(archive, key))
    if isinstance(error, Damaged):
        return Damaged(f"the bytes of Instance {place.ref.instance} are damaged")
    return error
