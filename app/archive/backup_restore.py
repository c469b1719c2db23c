"""Restore: the index of a backup and its objects, into an archive that is empty.

The index comes first, all of it or nothing, and is compared with what was backed up. Then each
object that it names, checked against its digest. What was restored already is not fetched again, so
a restore that was broken off goes on when it is run once more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from app.archive.answers import ahead
from app.archive.backup import AT_ONCE, Copied, Fate, is_whole
from app.archive.backup_place import Backup, BackupPlace, object_name, unpack_secrets
from app.archive.context import Archive
from app.archive.digests import read_digest
from app.archive.segment_stores import fetch_sound_by_key, is_sound
from app.errors import NotFound, Unavailable
from app.index.dump import compare_tables, restore_dump, server_version
from app.index.kept import KeptObject, list_kept, list_segment_keys
from app.objects.base import ObjectStore
from app.objects.staged import BLOCK, Staged

_MAJOR = 10_000


async def restore_index(url: str, place: BackupPlace, backup: Backup) -> None:
    """Load the index of a backup into the empty database at `url`.

    Raises:
        Conflict: the database is not empty.
        Unavailable: the backup cannot be read, is damaged, or is not what was backed up.
    """
    staged = await place.get(backup, backup.dump_key)
    try:
        if staged.sha256.hex() != backup.index_sha256:
            raise Unavailable("the index in this backup is damaged; take another backup")
        await restore_dump(url, fetched_chunks(staged))
    finally:
        staged.discard()
    server = await server_version(url)
    if server // _MAJOR == backup.server // _MAJOR:  # another one may hash otherwise
        other = await compare_tables(url, backup.tables)
        if other:
            raise Unavailable(f"these tables are not as they were backed up: {', '.join(other)}")


async def restore_objects(
    archive: Archive,
    place: BackupPlace,
    backup: Backup,
    tell: Callable[[Copied], None],
) -> None:
    """Fetch every object that the index names and that is not there; `tell` of each.

    Raises:
        Conflict: the store has other secrets already.
        StorageFull, Unavailable: place or store fail.
    """
    staged = await place.get(backup, backup.secrets_key)
    try:
        kept = unpack_secrets(staged.source().read(0, staged.size))
    finally:
        staged.discard()
    for name, secret in kept.items():
        await archive.objects.keep_secret(name, secret)
    restored = ahead(
        list_kept(archive.index), lambda one: _fetch(archive, place, backup, one), AT_ONCE
    )
    async for copied in restored:
        tell(copied)
    async for copied in ahead(
        list_segment_keys(archive.index), lambda key: _fetch_segment(archive, place, backup, key), 1
    ):
        tell(copied)


async def _fetch(archive: Archive, place: BackupPlace, backup: Backup, kept: KeptObject) -> Copied:
    def told(fate: Fate, detail: str = "") -> Copied:
        return Copied(fate, kept.key, kept.size, detail)

    if await _is_there(archive.objects, kept):
        return told(Fate.THERE)
    try:
        staged = await place.get(backup, object_name(kept.key))
    except NotFound:
        return told(Fate.MISSING, "the backup has no such object")
    except Unavailable as error:
        return told(Fate.MISSING, str(error))
    try:
        if not is_whole(staged, kept):
            return told(Fate.MISSING, "its bytes in the backup are not those that were stored")
        await _put(archive, kept.key, staged)
    finally:
        staged.discard()
    return told(Fate.COPIED)


async def _fetch_segment(archive: Archive, place: BackupPlace, backup: Backup, key: str) -> Copied:
    """Fetch a segment of the log, unless it is there as it was sealed."""
    try:
        segment = await fetch_sound_by_key(archive, key)
        return Copied(Fate.THERE, key, len(segment.as_bytes()))
    except (NotFound, Unavailable):
        await archive.objects.check()
    try:
        staged = await place.get(backup, object_name(key))
    except (NotFound, Unavailable) as error:
        return Copied(Fate.MISSING, key, 0, str(error))
    try:
        if not await is_sound(archive, key, staged.source().read(0, staged.size)):
            return Copied(Fate.MISSING, key, 0, "in the backup it is not as it was sealed")
        await _put(archive, key, staged)
    finally:
        staged.discard()
    return Copied(Fate.COPIED, key, staged.size)


async def _is_there(objects: ObjectStore, kept: KeptObject) -> bool:
    where = (kept.key, kept.base_offset, kept.size)
    try:
        return await read_digest(objects, *where) == kept.sha256
    except (NotFound, Unavailable):
        return False


async def _put(archive: Archive, key: str, fetched: Staged) -> None:
    """Put what was fetched under its old key; only what is damaged there gives way."""
    own = await archive.staging.stage(fetched_chunks(fetched))
    try:
        await archive.objects.delete(key)
        await archive.objects.put(key, own)
    finally:
        own.discard()


async def fetched_chunks(staged: Staged) -> AsyncIterator[bytes]:
    """Yield the bytes of a staged part."""
    source = staged.source()
    for offset in range(0, staged.size, BLOCK):
        yield await asyncio.to_thread(source.read, offset, BLOCK)
