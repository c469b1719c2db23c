"""`fileroom worker`: what the archive does by itself, and nothing else.

It needs the index and the objects, and waits for an index that is not there yet or is older. It
never runs a PostgreSQL, as other commands do: that belongs to `serve`, which may come and go.
"""

import asyncio
import logging
import signal
import sys
import time

from app import __version__
from app.archive.context import open_archive
from app.archive.working import at_work
from app.cli.joining import check_restored, own_postgres
from app.cli.opening import check_there, check_user
from app.errors import Unavailable
from app.index.migrations import pending
from app.logs import configure_logs
from app.settings import Settings

WAIT_SECONDS = 1.0
STOPPING = (signal.SIGTERM, signal.SIGINT)
OLDER = "it is older than this version; `fileroom serve` or `migrate` brings it up to it"
_log = logging.getLogger(__name__)


def run_worker(settings: Settings) -> None:
    """Work until a signal asks for the end; a second one does not wait for it.

    Raises:
        Refusal: there is no archive, it is half restored, or another user serves it.
        Conflict: a newer version made the index.
    """
    check_there(settings)
    check_user(settings)
    check_restored(settings.data_dir)
    configure_logs(settings.log.level, settings.log.format)
    url = settings.database.url.get_secret_value() if settings.database.url else None
    url = url or own_postgres(settings).url()
    _wait_for_index(url)
    asyncio.run(_work(settings.with_database(url)))


def _wait_for_index(url: str) -> None:
    told = ""
    while True:
        try:
            why = OLDER if pending(url) else ""
        except Unavailable as error:
            why = str(error)
        if not why:
            return
        if why != told:
            _log.warning("waiting for the index: %s", why)
            told = why
        time.sleep(WAIT_SECONDS)


async def _work(settings: Settings) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        for number in STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    async with open_archive(settings.place()) as archive, at_work(archive, settings.duties()):
        sys.stdout.write(f"Fileroom {__version__} is at work. Stop with Ctrl-C.\n")
        sys.stdout.flush()
        await stopping.wait()
        _log.info("stopping: what is under way ends, or is given back")
