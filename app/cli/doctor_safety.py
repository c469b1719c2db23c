"""Checks of `fileroom doctor` for what keeps things safe: backups, seal, copies, losses, jobs."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict

from app.cli.finding import Finding, Verdict
from app.cli.joining import LOCK_NAME, joined_index, own_postgres
from app.cli.refusal import Refusal
from app.errors import ArchiveError, Unavailable
from app.index.account import EmbeddedError
from app.index.backup_runs import LastRuns, damaged_places, last_runs_at
from app.index.clock import LONG_AHEAD, seconds_ahead_at
from app.index.findings import faults_of
from app.index.forwardings import count_forwardings_at
from app.index.locks import FileLock
from app.index.migrations import pending
from app.index.seal_keys import all_keys_at
from app.index.segments import seal_lag_of
from app.index.webhooks import disabled_at
from app.objects.bucket import FIRST
from app.objects.secret_copies import secrets_of
from app.settings import Settings

OLD_DAYS = {"backup": 2, "drill": 40}
LONG_UNSEALED = 60.0
LONG_UNSENT = 3600.0
BRING_BACK = (
    "Put them back into secrets/ beside the objects, from a copy or from a backup's secrets "
    "(docs/receipts.md): none is made anew, and nothing is sealed until then."
)


def backups(settings: Settings) -> Finding:
    """Say when the last backup and the last drill were made."""
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("backup", Verdict.NOTE, "nothing to back up yet")
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            behind = pending(joined.url)
            runs = LastRuns() if behind else last_runs_at(joined.url)
            damaged = {} if behind else damaged_places(joined.url)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("backup", Verdict.NOTE, f"was not looked for: {error}")
    found, old = [], False
    for name, at in asdict(runs).items():
        days = None if at is None else (time.time() - at.timestamp()) / 86_400
        old = old or days is None or days > OLD_DAYS[name]
        found.append(f"no {name} yet" if days is None else f"{name} of {days:,.1f} days ago")
    found += [f"{count:,} objects damaged in {place}" for place, count in damaged.items()]
    verdict = Verdict.NOTE if old or damaged else Verdict.GOOD
    if damaged:
        mend = "`fileroom backup` to that place puts them anew, then `fileroom drill` it again."
        return Finding("backup", verdict, ", ".join(found), mend)
    mend = "`fileroom backup PLACE` every day, `fileroom drill PLACE` every month." if old else ""
    return Finding("backup", verdict, ", ".join(found), mend)


def seal(settings: Settings) -> Finding:
    """Look how long the log has waited for its seal, and whether its keys' secrets are there."""
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("seal", Verdict.NOTE, "nothing yet")
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            behind = pending(joined.url)
            lag = 0.0 if behind else seal_lag_of(joined.url)
            keys = [] if behind else all_keys_at(joined.url)
        lost = asyncio.run(_lost_secrets(settings, keys)) if keys else []
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("seal", Verdict.NOTE, f"was not looked at: {error}")
    if lost:
        said = f"secrets of its keys that are lost or other ones: {', '.join(lost)}"
        return Finding("seal", Verdict.BAD, said, BRING_BACK)
    if lag < LONG_UNSEALED:
        return Finding("seal", Verdict.GOOD, "the log is sealed")
    said = f"for {lag:,.0f} s the log has not been sealed"
    if settings.database.url is None and server(settings) is None:
        return Finding("seal", Verdict.NOTE, said, "`fileroom serve` does it.")
    mend = "Its log says why. What is deleted meanwhile is answered with 503, and is gone."
    return Finding("seal", Verdict.BAD, said, mend)


async def _lost_secrets(settings: Settings, keys: Sequence[tuple[int, int, bytes]]) -> list[str]:
    """Return which secrets of the seal's keys no store has."""
    from app.archive.seal_keys import missing_secrets  # noqa: PLC0415 - only for this
    from app.archive.stores import open_place  # noqa: PLC0415

    places = {FIRST: settings.bucket or settings.objects_directory}
    places |= {copy.name: copy.where for copy in settings.objects.copies}
    with ExitStack() as stack:
        stores = {}
        for name, where in places.items():
            stores[name] = open_place(where)
            stack.callback(stores[name].close)
        return missing_secrets(keys, await secrets_of(stores))


def copies(settings: Settings) -> Finding:
    """Ask each copy whether it answers."""
    from app.archive.stores import open_place  # noqa: PLC0415 - only for this

    silent = []
    for copy in settings.objects.copies:
        try:
            store = open_place(copy.where)
            asyncio.run(store.check())
            store.close()
        except Unavailable as error:
            silent.append(f"{copy.name}: {error}")
    if silent:
        mend = (
            "Check its entry in FILEROOM_OBJECTS__COPIES, and the way there. `fileroom serve` "
            "makes the directory of a copy that is new; for one that was in use, mount its disk."
        )
        return Finding("copies", Verdict.BAD, "; ".join(silent), mend)
    names = ", ".join(copy.name for copy in settings.objects.copies)
    return Finding("copies", Verdict.GOOD, f"{names or 'none'}{' answer' if names else ''}")


