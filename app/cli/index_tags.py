"""`fileroom index-tags`: which attributes the index answers for beyond its columns."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.archive.context import Archive
from app.archive.indexed_tags import index_tag, list_tags, unindex_tag
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.tag_states import describe
from app.dicom.chosen_attributes import read_chosen
from app.index.attribute_values import Indexed
from app.settings import Settings

_NOTE = "fileroom index-tags"


def run_add(settings: Settings, tags: Sequence[str]) -> None:
    """Index attributes one after another, and show how far it is.

    Raises:
        InvalidQuery: a tag names none that can be matched; nothing was done.
        Conflict: one is being removed.
        Refusal: there is no archive.
    """
    chosen = [read_chosen(tag) for tag in tags]
    check_there(settings)

    async def work(archive: Archive) -> None:
        with _Shown() as shown:
            for one in chosen:
                indexed = await index_tag(archive, OPERATOR, one, shown.tell)
                sys.stdout.write(f"{describe(indexed)}\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, tags: Sequence[str]) -> None:
    """Remove attributes from the index.

    Raises:
        InvalidQuery: a tag names none; nothing was done.
        NotFound: one is not there.
        Refusal: there is no archive.
    """
    chosen = [read_chosen(tag) for tag in tags]
    check_there(settings)

    async def work(archive: Archive) -> None:
        for one in chosen:
            await unindex_tag(archive, OPERATOR, one)
            sys.stdout.write(f"{one.shown} is not in the index any more\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print what is indexed, an attribute on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        lines = [describe(one) for one in await list_tags(archive, OPERATOR)]
        sys.stdout.write("\n".join(lines or ["nothing beyond the columns of the index"]) + "\n")

    with_archive(settings, _NOTE, work)


class _Shown:
    """Shows on a terminal how much is done."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Shown":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, indexed: Indexed) -> None:
        """Show how far one is."""
        self._progress.update(
            self._task,
            description=indexed.shown,
            completed=indexed.done,
            total=max(indexed.total, indexed.done),
        )
