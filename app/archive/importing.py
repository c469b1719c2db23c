"""Import: many files through the same Store transaction as the web's, several at a time.

A file is one request of one part, so it stands or falls alone; the writer puts together what waits.
Running an import again skips what it stored before, by a memory that the index confirms.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import BinaryIO

from app.archive.context import Archive
from app.archive.found_files import Found, FoundFile, Unreadable
from app.archive.import_memory import ImportMemory
from app.archive.store import store_instances
from app.dicom.file_meta import HEAD_BYTES, read_file_meta
from app.dicom.identity import media_storage_uids
from app.dicom.media_directory import MEDIA_STORAGE_DIRECTORY
from app.dicom.non_patient import category_of
from app.dicom.store_report import Stored
from app.dicom.uids import NonPatientRef
from app.errors import InvalidDataset, Unavailable
from app.index.known import known_instances
from app.objects.retries import tries
from app.rights import Principal

_PAGE = 200
_CHUNK = 2**20
_FREE_GROWTH = 64 * 2**20
_PATIENCE = (7, 0.5, 16.0)
"""How often what does not answer is asked, and the first and longest pause in seconds; PostgreSQL
may be starting again."""


class Fate(StrEnum):
    """What became of a file."""

    STORED = "stored"
    KNOWN = "known"
    """The same Instance was there already."""
    SKIPPED = "skipped"
    """An earlier import stored this very file."""
    NO_DICOM = "no DICOM"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Imported:
    """A file and what became of it; `comment` says why it was refused, in plain words."""

    name: str
    size: int
    fate: Fate
    comment: str = ""
    reason: int | None = None


class _NoDicom(Exception):
    """Neither an Instance nor anything that looks like one."""


class _Unreadable(Exception):
    """The file cannot be read to its end; the message says why."""


async def import_files(
    archive: Archive,
    principal: Principal,
    found: Iterator[Found],
    memory: ImportMemory,
    tell: Callable[[Imported], None],
    side_by_side: int = 16,
) -> None:
    """Store the Instances in all files of `found`; `tell` is called for each as it is done.

    Raises:
        StorageFull: there is no room left; what was told of is stored.
        Unavailable: index or store do not answer, after waiting for a while.
    """
    run = _Import(archive, principal, memory, tell, side_by_side)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run.look(found))
            for _ in range(side_by_side):
                tasks.create_task(run.work())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        await run.remember()


class _Import:
    def __init__(
        self,
        archive: Archive,
        principal: Principal,
        memory: ImportMemory,
        tell: Callable[[Imported], None],
        side_by_side: int,
    ) -> None:
        self._archive = archive
        self._principal = principal
        self._memory = memory
        self._tell = tell
        self._workers = side_by_side
        self._queue: asyncio.Queue[FoundFile | None] = asyncio.Queue(_PAGE)
        self._stored: list[tuple[bytes, str]] = []

    async def look(self, found: Iterator[Found]) -> None:
        """Find the files, a page at a time, and queue those that are not stored yet."""
        while page := await asyncio.to_thread(lambda: list(islice(found, _PAGE))):
            for one in page:
                if isinstance(one, Unreadable):
                    self._tell(Imported(one.name, 0, Fate.REFUSED, one.reason))
            files = [one for one in page if isinstance(one, FoundFile)]
            done = await self._done(files)
            for file in files:
                if file.identity in done:
                    self._tell(Imported(file.name, file.size, Fate.SKIPPED))
                else:
                    await self._queue.put(file)
            await self.remember()
        for _ in range(self._workers):
            await self._queue.put(None)

    async def _done(self, files: Sequence[FoundFile]) -> set[bytes]:
        """Return the identities of files whose Instances an earlier import stored."""
        identities = [file.identity for file in files]
        remembered = await asyncio.to_thread(self._memory.find, identities)
        uids = list(set(remembered.values()))
        known = await known_instances(self._archive.index, self._principal.scope, uids)
        return {identity for identity, uid in remembered.items() if uid in known}

    async def remember(self) -> None:
        """Hand what was stored since to the memory."""
        stored, self._stored = self._stored, []
        if stored:
            await asyncio.to_thread(self._memory.add, stored)

    async def work(self) -> None:
        """Import what is queued, until nothing more comes."""
        while (file := await self._queue.get()) is not None:
            self._tell(await self._import(file))

    async def _import(self, file: FoundFile) -> Imported:
        async for attempt in tries(Unavailable, *_PATIENCE):
            with attempt:
                try:
                    return await self._store(file)
                except _NoDicom:
                    return Imported(file.name, file.size, Fate.NO_DICOM)
                except _Unreadable as error:
                    return Imported(file.name, file.size, Fate.REFUSED, str(error))
        raise AssertionError("unreachable")

    async def _store(self, file: FoundFile) -> Imported:
        run = self._archive.staging.threads.run
        opened, first = await run(_open, file)
        try:
            async with aclosing(_content(self._archive, file, opened, first)) as content:
                parts = _one_part(content)
                report = await store_instances(
                    self._archive, self._principal, parts, _place_of(first)
                )
        finally:
            await run(opened.close)
        (result,) = report.results
        if isinstance(result, Stored):
            self._stored.append((file.identity, result.ref.instance))
            return Imported(file.name, file.size, Fate.KNOWN if result.known else Fate.STORED)
        return Imported(file.name, file.size, Fate.REFUSED, result.comment, result.reason)


async def _one_part(content: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    yield content


def _place_of(head: bytes) -> NonPatientRef | None:
    """Return where an Instance goes by its File Meta Information: its Study, or a category."""
    category = category_of(media_storage_uids(head[:HEAD_BYTES])[0])
    return None if category is None else NonPatientRef(category.name)


async def _content(
    archive: Archive, file: FoundFile, opened: BinaryIO, chunk: bytes
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file that looks like an Instance; `chunk` is its first."""
    size = 0
    while chunk:
        size += len(chunk)
        _check_growth(file, size, archive.limits.inflate_ratio)
        yield chunk
        if len(chunk) < _CHUNK:
            return
        chunk = await archive.staging.threads.run(_read, opened)


def _open(file: FoundFile) -> tuple[BinaryIO, bytes]:
    """Open a file and read its first chunk.

    Raises:
        _NoDicom: it is something else.
        _Unreadable: it cannot be read.
    """
    try:
        opened = file.open()
    except (OSError, RuntimeError, ValueError) as error:
        raise _Unreadable(_reason(error)) from error
    try:
        chunk = _read(opened)
        _check_dicom(chunk[:HEAD_BYTES])
    except BaseException:
        opened.close()
        raise
    return opened, chunk


def _read(opened: BinaryIO) -> bytes:
    """Return the next chunk, shorter only at the end."""
    try:
        chunk = opened.read(_CHUNK)
        while len(chunk) < _CHUNK and (more := opened.read(_CHUNK - len(chunk))):
            chunk += more
    except Exception as error:  # zipfile and its codecs raise errors of many kinds on bad bytes
        raise _Unreadable(_reason(error)) from error
    return chunk


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read: {type(error).__name__}"


def _check_dicom(head: bytes) -> None:
    if media_storage_uids(head)[0] == MEDIA_STORAGE_DIRECTORY:
        raise _NoDicom
    if head[128:132] == b"DICM":
        return
    try:
        read_file_meta(head)
    except InvalidDataset:
        raise _NoDicom from None


def _check_growth(file: FoundFile, size: int, ratio: int) -> None:
    if file.packed and size > max(_FREE_GROWTH, file.packed * ratio):
        raise _Unreadable(f"grows more than {ratio} times when it is unpacked")
