"""What is really there: the bytes of an object, read again from the store itself."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from app.objects.base import ObjectStore


async def read_digest(
    objects: ObjectStore,
    key: str,
    offset: int,
    size: int,
    before: Callable[[int], Awaitable[None]] | None = None,
) -> bytes:
    """Return the SHA-256 of `size` bytes from `offset`; `before` is awaited with each chunk's size.

    Raises:
        NotFound: there is no such object.
        Unavailable: it is shorter, or the store does not answer.
    """
    digest = hashlib.sha256()
    objects.forget(key)
    async for chunk in await objects.stream(key, offset, size):
        if before is not None:
            await before(len(chunk))
        await asyncio.to_thread(digest.update, chunk)
    return digest.digest()
