"""`fileroom worklist`: what is scheduled; and DCMTK's worklist files, which become that."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from app.archive.context import Archive
from app.archive.worklist import forget_steps, schedule_steps, search_steps, unschedule_step
from app.cli.importing import OPERATOR, SOME_REFUSED
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.dicom.attributes import Level
from app.dicom.matching import Query, parse_match
from app.dicom.plain_dataset import LONGEST, first_value, items_of, read_plain_dataset
from app.dicom.scheduled_step import STATUS, STEPS, read_scheduled_steps
from app.errors import ArchiveError, Unavailable
from app.settings import Settings

_NOTE = "fileroom worklist"
_SUFFIX = ".wl"
_PAGE = 1000


def run_import(settings: Settings, paths: Sequence[Path]) -> int:
    """Put worklist files on the worklist, each alone; return the exit code.

    Raises:
        Refusal: a path is not there, or there is no archive.
        Unavailable: the index does not answer.
    """
    check_there(settings)
    if missing := [str(path) for path in paths if not path.exists()]:
        raise Refusal(f"There is no {', '.join(missing)}.")

    async def work(archive: Archive) -> tuple[int, int]:
        put = refused = 0
        for path in _files(paths):
            try:
                dataset = read_plain_dataset(_content(path), archive.limits)
                steps = read_scheduled_steps(dataset, archive.limits)
                put += len(await schedule_steps(archive, OPERATOR, steps))
            except Unavailable:
                raise
            except (ArchiveError, OSError) as error:
                refused += 1
                said = error.strerror if isinstance(error, OSError) else error
                sys.stderr.write(f"{path}: {said}\n")
        return put, refused

    put, refused = with_archive(settings, _NOTE, work)
    sys.stdout.write(f"{put:,} steps are on the worklist; {refused:,} files were refused\n")
    return SOME_REFUSED if refused else 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(it for it in path.rglob("*") if it.suffix.lower() == _SUFFIX)
        else:
            yield path


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST + 1)


def run_list(settings: Settings, *, every: bool) -> None:
    """Print steps, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    status = parse_match((STEPS, STATUS), "?*") if every else None

    async def work(archive: Archive) -> None:
        lines = 0
        while True:
            matches = (status,) if status else ()
            query = Query(Level.INSTANCE, matches=matches, limit=_PAGE, offset=lines)
            found = await search_steps(archive, OPERATOR, query)
            sys.stdout.write("".join(map(_line, found.rows)))
            lines += len(found.rows)
            if not found.remaining:
                break
        if not lines:
            sys.stderr.write("nothing is scheduled\n")

    with_archive(settings, _NOTE, work)


def _line(row: str) -> str:
    dataset: dict[str, Any] = orjson.loads(row)
    (step,) = items_of(dataset, STEPS)
    titles = ",".join(step["00400001"].get("Value", ()))
    words = (
        first_value(step, 0x00400002),
        first_value(step, 0x00400003),
        titles,
        first_value(step, 0x00080060),
        first_value(step, STATUS),
        first_value(dataset, 0x0020000D),
        first_value(step, 0x00400009),
    )
    return "  ".join(words) + "\n"


def run_remove(settings: Settings, study: str, step: str) -> None:
    """Take one step off the worklist.

    Raises:
        NotFound, InvalidUID: there is no such step.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await unschedule_step(archive, OPERATOR, study, step)
        sys.stdout.write(f"Step {step} of Study {study} is on the worklist no more\n")

    with_archive(settings, _NOTE, work)


def run_forget(settings: Settings, before: str) -> None:
    """Take the steps that were to begin before a day off the worklist.

    Raises:
        InvalidRequest: it is no day.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        gone = await forget_steps(archive, OPERATOR, before)
        sys.stdout.write(f"{gone:,} steps are on the worklist no more\n")

    with_archive(settings, _NOTE, work)
