"""The archive for a command of the operator's: open it, do the work, close it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.archive.context import Archive, open_archive
from app.cli.joining import joined_index
from app.cli.refusal import Refusal
from app.index.migrations import migrate, pending
from app.logs import configure_logs
from app.settings import Settings

Result = TypeVar("Result")


def with_archive(
    settings: Settings, note: str, work: Callable[[Archive], Awaitable[Result]]
) -> Result:
    """Run `work` on the archive of these settings; `note` tells others who runs PostgreSQL.

    An index that nobody else uses is brought to this version first.

    Raises:
        Refusal: the index is of another version, and others use it.
    """

    async def run(opened: Settings) -> Result:
        async with open_archive(opened.place()) as archive:
            return await work(archive)

    quiet = "warning" if settings.log.level == "info" else settings.log.level
    configure_logs(quiet, settings.log.format)
    with joined_index(settings, note) as joined:
        if joined.started:
            migrate(joined.url)
        elif pending(joined.url):
            raise Refusal(
                "The index is older than this version of Fileroom. Stop the server, make a "
                "backup, and run `fileroom migrate`."
            )
        return asyncio.run(run(joined.settings))
