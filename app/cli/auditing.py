"""`fileroom audit`: the audit trail, for auditors on this machine."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from app.archive.audit import all_entries, entry_as_json, note_use, who_saw
from app.archive.context import Archive
from app.archive.sealed_log import verify_log
from app.archive.tenants import list_tenants
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.cli.verifying import Told
from app.dicom.uids import check_uid
from app.index.audit_log import Wanted
from app.index.events import Event
from app.settings import Settings

_NOTE = "fileroom audit"
_SHOWN = ("study", "count", "instances", "address", "asked", "attempt", "status")

Times = tuple[str, str]
"""From and to, '' for none."""


def run_who_saw(settings: Settings, study: str, times: Times, *, as_json: bool) -> None:
    """Print who saw a Study.

    Raises:
        InvalidUID, Refusal: it is no UID, or there is no archive.
    """
    _print(settings, who_saw(check_uid(study), _between(Wanted(), times)), as_json=as_json)


def run_list(settings: Settings, wanted: Wanted, times: Times, *, as_json: bool) -> None:
    """Print the entries that are wanted.

    Raises:
        InvalidRequest, InvalidUID, Refusal: an action or UID is none, or there is no archive.
    """
    if wanted.study:
        check_uid(wanted.study)
    _print(settings, _between(wanted, times), as_json=as_json)


def run_export(settings: Settings, to: Path, times: Times) -> None:
    """Write the entries of a time to a file that is not there yet.

    Raises:
        Refusal: there is no archive, or the file cannot be made.
    """
    check_there(settings)
    wanted = _between(Wanted(), times)

    try:
        file = to.open("xb")
    except OSError as error:
        raise Refusal(f"{to} cannot be written: {error.strerror}.") from None

    async def work(archive: Archive) -> int:
        count = 0
        await note_use(archive, OPERATOR)
        async for event in all_entries(archive, OPERATOR, wanted):
            file.write(orjson.dumps(entry_as_json(event), option=orjson.OPT_APPEND_NEWLINE))
            count += 1
        return count

    try:
        with file:
            count = with_archive(settings, _NOTE, work)
    except BaseException:
        to.unlink(missing_ok=True)  # half of it would look like all
        raise
    sys.stdout.write(f"{count:,} entries in {to}\n")


def run_verify(settings: Settings) -> int:
    """Verify the log in every store; return the exit code.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    told = Told()

    async def work(archive: Archive) -> None:
        for tenant in await list_tenants(archive, OPERATOR):
            async for segment in verify_log(archive, tenant.number):
                told.add(segment)

    with told:
        with_archive(settings, _NOTE, work, looks=True)
    return told.conclude(None)


def _print(settings: Settings, wanted: Wanted, *, as_json: bool) -> None:
    check_there(settings)

    async def work(archive: Archive) -> None:
        lines = 0
        await note_use(archive, OPERATOR, wanted.study)
        async for event in all_entries(archive, OPERATOR, wanted):
            said = orjson.dumps(entry_as_json(event)).decode() if as_json else describe(event)
            sys.stdout.write(said + "\n")
            lines += 1
        if not lines:
            sys.stderr.write("no entries\n")

    with_archive(settings, _NOTE, work)


def describe(event: Event) -> str:
    """Return an entry as a line for people."""
    entry = entry_as_json(event)
    words = [f"{event.at:%Y-%m-%d %H:%M:%S}", event.actor or "nobody", event.kind]
    for name in _SHOWN:
        if value := entry.get(name):
            said = ",".join(value) if isinstance(value, list) else value
            words.append(f"{name}={said}")
    return "  ".join(words)


def _between(wanted: Wanted, times: Times) -> Wanted:
    since, until = (_moment(text) if text else None for text in times)
    return replace(wanted, since=since, until=until)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refusal(f"{text!r} is no time; one is written as 2026-01-31T08:00.") from None
