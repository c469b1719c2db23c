"""The archive for a command of the operator's: open it, do the work, close it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from app.archive.context import Archive, open_archive
from app.archive.stores import stores_of
from app.cli.joining import LOCK_NAME, check_restored, joined_index
from app.cli.refusal import Refusal
from app.index.account import user_name
from app.index.copies import list_known
from app.index.locks import FileLock
from app.index.migrations import migrate, pending
from app.logs import configure_logs
from app.objects.bucket import FIRST
from app.settings import Settings

Result = TypeVar("Result")


def with_archive(
    settings: Settings,
    note: str,
    work: Callable[[Archive], Awaitable[Result]],
    *,
    looks: bool = False,
) -> Result:
    """Run `work` on the archive of these settings; `note` tells others who runs PostgreSQL.

    An index that nobody else uses is brought to this version first. If it only `looks` at the
    stores, it makes none.

    Raises:
        Refusal: the index is of another version, and others use it; or what this user writes
            could not be read by the user who serves; or it `looks` and there are no objects.
    """
    check_user(settings)
    check_restored(settings.data_dir)
    if looks and settings.bucket is None and not settings.objects_directory.is_dir():
        raise Refusal(
            f"The directory of the objects, {settings.objects_directory}, is not there: mount its "
            "disk, or correct FILEROOM_OBJECTS__URL."
        )
    new = "" if _is_there(settings) else ", which is a new one"
    sys.stderr.write(f"Archive: {settings.data_dir.absolute()}{new}\n")

    async def run(opened: Settings) -> Result:
        place = replace(opened.place(), makes_copies=not looks)
        async with open_archive(place) as archive:
            if looks:
                await _tell_of_left_out(archive)
            return await work(archive)

    quiet = "warning" if settings.log.level == "info" else settings.log.level
    configure_logs(quiet, settings.log.format)
    with joined_index(settings, note) as joined:
        if joined.started:
            migrate(joined.url)
        elif pending(joined.url):
            raise Refusal(
                "The index is older than this version of Fileroom. Stop the server, make a "
                "backup, and run `fileroom migrate`."
            )
        return asyncio.run(run(joined.settings))


async def _tell_of_left_out(archive: Archive) -> None:
    """Say which stores of this archive are not looked at, since the settings do not name them."""
    known = await list_known(archive.index)
    for name in sorted(known - {FIRST} - stores_of(archive.objects).keys()):
        sys.stderr.write(
            f"The copy {name} is not looked at: these settings do not name it "
            "(FILEROOM_OBJECTS__COPIES).\n"
        )


def check_there(settings: Settings) -> None:
    """Refuse to read from an archive that would only be made for it.

    Raises:
        Refusal: there is none.
    """
    if not _is_there(settings):
        raise Refusal(
            f"There is no archive in {settings.data_dir.absolute()}. Say where it is with "
            "--data-dir or FILEROOM_DATA_DIR."
        )


def _is_there(settings: Settings) -> bool:
    return settings.database.url is not None or settings.postgres_directory.exists()


def check_user(settings: Settings) -> None:
    """Refuse to write what the server could not read, as root would for a server that is not.

    Raises:
        Refusal: this user is not the one who serves.
    """
    try:
        server = FileLock(settings.data_dir / LOCK_NAME).holder()
        owned = Path(f"/proc/{server[0]}") if server else settings.objects_directory
        owner = owned.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        owner = settings.data_dir.stat().st_uid
    if owner != os.geteuid():
        name = user_name(owner)
        raise Refusal(
            f"This archive is served by user {name}, who could not use what another user writes. "
            f"Run this as {name}: `sudo -u {name} fileroom …`."
        )
