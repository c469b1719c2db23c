"""`fileroom verify`: read all objects again, and say which are not what was stored."""

import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.archive.context import Archive
from app.archive.examine import State
from app.archive.sealed_log import verify_log
from app.archive.tenants import list_tenants
from app.archive.verify import Verified, Wanted, verify_objects
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.dicom.uids import check_uid
from app.errors import NotFound
from app.objects.bucket import FIRST
from app.settings import Settings

SOME_WRONG = 3
"""Exit code: something is damaged or missing, and was not repaired."""
_WRONG = (State.DAMAGED, State.MISSING, State.QUARANTINED, State.LOST)
_SHOWN = (*_WRONG, State.REPAIRED, State.UNNAMED)


def run_verify(
    settings: Settings,
    since: str | None,
    study: str | None,
    rate: float | None,
    report: Path | None,
    *,
    repair: bool = False,
) -> int:
    """Verify, and return the exit code.

    Raises:
        InvalidUID: `study` is none.
        Refusal: there is no archive; `since` is no date; the report cannot be written.
    """
    wanted = Wanted(
        since=None if since is None else _moment(since),
        study=None if study is None else check_uid(study),
        rate=rate * 1e6 if rate else float("inf"),
        repair=repair,
    )
    check_there(settings)
    check_report(report)
    told = Told()

    async def work(archive: Archive) -> None:
        await verify_objects(archive, wanted, told.add)
        if wanted.since is None and wanted.study is None:
            for tenant in await list_tenants(archive, OPERATOR):
                async for segment in verify_log(archive, tenant.number, repair=repair):
                    told.add(segment)

    with told:
        with_archive(settings, "fileroom verify", work, looks=True)
    if wanted.study and not told.counts:
        raise NotFound("An object of Study", wanted.study)
    return told.conclude(report)


def check_report(report: Path | None) -> None:
    """Refuse a report that could not be written in the end.

    Raises:
        Refusal: there is no folder for it.
    """
    if report and not report.absolute().parent.is_dir():
        raise Refusal(f"The report {report} cannot be written: there is no such folder.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refusal(
            f"--since takes a date or a time, as 2026-01-31T08:00; not {text!r}."
        ) from None


class Told:
    """Counts what was verified, and shows it on a terminal."""

    def __init__(self) -> None:
        self.counts: Counter[State] = Counter()
        self.size = 0
        self.wrong: list[Verified] = []
        self._began = time.monotonic()
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} objects"),
            TextColumn("{task.fields[wrong]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("verify", total=None, wrong="")

    def __enter__(self) -> "Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, verified: Verified) -> None:
        """Count one object; what is wrong is told at once."""
        self.counts[verified.state] += 1
        self.size += verified.size
        if verified.state in _SHOWN:
            self.wrong.append(verified)
            where = f" in {verified.store}" if verified.store not in {"", FIRST} else ""
            told = f"{verified.state}{where}: {verified.object_key}: {verified.detail}\n"
            sys.stdout.write(told)
        wrong = sum(self.counts[state] for state in _WRONG)
        self._progress.update(self._task, advance=1, wrong=f"{wrong:,} wrong" if wrong else "")

    def conclude(self, report: Path | None) -> int:
        """Say how it went, write the report if one is wanted, and return the exit code.

        Raises:
            Refusal: the report cannot be written.
        """
        sys.stdout.write(self._summary())
        if report:
            try:
                report.write_bytes(self._as_json())
            except OSError as error:
                raise Refusal(f"The report {report} cannot be written: {error.strerror}.") from None
        return SOME_WRONG if any(self.counts[state] for state in _WRONG) else 0

    def _summary(self) -> str:
        """Say how it went, and what may be done about it."""
        words = [f"{self.counts[state]:,} {state}" for state in State if self.counts[state]]
        seconds = time.monotonic() - self._began
        found = ", ".join(words) or "nothing to verify"
        said = f"{found}; {self.size / 1e6:,.1f} MB read in {seconds:,.1f} s\n"
        if unnamed := self.counts[State.UNNAMED]:
            said += (
                f"{unnamed:,} objects are named by no row: `fileroom sweep` says what it would "
                "give back of them\n"
            )
        return said

    def _as_json(self) -> bytes:
        """Return the report for `--report`."""
        document = {
            **{str(state): self.counts[state] for state in State},
            "bytes": self.size,
            "seconds": round(time.monotonic() - self._began, 3),
            "findings": [
                {
                    "state": str(one.state),
                    "object": one.object_key,
                    "store": one.store,
                    "study": one.study,
                    "instance": one.instance,
                    "detail": one.detail,
                }
                for one in self.wrong
            ],
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
