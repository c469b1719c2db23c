"""What the archive is asked for at the moment of a scrape: ages, lags, what waits."""

import time
from dataclasses import asdict, dataclass

from app.archive.context import Archive
from app.index.backup_runs import last_runs
from app.index.clock import seconds_ahead
from app.index.purging import count_waiting
from app.index.segments import seal_lag


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge; `name` follows `fileroom_`."""

    name: str
    text: str
    value: float


async def read_gauges(archive: Archive) -> list[Figure]:
    """Return the figures of an archive.

    Raises:
        Unavailable: the index does not answer.
    """
    index, now = archive.index, time.time()
    lag = "Age of the oldest event of the log that is not sealed"
    ages = [
        Figure(
            f"{name}_age_seconds",
            f"Since the moment that the last good {name} shows",
            now - at.timestamp(),
        )
        for name, at in asdict(await last_runs(index)).items()
        if at is not None
    ]
    waiting = [
        Figure(f"deleted_{name}", f"Deleted and not yet purged: {name}", float(value))
        for name, value in asdict(await count_waiting(index)).items()
    ]
    ahead = "How far the clock is ahead of the time that was seen to pass, by which is purged"
    clock = Figure("clock_ahead_seconds", ahead, await seconds_ahead(index))
    return [Figure("seal_lag_seconds", lag, await seal_lag(index)), clock, *ages, *waiting]
