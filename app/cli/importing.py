"""`fileroom import`: bring files in, show how it goes, say what was refused and why."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO, TextIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from app.archive.context import Archive
from app.archive.found_files import FoundFile, find_files
from app.archive.import_memory import ImportMemory
from app.archive.importing import Fate, Imported, import_files
from app.cli.opening import with_archive
from app.cli.refusal import Refusal
from app.errors import StorageFull
from app.rights import Principal
from app.settings import Settings

SOME_REFUSED = 3
"""Exit code: all that could be imported was, and something was refused."""
MEMORY_NAME = "imports.sqlite3"
OPERATOR = Principal("operator")
_SHOWN = 10
_WORDS = {
    Fate.STORED: "stored",
    Fate.KNOWN: "there already",
    Fate.SKIPPED: "skipped: an earlier import stored them",
    Fate.NO_DICOM: "no DICOM",
    Fate.REFUSED: "refused",
}


@dataclass(slots=True)
class Tally:
    """What an import has done so far."""

    files: Counter[Fate] = field(default_factory=Counter)
    size: int = 0
    refused: list[Imported] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, imported: Imported) -> None:
        """Count one file."""
        self.files[imported.fate] += 1
        self.size += imported.size
        if imported.fate is Fate.REFUSED:
            self.refused.append(imported)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.began

    def as_json(self) -> bytes:
        """Return the report for `--report`."""
        document = {
            **{fate.name.lower(): self.files[fate] for fate in Fate},
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "refusals": [
                {
                    "file": _printable(one.name),
                    "reason": None if one.reason is None else f"{one.reason:04X}",
                    "comment": one.comment,
                }
                for one in self.refused
            ],
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def run_import(
    settings: Settings, named: Sequence[str], report: Path | None, side_by_side: int
) -> int:
    """Import what is `named`; return the exit code.

    A name is a file, a folder, a zip or a DICOMDIR; `-` reads names from standard input and
    `@file` from a file, one on a line or ended by NUL.

    Raises:
        Refusal: a name leads nowhere, the report cannot be written, or there is no room left.
    """
    paths = list(_paths(named, sys.stdin.buffer))
    _check(paths, report)
    tally = Tally()

    async def work(archive: Archive) -> None:
        with ImportMemory(settings.data_dir / MEMORY_NAME) as memory, _Shown(paths, tally) as shown:
            found = find_files(paths)
            await import_files(archive, OPERATOR, found, memory, shown.add, side_by_side)

    try:
        with_archive(settings, "fileroom import", work)
    except StorageFull as error:
        raise Refusal(
            f"{error}. What is counted above as stored is safe. Make room, then give the same "
            "command again: it goes on where it stopped."
        ) from None
    finally:
        if report is not None:
            report.write_bytes(tally.as_json())
        _print_summary(tally, sys.stdout)
    return SOME_REFUSED if tally.refused else 0


def _paths(named: Sequence[str], standard_input: BinaryIO) -> Iterator[Path]:
    for name in named:
        if name == "-":
            yield from _listed(standard_input.read())
        elif name.startswith("@") and not Path(name).exists():
            try:
                yield from _listed(Path(name[1:]).read_bytes())
            except OSError as error:
                raise Refusal(f"The list {name[1:]} cannot be read: {error.strerror}") from None
        else:
            yield Path(name)


def _listed(content: bytes) -> Iterator[Path]:
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    yield from (Path(line.decode(errors="surrogateescape")) for line in lines if line.strip())


def _check(paths: Sequence[Path], report: Path | None) -> None:
    if not paths:
        raise Refusal("The list of files is empty: nothing was imported.")
    for path in paths:
        if not path.exists():
            raise Refusal(f"There is no {path}. Nothing was imported.")
    if report is not None:
        try:
            report.touch()
        except OSError as error:
            raise Refusal(f"The report {report} cannot be written: {error.strerror}") from None


class _Shown:
    """A progress bar on the terminal; files are counted in a thread while it runs."""

    def __init__(self, paths: Sequence[Path], tally: Tally) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} of {task.fields[found]} files"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("import", total=None, found="…", rate="")
        self._tally = tally
        self._stop = Event()
        self._counting = Thread(target=self._count, args=(paths,), daemon=True)

    def __enter__(self) -> "_Shown":
        self._progress.start()
        if not self._progress.disable:
            self._counting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._progress.stop()

    def _count(self, paths: Sequence[Path]) -> None:
        count = 0
        for found in find_files(paths):
            if self._stop.is_set():
                return
            count += 1
            if isinstance(found, FoundFile) and count % 1000 == 0:
                self._progress.update(self._task, found=f"{count:,}…")
        self._progress.update(self._task, total=count, found=f"{count:,}")

    def add(self, imported: Imported) -> None:
        """Show one more file as done."""
        self._tally.add(imported)
        self._progress.update(self._task, advance=1, rate=_rate(self._tally))


def _rate(tally: Tally) -> str:
    seconds = max(tally.seconds, 0.001)
    return f"{tally.files.total() / seconds:,.0f}/s, {tally.size / seconds / 1e6:,.0f} MB/s"


def _print_summary(tally: Tally, out: TextIO) -> None:
    for fate, words in _WORDS.items():
        if tally.files[fate]:
            out.write(f"{tally.files[fate]:>10,} {words}\n")
    out.write(f"{tally.files.total():>10,} files in {tally.seconds:,.1f} s ({_rate(tally)})\n")
    for one in tally.refused[:_SHOWN]:
        out.write(f"refused: {_printable(one.name)}: {one.comment}\n")
    if len(tally.refused) > _SHOWN:
        out.write(f"refused: {len(tally.refused) - _SHOWN:,} more; --report lists all\n")


def _printable(name: str) -> str:
    """Return a file name as text that can be printed, whatever bytes and controls are in it."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
