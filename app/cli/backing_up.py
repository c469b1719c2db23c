"""`fileroom backup`, `restore` and `drill`."""

import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.archive.backup import Copied, Fate, make_backup
from app.archive.backup_place import Backup, BackupPlace, open_place
from app.archive.backup_restore import restore_index, restore_objects
from app.archive.context import Archive, open_archive
from app.cli.importing import OPERATOR
from app.cli.joining import RESTORING, Joined, joined_index
from app.cli.opening import check_there, with_archive
from app.cli.placing import (
    check_apart,
    check_scratch,
    check_target,
    drill_directory,
    find_backup,
    name_of,
)
from app.cli.refusal import Refusal
from app.index.backup_runs import BACKUP, DRILL, add_run, found_damaged
from app.index.dump import count_since, settle_log
from app.index.events import Position
from app.index.migrations import migrate
from app.logs import configure_logs
from app.objects.bucket import Bucket
from app.objects.envelope import Identity, read_identities, read_recipients
from app.settings import Database, Objects, Settings

SOME_MISSING = 3
"""Exit code: the backup is there, but something in it is not whole."""
MOST_NOTED = 10_000
"""Names of objects that a drill notes, for the next backup to put anew."""


def run_backup(
    settings: Settings,
    to: str | None,
    encrypt_to: Sequence[str],
    keep: int,
    *,
    plain: bool = False,
) -> int:
    """Make a backup, and return the exit code; `plain` beside encrypted ones only if that is said.

    Raises:
        Refusal: there is no archive; the place is in it, takes nothing, or has encrypted backups.
        SettingsError: no place is named.
        InvalidRequest: `encrypt_to` has what is no public key.
    """
    check_there(settings)
    place = settings.backup_place(to)
    recipients = read_recipients(encrypt_to or settings.backup.recipients)
    check_apart(settings, place)
    check_target(place)

    async def work(archive: Archive) -> Backup:
        async with open_place(place, _scratch(settings), recipients) as opened:
            if not (recipients or plain):
                await _check_none_encrypted(opened, place)
            with _Told("backup") as told:
                anew = await found_damaged(archive.index, name_of(place))
                backup = await make_backup(archive, OPERATOR, opened, told.add, anew)
            sys.stdout.write(f"{told.summary()}; this is backup {backup.stamp}\n")
            for stamp in await opened.forget_older(keep) if keep else ():
                sys.stdout.write(f"backup {stamp} is given up\n")
        counts = {str(fate): count for fate, count in told.counts.items()}
        left = [key for key in told.missing if key in anew]
        detail = {"stamp": backup.stamp, "bytes": backup.size, "damaged": left, **counts}
        good = not backup.missing
        await add_run(archive.index.url, BACKUP, backup.at, name_of(place), detail, good=good)
        return backup

    backup = with_archive(settings, "fileroom backup", work)
    return SOME_MISSING if backup.missing else 0


async def _check_none_encrypted(opened: BackupPlace, place: Path | Bucket) -> None:
    """Refuse to put in plain what was encrypted there until now."""
    if await opened.stamps() and (await opened.load()).encrypted:
        raise Refusal(
            f"The backups in {name_of(place)} are encrypted, and this one would not be: say to "
            "whom with --encrypt-to, or that it is meant so with --plain."
        )


def run_restore(settings: Settings, source: str | None, stamp: str, key: Path | None) -> int:
    """Restore a backup into an archive that is empty, and return the exit code.

    Raises:
        Refusal: there is an archive already, or no such backup; or one would lie in the other.
        SettingsError, InvalidRequest: no place is named, or the key cannot be used.
    """
    place, identities = settings.backup_place(source), read_identities(key)
    begun = settings.data_dir / RESTORING
    if settings.postgres_directory.exists() and not begun.exists():
        raise Refusal(
            f"There is an archive in {settings.data_dir.absolute()}. A backup is restored into "
            "a new place: choose one with --data-dir."
        )
    check_apart(settings, place)
    find_backup(place, stamp)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun.touch()
    backup, told = _restore(settings, place, stamp, identities)
    begun.unlink()
    sys.stdout.write(f"{told.summary()}; this is backup {backup.stamp}\n")
    return SOME_MISSING if told.counts[Fate.MISSING] else 0


