"""`fileroom upgrade`: the index of an older PostgreSQL, carried over to the one that is installed.

    <data>/postgres/18             the former cluster; nobody writes to it any more
    <data>/postgres/upgrading-19   the new one, while it is filled
    <data>/postgres/19             the same, whole and compared: this rename is the switch
    <data>/postgres/18.former      the former one, until the operator removes it

Before the switch every other command is refused, for 18 is there and 19 is not. What was broken off
is begun anew. A dump goes over, not the files: so the cluster is made as ours are made, whatever
made the former one, and a killed server is recovered by its own programs first.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from app.cli.joining import DATABASE, own_postgres, served_directory
from app.cli.opening import check_there, check_user
from app.cli.refusal import Refusal
from app.index.carrying import Carried, carry_index
from app.index.dump import settle_log
from app.index.embedded import EmbeddedPostgres
from app.index.former import FormerPostgres, find_programs
from app.index.migrations import migrate
from app.index.versions import check_version, majors, put_aside, switch_over
from app.settings import Settings

NOTE = "fileroom upgrade"
LOADING = {"maintenance_work_mem": "256MB", "max_wal_size": "4GB"}
UNFINISHED = "upgrading-"
TELL_SECONDS = 5.0
ROOM = 1.2
"""Times the size of the former cluster: the new one, and its log of changes."""


def run_upgrade(settings: Settings, from_bin: Path | None) -> None:
    """Carry the index over, unless it is of the installed version already.

    Raises:
        Refusal: there is no index of ours, it is being used, or there is not room enough.
        EmbeddedError: the programs of its version are not there, or one of the two does not run.
        Unavailable: it did not arrive as it was.
    """
    if settings.database.url is not None:
        raise Refusal(
            "The index is in a PostgreSQL of your own: upgrade that with its own tools, then run "
            "`fileroom migrate` once (docs/upgrading.md)."
        )
    check_there(settings)
    check_user(settings)
    with served_directory(settings.data_dir):
        own = own_postgres(settings)
        found = max(majors(own.directory), default=None)
        if found is None or own.cluster.is_dir():
            _end_switch(own)
            sys.stdout.write("nothing to do\n")
        else:
            _upgrade(own, found, from_bin)


def _upgrade(own: EmbeddedPostgres, found: int, from_bin: Path | None) -> None:
    if found > int(own.cluster.name):
        check_version(own.cluster)  # says that there is no way back
    former = FormerPostgres(own.directory, found, find_programs(found, from_bin))
    fresh = EmbeddedPostgres(
        own.directory / f"{UNFINISHED}{own.cluster.name}", settings={**own.settings, **LOADING}
    )
    _check_room(former)
    begun = time.monotonic()
    try:
        _tell(f"Starting PostgreSQL {found}, for the last time")
        former.start(note=NOTE, waiting=_tell)
        fresh.start(note=NOTE, waiting=_tell)
        carried = _carry(former, fresh)
    finally:
        fresh.stop()
        former.stop()
    kept = switch_over(fresh.cluster, former.cluster)
    _end_switch(own)
    sys.stdout.write(
        f"The index is PostgreSQL {own.cluster.name}'s now: {carried.rows:,} rows of "
        f"{carried.tables} tables, compared, in {time.monotonic() - begun:,.1f} s.\n"
        f"The former one is in {kept}; remove it when you need it no more.\n"
    )


def _carry(former: EmbeddedPostgres, fresh: EmbeddedPostgres) -> Carried:
    fresh.run_script(f'DROP DATABASE IF EXISTS "{DATABASE}"')  # of a run that was broken off
    fresh.ensure_database(DATABASE)
    carried = asyncio.run(carry_index(former.url(), fresh.url(), _told()))
    migrate(fresh.url())
    asyncio.run(settle_log(fresh.url()))
    fresh.run_script("ANALYZE", DATABASE)
    return carried


def _end_switch(own: EmbeddedPostgres) -> None:
    """Put aside and away what is not used once our cluster is in its place."""
    if not own.cluster.is_dir():
        return
    for major in majors(own.directory):
        if major < int(own.cluster.name):
            put_aside(own.directory / str(major))
    for unfinished in own.directory.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished)


def _check_room(former: EmbeddedPostgres) -> None:
    places = [place for place in former.cluster.rglob("*") if place.is_file()]
    needed = ROOM * sum(place.lstat().st_size for place in places)
    free = shutil.disk_usage(former.directory).free
    if free < needed:
        raise Refusal(
            f"The new index needs about {needed / 1e9:,.1f} GB beside the former one, and "
            f"{former.directory} has {free / 1e9:,.1f} GB free. Make room; nothing was changed."
        )


def _told() -> Callable[[int], None]:
    """Return what says now and then how much has gone over."""
    last = time.monotonic()

    def told(size: int) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_SECONDS:
            last = time.monotonic()
            _tell(f"{size / 1e6:,.0f} MB have gone over")

    return told


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