def lost(settings: Settings) -> Finding:
    """Tell what the scrubber or `verify` found lost, and what is not repaired."""
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("findings", Verdict.NOTE, "nothing yet")
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            found = {} if pending(joined.url) else faults_of(joined.url)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("findings", Verdict.NOTE, f"were not looked for: {error}")
    if not found:
        return Finding("findings", Verdict.GOOD, "no object is known to be lost")
    said = ", ".join(f"{count:,} {state}" for state, count in found.items())
    mend = (
        "`fileroom verify --repair` mends them from a copy. What is quarantined or lost no store "
        "has: store it again, or bring its object back. GET /api/v1/findings lists them."
    )
    return Finding("findings", Verdict.BAD, f"objects that are lost: {said}", mend)


def jobs(settings: Settings) -> Finding:
    """Tell of jobs that failed for good, and of webhooks that are told nothing any more."""
    from app.jobs.queue import Counts, count_jobs_at  # noqa: PLC0415 - its library is large

    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("jobs", Verdict.NOTE, "nothing yet")
    count, disabled = Counts(0, 0.0, 0), list[int]()
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            if not pending(joined.url):
                count, disabled = count_jobs_at(joined.url), disabled_at(joined.url)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("jobs", Verdict.NOTE, f"were not looked at: {error}")
    waiting = f"{count.waiting:,} wait" if count.waiting else "none waits"
    if count.dead:
        mend = "`fileroom jobs list --dead` says why; then `fileroom jobs retry` or `discard`."
        return Finding("jobs", Verdict.BAD, f"{count.dead:,} failed for good; {waiting}", mend)
    if disabled:
        numbers = ", ".join(map(str, disabled))
        mend = "`fileroom webhooks enable` or `remove`."
        return Finding("jobs", Verdict.NOTE, f"webhooks that are disabled: {numbers}", mend)
    return Finding("jobs", Verdict.GOOD, f"{waiting}, and none has failed for good")


def forwarding(settings: Settings) -> Finding:
    """Tell of what could not be sent on for good, and of what has waited long."""
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return Finding("forwarding", Verdict.NOTE, "nothing yet")
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            queues = [] if pending(joined.url) else count_forwardings_at(joined.url)
    except (EmbeddedError, Refusal, ArchiveError) as error:
        return Finding("forwarding", Verdict.NOTE, f"was not looked at: {error}")
    dead = [f"{one.dead:,} to {one.destination}" for one in queues if one.dead]
    if dead:
        mend = (
            "`fileroom forwardings list --state dead` says why; then `fileroom forwardings retry` "
            "or `discard`."
        )
        return Finding("forwarding", Verdict.BAD, f"failed for good: {', '.join(dead)}", mend)
    slow = [
        f"{one.waiting + one.claimed:,} to {one.destination}, for {one.oldest_seconds:,.0f} s"
        for one in queues
        if one.oldest_seconds > LONG_UNSENT
    ]
    if slow:
        mend = "Is a bridge running, and does the destination answer?"
        return Finding("forwarding", Verdict.NOTE, f"waits long: {'; '.join(slow)}", mend)
    waiting = sum(one.waiting + one.claimed for one in queues)
    said = f"{waiting:,} on their way" if waiting else "nothing waits"
    return Finding("forwarding", Verdict.GOOD, said)


def jumped(settings: Settings, said: str) -> Finding:
    """Look whether the clock is far ahead of the time that the archive has seen pass."""
    good = Finding("clock", Verdict.GOOD, said)
    if settings.database.url is None and not own_postgres(settings).cluster.is_dir():
        return good
    try:
        with joined_index(settings, "fileroom doctor") as joined:
            ahead = 0.0 if pending(joined.url) else seconds_ahead_at(joined.url)
    except (EmbeddedError, Refusal, ArchiveError):
        return good  # the check of the index says so
    if ahead < LONG_AHEAD:
        return good
    return Finding(
        "clock",
        Verdict.NOTE,
        f"{said}, {ahead / 86_400:,.1f} days ahead of the time that the archive has seen pass",
        "If it is wrong, set it. If the archive was off for so long, all is well: what is deleted, "
        "and retention rules, wait until the time has caught up, at twice its pace.",
    )


def server(settings: Settings) -> int | None:
    holder = FileLock(settings.data_dir / LOCK_NAME).holder()
    return holder[0] if holder else None
