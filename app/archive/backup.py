"""Backup: the index of one moment, and every object that it names, in another place.

The index goes first, so that objects stored meanwhile belong to the next backup; nothing is purged
until the last object is there. Objects never change, so only new ones are copied, each checked
against its digest on the way: what is damaged is told of and does not go into a backup. What a
drill found damaged in the place is put there anew.
"""

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from app import __version__
from app.archive.answers import ahead, once
from app.archive.backup_place import (
    Backup,
    BackupPlace,
    new_stamp,
    object_name,
    pack_secrets,
)
from app.archive.context import Archive
from app.archive.segment_stores import fetch_sound_by_key
from app.errors import Forbidden, NotFound, Unavailable
from app.index.dump import Snapshot, server_version, snapshot
from app.index.kept import KeptObject
from app.objects.staged import Staged
from app.rights import Principal

AT_ONCE = 3
MOST_MISSING = 1000
"""Names of damaged objects that a backup lists."""


class Fate(StrEnum):
    """What became of an object."""

    COPIED = "copied"
    ANEW = "put anew"
    """It was damaged in the backup."""
    THERE = "there already"
    MISSING = "missing"
    """It is not there, or not as it was stored."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One object on its way to or from a backup; `size` in bytes."""

    fate: Fate
    object_key: str
    size: int
    detail: str = ""


async def make_backup(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tell: Callable[[Copied], None],
    anew: Collection[str] = (),
) -> Backup:
    """Make a backup; `tell` of each object. Those `anew` are not believed of the place.

    Raises:
        Forbidden: `principal` may not administer.
        Conflict: another backup is being made.
        StorageFull, Unavailable: index, store or place fail; what is copied is used the next time.
    """
    if not principal.administers_all:
        raise Forbidden("Backups are for administrators")
    async with snapshot(archive.index.url) as moment:
        stamp = new_stamp(moment.at, await place.stamps())
        dump = await _put(place, f"index/{stamp}.dump", moment.lasting())
        kept = pack_secrets(await archive.objects.all_secrets())
        await _put(place, f"index/{stamp}.secrets", once(kept))
        count, size, missing = 0, 0, []
        objects = ahead(moment.kept(), lambda one: _copy(archive, place, one, anew), AT_ONCE)
        async for copied in objects:
            count, size = count + 1, size + copied.size
            if copied.fate is Fate.MISSING:
                missing.append(copied.object_key)
            tell(copied)
        server = await server_version(archive.index.url)
        async for copied in ahead(
            moment.segments(), lambda key: _copy_segment(archive, place, key, anew), AT_ONCE
        ):
            if copied.fate is Fate.MISSING:
                missing.append(copied.object_key)
            tell(copied)
        backup = await _described(moment, stamp, place, dump, server)
    done = replace(backup, objects=count, size=size, missing=tuple(missing[:MOST_MISSING]))
    await place.finish(done)
    return done


async def _described(
    moment: Snapshot, stamp: str, place: BackupPlace, dump: tuple[int, str], server: int
) -> Backup:
    position = await moment.position()
    return Backup(
        stamp=stamp,
        at=moment.at,
        finished=datetime.now(UTC),
        version=__version__,
        revision=await moment.revision(),
        server=server,
        encrypted=place.encrypts,
        index_size=dump[0],
        index_sha256=dump[1],
        position=(position.transaction, position.number),
        tables=await moment.tables(),
    )


async def _put(
    place: BackupPlace, key: str, chunks: AsyncIterator[bytes], *, anew: bool = False
) -> tuple[int, str]:
    """Put what comes; return its size and SHA-256."""
    staged = await place.staging.stage(chunks)
    try:
        await place.put(key, staged, anew=anew)
        return staged.size, staged.sha256.hex()
    finally:
        staged.discard()


async def _copy(
    archive: Archive, place: BackupPlace, kept: KeptObject, anew: Collection[str]
) -> Copied:
    def told(fate: Fate, detail: str = "") -> Copied:
        return Copied(fate, kept.key, kept.size, detail)

    name = object_name(kept.key)
    again = kept.key in anew
    if not again and await place.has(name, None if kept.base_offset else kept.size):
        return told(Fate.THERE)
    archive.objects.forget(kept.key)
    try:
        staged = await place.staging.stage(await archive.objects.stream(kept.key))
    except NotFound:
        return told(Fate.MISSING, "the store has no such object")
    except Unavailable as error:
        await archive.objects.check()  # a store that does not answer at all has damaged nothing
        return told(Fate.MISSING, str(error))
    try:
        if not is_whole(staged, kept):
            return told(Fate.MISSING, "its bytes are not those that were stored")
        await place.put(name, staged, anew=again)
    finally:
        staged.discard()
    return told(Fate.ANEW if again else Fate.COPIED)


async def _copy_segment(
    archive: Archive, place: BackupPlace, key: str, anew: Collection[str]
) -> Copied:
    """Copy a segment of the log from the first store that has it as it was sealed."""
    name, again = object_name(key), key in anew
    if not again and await place.has(name, None):
        return Copied(Fate.THERE, key, 0)
    try:
        segment = await fetch_sound_by_key(archive, key)
    except (NotFound, Unavailable) as error:
        await archive.objects.check()
        return Copied(Fate.MISSING, key, 0, str(error))
    size, _ = await _put(place, name, once(segment.as_bytes()), anew=again)
    return Copied(Fate.ANEW if again else Fate.COPIED, key, size)


def is_whole(staged: Staged, kept: KeptObject) -> bool:
    """Say whether the bytes are those of the object."""
    return kept.base_offset > 0 or (staged.size, staged.sha256) == (kept.size, kept.sha256)
