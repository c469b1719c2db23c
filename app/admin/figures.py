"""What the archive is asked for at the moment of a scrape: ages, lags, what waits."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from app.archive.context import Archive
from app.index.audit_outbox import collector_lags
from app.index.backup_runs import last_runs
from app.index.clock import seconds_ahead
from app.index.commitments import commitment_lag
from app.index.forwardings import Queue, count_forwardings
from app.index.purging import count_waiting
from app.index.segments import seal_lag
from app.index.webhooks import MOST_COUNTED, Lag, webhook_lags
from app.jobs.queue import count_jobs

_WEBHOOK = {
    "waiting": f"Events that a webhook is to be told of, up to {MOST_COUNTED}",
    "lag_seconds": "How long the oldest of them waits",
}
_FORWARDING = {
    "waiting": "Instances that wait to be sent to a destination",
    "claimed": "Instances that a bridge is sending there",
    "dead": "Instances that could not be sent there for good",
    "oldest_seconds": "How long the oldest that is not dead has waited",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge; `name` follows `fileroom_`. Those of one name stand together."""

    name: str
    text: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


async def read_gauges(archive: Archive) -> list[Figure]:
    """Return the figures of an archive.

    Raises:
        Unavailable: the index does not answer.
    """
    index, now = archive.index, time.time()
    lag = "Age of the oldest event of the log that is not sealed"
    working = "Age of the oldest request for storage commitment without a result"
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
    jobs, webhooks = await count_jobs(index), await webhook_lags(index)
    queue = [
        Figure("jobs_waiting", "Jobs that are to be done", jobs.waiting),
        Figure("jobs_oldest_seconds", "How long the oldest of them waits", jobs.oldest),
        Figure("jobs_dead", "Jobs that failed for good", jobs.dead),
    ]
    lags = [
        Figure("seal_lag_seconds", lag, await seal_lag(index)),
        Figure("commitment_lag_seconds", working, await commitment_lag(index)),
    ]
    ahead = "How far the clock is ahead of the time that was seen to pass, by which is purged"
    clock = Figure("clock_ahead_seconds", ahead, await seconds_ahead(index))
    untold = "Age of the oldest event that an audit repository was not told of"
    reported = [
        Figure("audit_lag_seconds", untold, seconds, {"collector": address})
        for address, seconds in (await collector_lags(index)).items()
    ]
    forwarded = _forwarded(await count_forwardings(index))
    return [*lags, clock, *ages, *waiting, *queue, *_told(webhooks), *reported, *forwarded]


def _told(webhooks: Sequence[Lag]) -> Iterator[Figure]:
    """Yield how far behind each webhook is."""
    for name, text in _WEBHOOK.items():
        for lag in webhooks:
            value = float(asdict(lag)[name])
            yield Figure(f"webhook_{name}", text, value, {"webhook": str(lag.webhook)})


def _forwarded(queues: Sequence[Queue]) -> Iterator[Figure]:
    """Yield what waits for each destination."""
    for name, text in _FORWARDING.items():
        for queue in queues:
            where = {"destination": queue.destination}
            yield Figure(f"forwarding_{name}", text, float(asdict(queue)[name]), where)
