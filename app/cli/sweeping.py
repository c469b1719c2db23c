"""`fileroom sweep`: give back the room of objects that no row names."""

import sys

from app.archive.context import Archive
from app.archive.sweep import Swept, sweep_unnamed
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.settings import Settings


def run_sweep(settings: Settings, hours: float, *, really: bool) -> None:
    """Sweep what was made so many hours ago, or say what that would be.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    count = size = 0

    def tell(one: Swept) -> None:
        nonlocal count, size
        count, size = count + 1, size + one.size
        sys.stdout.write(f"{one.name}\n")

    async def work(archive: Archive) -> None:
        await sweep_unnamed(archive, OPERATOR, hours * 3600, tell, really=really)

    with_archive(settings, "fileroom sweep", work)
    found = f"{count:,} objects that the index does not name ({size / 1e6:,.1f} MB)"
    done = "are swept" if really else "would be swept; do it with --yes"
    sys.stdout.write(f"{found} {done}\n")
