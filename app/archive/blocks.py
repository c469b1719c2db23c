"""Where the digests of a large object's blocks are kept: in the cache, under its own digest.

They are made while the object is stored, or while it is read as a whole and has its own digest: so
they are of these bytes wherever those lie, and are made again where the cache has thrown them away.
"""

import asyncio

from app.archive.context import Archive
from app.index.places import InstancePlace
from app.objects.blocks import are_of


async def load_digests(archive: Archive, place: InstancePlace) -> bytes | None:
    """Return the digests of an Instance's blocks, if they are kept."""
    known = archive.soundness.digests.get(place.sha256)
    if known is None:
        known = await archive.cache.load(_name(place.sha256))
        if known is None or not are_of(known, place.size):
            return None
        archive.soundness.digests.add(place.sha256, known)
    return known


async def keep_digests(archive: Archive, sha256: bytes, digests: bytes) -> None:
    """Keep the digests of the blocks of an object, by its own."""
    archive.soundness.digests.add(sha256, digests)
    await asyncio.to_thread(archive.cache.keep, _name(sha256), digests)


async def forget_digests(archive: Archive, place: InstancePlace) -> None:
    """Keep them no more: either they are wrong, or the bytes are."""
    archive.soundness.digests.remove(place.sha256)
    await asyncio.to_thread(archive.cache.remove, _name(place.sha256))


def _name(sha256: bytes) -> str:
    return f"blocks-{sha256.hex()}"
