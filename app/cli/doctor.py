"""`fileroom doctor`: what an archive needs, checked in the order in which it is needed.

Nothing is made or changed, but that a PostgreSQL that is down is started and stopped again: only
so is it known whether it starts.
"""

import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from app.cli.doctor_identity import key, keys, provider
from app.cli.doctor_safety import backups, copies, forwarding, jobs, jumped, lost, seal, server
from app.cli.finding import MARKS, Finding, Verdict
from app.cli.joining import LOCK_NAME, joined_index, own_postgres
from app.cli.listening import bound_socket
from app.cli.refusal import Refusal
from app.cli.tag_states import describe
from app.errors import ArchiveError, NotFound, Unavailable
from app.index.account import EmbeddedError, choose_account
from app.index.attribute_values import State, indexed_attributes
from app.index.binaries import installed_programs, major_version
from app.index.kept import sample_keys
from app.index.migrations import pending
from app.index.versions import OtherVersion, majors
from app.objects.base import ObjectStore
from app.objects.bucket import Bucket
from app.settings import Settings, SettingsError, load_settings

LITTLE_SPACE = 2 * 2**30
SLOW_SYNC = 0.1
CLOCK_SLACK = 60.0


def examine(flags: dict[str, object]) -> Iterator[Finding]:
    """Yield what each check finds. Without settings that can be read there is only one."""
    yield _python()
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        yield Finding("settings", Verdict.BAD, str(error), "Correct the variable, or unset it.")
        return
    yield Finding("settings", Verdict.GOOD, "every variable is understood")
    for name, check in CHECKS.items():
        try:
            yield check(settings)
        except PermissionError as error:
            yield Finding(
                name,
                Verdict.BAD,
                f"{error.filename} may not be read by user {os.geteuid()}",
                "Run this as the user who runs `fileroom serve`, or as root.",
            )


def report(findings: Iterator[Finding], *, as_json: bool, write: Callable[[str], None]) -> bool:
    """Write each finding when it is known (as JSON: all at the end); return whether all is well."""
    seen = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            mend = f"\n    {finding.mend}" if finding.mend else ""
            write(f"{MARKS[finding.verdict]} {finding.check}: {finding.found}{mend}")
    well = all(finding.verdict is not Verdict.BAD for finding in seen)
    if as_json:
        write(json.dumps({"well": well, "findings": [asdict(finding) for finding in seen]}))
    return well


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.platform != "linux":
        return Finding(
            "python", Verdict.NOTE, found, "Fileroom is made and tested for Linux; run it there."
        )
    return Finding("python", Verdict.GOOD, found)