def run_drill(settings: Settings, source: str | None, key: Path | None, scratch: Path) -> int:
    """Restore the newest backup into a scratch place, say how that went, and return the exit code.

    Raises:
        Refusal: there is no archive, or no backup; or `scratch` cannot be used for it.
        SettingsError, InvalidRequest: no place is named, or the key cannot be used.
    """
    check_there(settings)
    place, identities = settings.backup_place(source), read_identities(key)
    check_scratch(settings, scratch, place)
    find_backup(place, "")
    begun = time.monotonic()
    with drill_directory(scratch) as directory:
        elsewhere = settings.model_copy(
            update={"data_dir": directory, "database": Database(), "objects": Objects()}
        )
        backup, told = _restore(elsewhere, place, "", identities)
    took = time.monotonic() - begun
    good = not told.counts[Fate.MISSING]
    with joined_index(settings, "fileroom drill") as joined:
        lost = asyncio.run(count_since(joined.url, Position(*backup.position)))
        age = datetime.now(UTC) - backup.at
        detail = {
            "stamp": backup.stamp,
            "rpo_seconds": round(age.total_seconds()),
            "rpo_events": lost,
            "rto_seconds": round(took, 1),
            "damaged": told.missing,
        }
        now = datetime.now(UTC)
        asyncio.run(add_run(joined.url, DRILL, now, name_of(place), detail, good=good))
    sys.stdout.write(
        f"{told.summary()}; this was backup {backup.stamp}\n"
        f"RPO: it is {age.total_seconds():,.0f} s old, and {lost:,} changes came after it\n"
        f"RTO: it was restored and checked in {took:,.1f} s\n"
    )
    if not good:
        sys.stdout.write("The next `fileroom backup` puts anew what is missing or damaged there\n")
    return 0 if good else SOME_MISSING


def _restore(
    settings: Settings,
    place: Path | Bucket,
    stamp: str,
    identities: Sequence[Identity],
) -> tuple[Backup, "_Told"]:
    configure_logs("warning", settings.log.format)
    with joined_index(settings, "fileroom restore") as joined:
        backup = asyncio.run(_restore_index(joined, place, stamp, identities))
        migrate(joined.url)
        asyncio.run(settle_log(joined.url))
        with _Told("restore") as told:
            asyncio.run(_restore_objects(joined, place, backup, identities, told))
    return backup, told


async def _restore_index(
    joined: Joined, place: Path | Bucket, stamp: str, identities: Sequence[Identity]
) -> Backup:
    """Restore it, unless an earlier run has done that: it left the stamp."""
    noted = joined.settings.data_dir / RESTORING
    done = noted.read_text().strip() if noted.exists() else ""
    async with open_place(place, _scratch(joined.settings), (), identities, reading=True) as opened:
        backup = await opened.load(stamp or done)
        _check_room(joined.settings, backup)
        sys.stderr.write(f"Backup {backup.stamp}: {backup.objects:,} objects\n")
        if backup.stamp == done:
            sys.stderr.write("Its index is restored already: going on with the objects\n")
        else:
            await restore_index(joined.url, opened, backup)
            noted.write_text(backup.stamp)
    return backup


def _check_room(settings: Settings, backup: Backup) -> None:
    free = shutil.disk_usage(settings.data_dir).free
    if settings.bucket is None and free < backup.size + backup.index_size:
        raise Refusal(
            f"The backup has {backup.size / 1e9:,.1f} GB of objects, and "
            f"{settings.data_dir.absolute()} has {free / 1e9:,.1f} GB free."
        )


async def _restore_objects(
    joined: Joined,
    place: Path | Bucket,
    backup: Backup,
    identities: Sequence[Identity],
    told: "_Told",
) -> None:
    async with (
        open_archive(joined.settings.place()) as archive,
        open_place(place, _scratch(joined.settings), (), identities, reading=True) as opened,
    ):
        await restore_objects(archive, opened, backup, told.add)


def _scratch(settings: Settings) -> Path:
    return settings.objects_directory / "staging"


def _name(place: Path | Bucket) -> str:
    return str(place) if isinstance(place, Path) else place.url


class _Told:
    """Counts objects, shows them on a terminal, and says what is missing."""

    def __init__(self, name: str) -> None:
        self.counts: Counter[Fate] = Counter()
        self.missing: list[str] = []
        self._size = 0
        self._began = time.monotonic()
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} objects"),
            TextColumn("{task.fields[size]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(name, total=None, size="")

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, copied: Copied) -> None:
        """Count one object; what is missing is told at once."""
        self.counts[copied.fate] += 1
        self._size += copied.size if copied.fate in {Fate.COPIED, Fate.ANEW} else 0
        if copied.fate is Fate.MISSING:
            sys.stdout.write(f"missing: {copied.object_key}: {copied.detail}\n")
            self.missing += [copied.object_key] if len(self.missing) < MOST_NOTED else []
        elif copied.fate is Fate.ANEW:
            sys.stdout.write(f"put anew: {copied.object_key}: it was damaged in the backup\n")
        self._progress.update(self._task, advance=1, size=f"{self._size / 1e6:,.1f} MB")

    def summary(self) -> str:
        """Say how it went, in one line."""
        words = [f"{self.counts[fate]:,} {fate}" for fate in Fate if self.counts[fate]]
        seconds = time.monotonic() - self._began
        return f"{', '.join(words) or 'no objects'}; {self._size / 1e6:,.1f} MB in {seconds:,.1f} s"
