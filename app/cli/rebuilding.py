"""`fileroom rebuild`: a new index from the objects alone."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.archive.context import open_archive
from app.archive.rebuild import Outcome, Rebuilt, rebuild_index
from app.cli.importing import OPERATOR
from app.cli.joining import REBUILDING, joined_index
from app.cli.refusal import Refusal
from app.index.migrations import migrate
from app.logs import configure_logs
from app.settings import Settings

SOME_LOST = 3
"""Exit code: the index is there, but something that was accepted is lost, or the log is damaged."""
_BAD = (Outcome.LOST, Outcome.DOUBTFUL)
_SHOWN = (*_BAD, Outcome.ADMITTED, Outcome.LEFT_OUT)


def run_rebuild(settings: Settings, report: Path | None, *, doubtful: bool = False) -> int:
    """Make the index anew, and return the exit code.

    Raises:
        Refusal: there are no objects, or the index is there already.
        Conflict: the index is in use.
        Damaged: no store has a segment of the log as it was signed, and `doubtful` is not said.
    """
    if settings.bucket is None and not settings.objects_directory.is_dir():
        raise Refusal(
            f"There are no objects in {settings.objects_directory}. Say where they are with "
            "--data-dir or FILEROOM_OBJECTS__URL."
        )
    begun = settings.data_dir / REBUILDING
    if settings.postgres_directory.exists() and not begun.exists():
        raise Refusal(
            f"There is an index in {settings.postgres_directory}. To make a new one, move that "
            "directory away first."
        )
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun.touch()
    configure_logs("warning", settings.log.format)
    with joined_index(settings, "fileroom rebuild") as joined, _Told() as told:
        migrate(joined.url)
        asyncio.run(_rebuild(joined.settings, told, doubtful=doubtful))
    begun.unlink()
    sys.stdout.write(told.summary())
    if report:
        report.write_bytes(told.as_json())
    return SOME_LOST if any(told.counts[outcome] for outcome in _BAD) else 0


async def _rebuild(settings: Settings, told: "_Told", *, doubtful: bool) -> None:
    async with open_archive(settings.place()) as archive:
        await rebuild_index(archive, OPERATOR, told.add, doubtful=doubtful)


class _Told:
    """Counts objects, shows them on a terminal, and tells of those that are not simply back."""

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self._listed: list[Rebuilt] = []
        self._began = time.monotonic()
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} objects"),
            TextColumn("{task.fields[rate]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("rebuild", total=None, rate="")

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, rebuilt: Rebuilt) -> None:
        """Count one object; what is not as it should be is told at once."""
        self.counts[rebuilt.outcome] += 1
        if rebuilt.outcome in _SHOWN:
            self._listed.append(rebuilt)
            sys.stdout.write(f"{rebuilt.outcome}: {rebuilt.object_key}: {rebuilt.detail}\n")
        rate = self.counts.total() / max(time.monotonic() - self._began, 0.001)
        self._progress.update(self._task, advance=1, rate=f"{rate:,.0f}/s")

    def summary(self) -> str:
        """Say how it went, in one line."""
        words = [f"{self.counts[one]:,} {one}" for one in Outcome if self.counts[one]]
        seconds = time.monotonic() - self._began
        return f"{', '.join(words) or 'no objects'}; {seconds:,.1f} s\n"

    def as_json(self) -> bytes:
        """Return the report for `--report`."""
        listed = [
            {"outcome": str(one.outcome), "object": one.object_key, "detail": one.detail}
            for one in self._listed
        ]
        document = {**{str(one): self.counts[one] for one in Outcome}, "listed": listed}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