def _data_directory(settings: Settings) -> Finding:
    directory = settings.data_dir.absolute()
    existing = next(place for place in (directory, *directory.parents) if place.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        owner = existing.stat().st_uid
        return Finding(
            "data directory",
            Verdict.BAD,
            f"{existing} is not writable for user {os.geteuid()}; it belongs to user {owner}",
            f"`chown -R {os.geteuid()} {existing}`, or choose another with --data-dir.",
        )
    free = shutil.disk_usage(existing).free
    said = f"{directory}, {free / 1e9:,.1f} GB free"
    if free < LITTLE_SPACE:
        return Finding("data directory", Verdict.BAD, said, "Make room, or use another disk.")
    if existing == directory and directory.stat().st_mode & 0o007:
        return Finding(
            "data directory",
            Verdict.NOTE,
            f"{said}; every user of this machine may look into it",
            f"`chmod 700 {directory}`",
        )
    return Finding("data directory", Verdict.GOOD, said)


def _who_serves(settings: Settings) -> Finding:
    holder = server(settings)
    if holder is None:
        return Finding("server", Verdict.NOTE, "none serves this data directory at the moment")
    return Finding("server", Verdict.GOOD, f"process {holder} serves this data directory")


def _programs(settings: Settings) -> Finding:
    if settings.database.url is not None:
        return Finding("postgresql", Verdict.GOOD, "one of your own is used, by its URL")
    try:
        programs = installed_programs()
        account = choose_account(settings.postgres_directory / major_version())
    except EmbeddedError as error:
        return Finding("postgresql", Verdict.BAD, "it cannot be run", str(error))
    said = f"version {major_version()} in {programs}, run as user {account.name}"
    return Finding("postgresql", Verdict.GOOD, said)


def _index(settings: Settings) -> Finding:
    """Reach the index, start it if need be, and compare its version with ours."""
    if settings.database.url is None and not majors(settings.postgres_directory):
        return Finding("index", Verdict.NOTE, "none yet; `fileroom serve` makes it")
    begun = time.monotonic()
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            missing = pending(joined.url)
            indexed = [] if missing else indexed_attributes(joined.url)
            how = "was started and stopped again" if joined.started else "answers"
    except OtherVersion as error:
        return Finding("index", Verdict.BAD, error.found, error.mend)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        log = settings.postgres_directory / "postgres.log"
        mend = (
            f"Look at {log}."
            if settings.database.url is None
            else "Check FILEROOM_DATABASE__URL, and that PostgreSQL runs and lets this user in."
        )
        return Finding("index", Verdict.BAD, str(error), mend)
    said = f"{how}, {time.monotonic() - begun:.1f} s"
    if missing:
        return Finding(
            "index",
            Verdict.BAD if settings.database.url is not None else Verdict.NOTE,
            f"{said}; it lacks {len(missing)} migrations of this version",
            "Make a backup, then `fileroom migrate`.",
        )
    also = "".join(f", {one.shown}" for one in indexed if one.state is State.READY)
    said = f"{said}; it is of this version" + (f"; beyond its columns: {also[2:]}" if also else "")
    undone = [describe(one) for one in indexed if one.state is not State.READY]
    if undone:
        return Finding("index", Verdict.NOTE, said, "\n    ".join(undone))
    return Finding("index", Verdict.GOOD, said)


def _port(settings: Settings) -> Finding:
    http = settings.http
    if (serving := server(settings)) is not None:
        return Finding("port", Verdict.GOOD, f"process {serving} has the one that it serves")
    try:
        with bound_socket(http.host, http.port):
            return Finding("port", Verdict.GOOD, f"{http.port} on {http.host} is free")
    except Refusal as error:
        return Finding("port", Verdict.BAD, f"{http.port} on {http.host}", str(error))


def _objects(settings: Settings) -> Finding:
    return _directory(settings) if settings.bucket is None else _bucket(settings.bucket)


def _stored(settings: Settings) -> Finding:
    """Look whether what the index names lies where the settings say."""
    from app.archive.stores import open_store  # noqa: PLC0415 - only for this

    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("stored", Verdict.NOTE, "nothing yet")
    where = settings.bucket.url if settings.bucket else str(settings.objects_directory)
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            keys = [] if pending(joined.url) else sample_keys(joined.url)
            if settings.bucket is None and not settings.objects_directory.is_dir():
                missing = keys
            else:
                missing = asyncio.run(_missing(open_store(joined.settings.place()), keys))
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("stored", Verdict.NOTE, f"was not looked for: {error}")
    if missing:
        return Finding(
            "stored",
            Verdict.BAD,
            f"{len(missing)} of {len(keys)} objects that were tried are not in {where}",
            "Set FILEROOM_OBJECTS__URL to where they lie; `fileroom verify` looks for all of them.",
        )
    return Finding("stored", Verdict.GOOD, f"{len(keys)} objects were tried: all are in {where}")


async def _missing(store: ObjectStore, keys: Sequence[str]) -> list[str]:
    missing = []
    try:
        for key in keys:
            try:
                await store.size(key)
            except NotFound:
                missing.append(key)
    finally:
        store.close()
    return missing


def _bucket(bucket: Bucket) -> Finding:
    from app.objects.remote import RemoteStore  # noqa: PLC0415 - its library is large

    begun = time.monotonic()
    try:
        asyncio.run(RemoteStore(bucket).check())
    except Unavailable as error:
        mend = "Check FILEROOM_OBJECTS__URL, its endpoint and credentials, and the way there."
        return Finding("objects", Verdict.BAD, f"{bucket.url}: {error}", mend)
    took = 1000 * (time.monotonic() - begun)
    return Finding("objects", Verdict.GOOD, f"{bucket.url} answers a listing in {took:.0f} ms")


def _directory(settings: Settings) -> Finding:
    directory = settings.objects_directory
    existing = next(place for place in (directory, *directory.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    reserve = settings.limits.reserve_bytes
    if free < reserve:
        return Finding(
            "objects",
            Verdict.BAD,
            f"{existing}: {free / 1e6:,.0f} MB are free, and {reserve / 1e6:,.0f} MB stay so for "
            "the index: nothing can be stored",
            "Make room. Searching and reading go on meanwhile.",
        )
    begun = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"fileroom")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            "objects",
            Verdict.BAD,
            f"{existing} cannot be written and synced: {error.strerror}",
            "Mend its owner, its modes or its disk, or set FILEROOM_OBJECTS__URL.",
        )
    took = time.monotonic() - begun
    said = f"{directory} takes bytes and syncs them in {1000 * took:.0f} ms"
    if took > SLOW_SYNC:
        return Finding(
            "objects", Verdict.NOTE, said, "Storing waits for it; a faster disk stores faster."
        )
    return Finding("objects", Verdict.GOOD, said)


def _clock(settings: Settings) -> Finding:
    newest = max((_changed(path) for path in _clocked(settings)), default=0.0)
    ahead = newest - time.time()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if ahead > CLOCK_SLACK:
        return Finding(
            "clock",
            Verdict.BAD,
            f"{said}, {ahead:,.0f} s before what is stored already",
            "Set the clock, and keep it right with NTP.",
        )
    return jumped(settings, said)


def _clocked(settings: Settings) -> Iterator[Path]:
    yield settings.data_dir / LOCK_NAME
    yield settings.objects_directory
    yield settings.postgres_directory / "postgres.log"


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "data directory": _data_directory,
    "server": _who_serves,
    "postgresql": _programs,
    "index": _index,
    "port": _port,
    "key": key,
    "keys": keys,
    "provider": provider,
    "objects": _objects,
    "stored": _stored,
    "backup": backups,
    "seal": seal,
    "copies": copies,
    "findings": lost,
    "jobs": jobs,
    "forwarding": forwarding,
    "clock": _clock,
}
