"""`fileroom export`: write Studies, or what is of no Patient, to a folder or a zip."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.archive.context import Archive
from app.archive.export_targets import Folder, Zip
from app.archive.exporting import Exported, export_category, export_study
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.dicom.non_patient import CATEGORIES
from app.dicom.uids import StudyRef, check_uid
from app.settings import Settings

SOME_DAMAGED = 3
"""Exit code: some Instances could not be written as they were stored."""


def run_export(settings: Settings, names: Sequence[str], to: Path) -> int:
    """Write Studies, by UID, and non-patient Instances, by category; return the exit code.

    `to` is a zip if its name says so.

    Raises:
        InvalidUID, NotFound: there is no such Study; nothing of it was written.
        Conflict: something else is there under that name; it is left as it is.
        Refusal: there is no archive.
    """
    wanted = [name if name in CATEGORIES else StudyRef(check_uid(name)) for name in names]
    check_there(settings)
    told = _Told()
    target = Zip(to) if to.suffix.lower() == ".zip" else Folder(to)

    async def work(archive: Archive) -> None:
        for one in wanted:
            if isinstance(one, StudyRef):
                await export_study(archive, OPERATOR, one, target, told.add)
            else:
                await export_category(archive, OPERATOR, one, target, told.add)

    with target, told:
        with_archive(settings, "fileroom export", work)
    sys.stdout.write(f"{told.summary()} in {to}\n")
    return SOME_DAMAGED if told.damaged else 0


class _Told:
    """Counts what is exported, and shows it on a terminal."""

    def __init__(self) -> None:
        self.written = self.there = self.size = 0
        self.damaged: list[Exported] = []
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} Instances"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("export", total=None)

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, exported: Exported) -> None:
        """Count one Instance."""
        self._progress.update(self._task, advance=1)
        if exported.fault:
            self.damaged.append(exported)
        elif exported.was_there:
            self.there += 1
        else:
            self.written += 1
            self.size += exported.size

    def summary(self) -> str:
        """Say how it went."""
        for one in self.damaged:
            sys.stderr.write(f"not exported: {one.name}: {one.fault}\n")
        there = f", {self.there:,} were there" if self.there else ""
        return f"{self.written:,} Instances ({self.size / 1e6:,.1f} MB) written{there}"
