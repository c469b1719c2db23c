"""How busy a worker is: what is being done at once, what waits, and what was refused.

What is counted where it happens, in plain numbers, is told to the metrics once a second.
"""

from prometheus_client import Counter, Gauge

from app.archive.context import Archive
from app.turns import Turns
from app.web.admission import Rates

_BY = ("of", "work")
SIZE = Gauge("fileroom_turns", "What can be done at once", _BY, multiprocess_mode="livesum")
USED = Gauge("fileroom_turns_used", "What is done now", _BY, multiprocess_mode="livesum")
WAITING = Gauge("fileroom_turns_waiting", "What waits", _BY, multiprocess_mode="livesum")
REFUSED = Counter("fileroom_refused", "What was told to ask again later", _BY)
ANY = "any"


class Pressure:
    """Tells the metrics of one worker."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], int] = {}

    def tell(self, archive: Archive, rates: Rates | None) -> None:
        """Tell how things are now."""
        for turns in archive.budgets:
            self._turns(turns, ANY)
        for shares in archive.index.shares:
            for work, turns in shares.of.items():
                self._turns(turns, work)
        if rates is not None:
            for rate in (rates.principals, rates.addresses):
                self._refused((f"requests of one {rate.name}", ANY), rate.refused)

    def _turns(self, turns: Turns, work: str) -> None:
        labels = turns.name, work
        SIZE.labels(*labels).set(turns.size)
        USED.labels(*labels).set(turns.used)
        WAITING.labels(*labels).set(turns.waiting)
        self._refused(labels, turns.refused)

    def _refused(self, labels: tuple[str, str], count: int) -> None:
        REFUSED.labels(*labels).inc(count - self._told.get(labels, 0))
        self._told[labels] = count
