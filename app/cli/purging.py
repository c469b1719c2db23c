"""`fileroom purge`: give back the room of what was deleted long ago."""

import sys
from datetime import UTC, datetime, timedelta

from app.archive.context import Archive
from app.archive.purge import purge_deleted
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.clock import LONG_AHEAD, seconds_ahead
from app.index.purging import Deleted
from app.settings import Settings

_AHEAD = (
    "The clock is {:,.1f} days ahead of the time that the archive has seen pass. Look whether it is"
    " right before you purge by it.\n"
)


def run_purge(settings: Settings, older_than: float, *, really: bool) -> int:
    """Purge what was deleted more than so many days ago, or say what that would be.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    before = datetime.now(UTC) - timedelta(days=older_than)
    told = _Told()

    async def work(archive: Archive) -> None:
        ahead = await seconds_ahead(archive.index)
        if ahead > LONG_AHEAD:
            sys.stderr.write(_AHEAD.format(ahead / 86_400))
        await purge_deleted(archive, OPERATOR, before, told.add, really=really)

    with_archive(settings, "fileroom purge", work)
    sys.stdout.write(told.summary(really=really))
    return 0


class _Told:
    """Counts what is purged, by Study."""

    def __init__(self) -> None:
        self._instances = self._size = 0
        self._studies: set[str] = set()

    def add(self, one: Deleted) -> None:
        """Count one Instance."""
        self._instances += 1
        self._size += one.size
        self._studies.add(one.study)

    def summary(self, *, really: bool) -> str:
        """Say what was done, or what would be."""
        studies = len(self._studies - {""})
        found = f"{self._instances:,} deleted Instances of {studies:,} Studies"
        found += f" ({self._size / 1e6:,.1f} MB)"
        if really:
            return f"{found} are purged\n"
        return f"{found} would be purged, which cannot be undone; do it with --yes\n"
