"""Where backups may lie and drills may work, looked at before anything is done."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.archive.backup_place import Backup, open_place
from app.cli.refusal import Refusal
from app.objects.bucket import Bucket, overlap
from app.objects.staging import own_directory
from app.settings import Settings

DRILL = "fileroom-drill-"


def check_apart(settings: Settings, place: Path | Bucket) -> None:
    """Refuse a place for backups that has to do with where the archive lies.

    Raises:
        Refusal: it lies in the archive, or the archive in it.
    """
    for what, where in _belongings(settings):
        if overlap(place, where):
            raise Refusal(
                f"Backups in {name_of(place)} would lie in {what} ({name_of(where)}), or that in "
                "them: choose a place apart from the archive, best on another disk."
            )


def check_scratch(settings: Settings, scratch: Path, place: Path | Bucket) -> None:
    """Refuse to rehearse where that would be among the objects or the backups.

    Raises:
        Refusal: it would; or there is no such directory.
    """
    if not scratch.is_dir():
        raise Refusal(f"{scratch} is no directory: name one with --scratch that is there.")
    stores = [where for _, where in _stores(settings)]
    for where in (place, *stores):
        if isinstance(where, Path) and scratch.resolve().is_relative_to(where.resolve()):
            raise Refusal(
                f"A drill in {scratch} would be among what lies in {where}: name another "
                "directory with --scratch."
            )


def check_target(place: Path | Bucket) -> None:
    """Refuse a directory that takes no backup; one that is missing is made.

    Raises:
        Refusal: it cannot be made, or takes no files.
    """
    if isinstance(place, Bucket):
        return
    try:
        place.mkdir(mode=0o750, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise Refusal(f"Backups cannot be put into {place}: {why}.") from None


def find_backup(place: Path | Bucket, stamp: str) -> Backup:
    """Return a backup, the newest one without a stamp. Nothing is made in the place.

    Raises:
        Refusal: there is none, or no such place.
        Unavailable: the place does not answer.
    """
    if isinstance(place, Path) and not place.is_dir():
        raise Refusal(f"There are no backups in {place}: it is no directory.")
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_find_backup(place, stamp, Path(scratch)))


async def _find_backup(place: Path | Bucket, stamp: str, scratch: Path) -> Backup:
    async with open_place(place, scratch, reading=True) as opened:
        stamps = await opened.stamps()
        if stamps and stamp in {"", *stamps}:
            return await opened.load(stamp)
    if not stamps:
        raise Refusal(f"There are no backups in {name_of(place)}.")
    raise Refusal(
        f"There is no backup {stamp} in {name_of(place)}; the newest one is {stamps[-1]}."
    )


@contextmanager
def drill_directory(scratch: Path) -> Iterator[Path]:
    """Give an empty directory, and remove it afterwards; also those of drills that were killed.

    Raises:
        Refusal: none can be made there.
    """
    try:
        directory, lock = own_directory(scratch, DRILL)
    except OSError as error:
        raise Refusal(f"A drill cannot be made in {scratch}: {error.strerror}.") from None
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def name_of(place: Path | Bucket) -> str:
    """Return a place as an operator names it."""
    return str(place) if isinstance(place, Path) else place.url


def _stores(settings: Settings) -> Iterator[tuple[str, Path | Bucket]]:
    yield "the objects of the archive", settings.bucket or settings.objects_directory
    for copy in settings.objects.copies:
        yield f"the copy {copy.name}", copy.where


def _belongings(settings: Settings) -> Iterator[tuple[str, Path | Bucket]]:
    yield "the data directory", settings.data_dir.absolute()
    yield from _stores(settings)
