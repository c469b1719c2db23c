"""`fileroom copies`: fill a further store, and say how far the stores are."""

import sys

from app.archive.context import Archive
from app.archive.findings import count_safety
from app.archive.stores import stores_of
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.errors import Unavailable
from app.index.copies import fill
from app.objects.secret_copies import spread_secrets
from app.settings import Settings


def run_fill(settings: Settings, name: str) -> None:
    """Queue all that is stored for a copy.

    Raises:
        Refusal: there is no archive, or no copy of this name.
    """
    check_there(settings)
    names = [copy.name for copy in settings.objects.copies]
    if name not in names:
        known = ", ".join(names) or "none"
        raise Refusal(f"There is no copy {name!r}; FILEROOM_OBJECTS__COPIES names {known}.")

    async def work(archive: Archive) -> int:
        await spread_secrets(stores_of(archive.objects), name)
        return await fill(archive.index, name)

    count = with_archive(settings, "fileroom copies fill", work)
    sys.stdout.write(f"{count:,} objects are queued for {name}; `fileroom serve` copies them\n")


def run_list(settings: Settings) -> None:
    """Print each store, whether it answers, and what waits for it.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)
    modes = {copy.name: "sync" if copy.sync else "async" for copy in settings.objects.copies}

    async def work(archive: Archive) -> list[str]:
        queues = {queue.store: queue for queue in (await count_safety(archive)).queues}
        lines = []
        for name, store in stores_of(archive.objects).items():
            try:
                await store.check()
                said = "answers"
            except Unavailable as error:
                said = str(error)
            line = f"{name} ({modes.get(name, 'the first store')}): {said}"
            if name in queues:
                queue = queues[name]
                line += f"; {queue.waiting:,} tasks wait, the oldest for {queue.lag:,.0f} s"
                line += f"; {queue.dead:,} failed often: {queue.last_error}" * bool(queue.dead)
            lines.append(line)
        return lines

    found = with_archive(settings, "fileroom copies list", work, looks=True)
    sys.stdout.write("\n".join(found) + "\n")
