"""The one value that use cases get: what they work on. Built once by `main` and `cli`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from app.archive.budgets import Budgets, make_budgets
from app.archive.cache import FileCache
from app.archive.commitments import Commitments
from app.archive.known_keys import KnownKeys
from app.archive.known_pictures import KnownPictures
from app.archive.known_users import KnownUsers
from app.archive.leases import FrameLeases
from app.archive.running import RunningStores, running_stores_told
from app.archive.sealing import Sealer
from app.archive.soundness import Soundness
from app.archive.stores import opened_objects
from app.archive.trail import Trail
from app.archive.upcoming import Upcoming
from app.archive.watching import Watch
from app.archive.workers import Workers
from app.archive.writer import Writer
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.index.engine import Index, Session, open_index
from app.objects.base import ObjectStore
from app.objects.bucket import Bucket, CopyPlace
from app.objects.staging import Staging


class _Closing(Protocol):
    async def close(self) -> None: ...


_Closes = TypeVar("_Closes", bound=_Closing)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an archive keeps its things, and how much it may take."""

    database_url: str = field(repr=False)
    objects: Path
    """The directory of the objects, or where they wait to go to the bucket."""
    cache: Path
    bucket: Bucket | None = None
    copies: Sequence[CopyPlace] = ()
    makes_copies: bool = True
    """Whether the directory of a copy that is new is made."""
    pool_size: int = 8
    cache_bytes: int = 2 * 2**30
    near_bytes: int = 0
    codec_workers: int = 2
    codec_memory_bytes: int = 2 * 2**30
    codec_seconds: float = 60.0
    limits: Limits = field(default_factory=Limits)
    apart: bool = False
    """Whether small files are made durable by a process apart (`objects.apart`)."""
    deleted_days: float | None = None
    """After how many days what is deleted is purged by itself; None: it is not."""
    commitment_seconds: float = 5.0
    """How long a request for storage commitment waits for its result."""
    commitment_days: float = 30.0
    """How long that is kept."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Index, objects and what belongs to them. Use cases take it first."""

    index: Index
    objects: ObjectStore
    staging: Staging
    writer: Writer
    sealer: Sealer
    workers: Workers
    cache: FileCache
    memo: Memo
    leases: FrameLeases
    pictures: KnownPictures
    soundness: Soundness
    upcoming: Upcoming
    budgets: Budgets
    limits: Limits
    """What UIDs are replaced by depends on it (PS3.15 Annex E)."""
    running: RunningStores
    commitments: Commitments
    watch: Watch
    keys: KnownKeys
    users: KnownUsers
    trail: Trail
    deleted_days: float | None

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Open a short transaction on the index; it commits at the end of the block."""
        return self.index.transaction()


@asynccontextmanager
async def open_archive(place: Place) -> AsyncIterator[Archive]:
    """Open an archive whose index is migrated, and close it again at the end of the block.

    Raises:
        Unavailable: the index does not answer, or a directory of objects cannot be used.
    """
    limits = place.limits
    later = [copy.name for copy in place.copies if not copy.sync]
    async with AsyncExitStack() as stack:  # what is opened last is closed first
        opened = await open_index(place.database_url, pool_size=place.pool_size, copies=later)
        index = _closed_by(stack, opened)
        objects = await stack.enter_async_context(opened_objects(place, index))
        staging = await asyncio.to_thread(Staging, place.objects / "staging", limits)
        stack.callback(staging.close)
        cache = await asyncio.to_thread(FileCache, place.cache, place.cache_bytes)
        running = RunningStores()
        await stack.enter_async_context(running_stores_told(index, running))
        yield Archive(
            index=index,
            objects=objects,
            staging=staging,
            sealer=_closed_by(stack, Sealer(index, objects, staging)),
            workers=_closed_by(stack, _workers(place)),
            cache=cache,
            memo=Memo(),
            leases=FrameLeases(index),
            pictures=KnownPictures(),
            soundness=_closed_by(stack, Soundness()),
            upcoming=Upcoming(),
            budgets=make_budgets(limits, place.codec_workers),
            limits=limits,
            running=running,
            commitments=_closed_by(stack, _commitments(place, index)),
            watch=_closed_by(stack, Watch(index, limits.waiting_clients)),
            writer=await stack.enter_async_context(Writer(index, objects)),  # writes what waits
            keys=await stack.enter_async_context(KnownKeys(index)),  # notes which were used
            users=KnownUsers(index),
            trail=await stack.enter_async_context(Trail(index)),  # writes what waits
            deleted_days=place.deleted_days,
        )


def _closed_by(stack: AsyncExitStack, it: _Closes) -> _Closes:
    stack.push_async_callback(it.close)
    return it


def _workers(place: Place) -> Workers:
    return Workers(place.codec_workers, place.codec_memory_bytes, place.codec_seconds)


def _commitments(place: Place, index: Index) -> Commitments:
    return Commitments(index, place.commitment_seconds, place.commitment_days * 86_400)
