"""Series that were stored into, until they have come to rest."""

import asyncio
from collections.abc import Callable
from time import monotonic

from app.dicom.uids import SeriesRef

REST_SECONDS = 3.0
"""How long nothing must have come into a Series: its middle is steady then."""
QUIET_SECONDS = 0.5
"""How long nothing must have been stored at all."""
MOST_SERIES = 1000
_Key = tuple[int, SeriesRef]


class Upcoming:
    """The Series of one process, by tenant; the longest at rest comes first."""

    def __init__(
        self, rest_seconds: float = REST_SECONDS, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self._rest_seconds = rest_seconds
        self._quiet_seconds = quiet_seconds
        self._noted: dict[_Key, float] = {}
        self._last = 0.0
        self._some = asyncio.Event()

    def note(self, tenant_id: int, series: SeriesRef) -> None:
        """Remember that something was stored into a Series; too many are forgotten."""
        key = (tenant_id, series)
        self._last = monotonic()
        self._noted.pop(key, None)
        if len(self._noted) < MOST_SERIES:
            self._noted[key] = self._last
            self._some.set()

    async def next(self, is_idle: Callable[[], bool]) -> _Key:
        """Wait for a Series that has come to rest while nothing else goes on, and return it."""
        while True:
            await self._some.wait()
            key, noted = next(iter(self._noted.items()))
            now = monotonic()
            due = max(noted + self._rest_seconds, self._last + self._quiet_seconds)
            if due > now or not is_idle():
                await asyncio.sleep(max(due - now, self._quiet_seconds))
                continue
            del self._noted[key]
            if not self._noted:
                self._some.clear()
            return key
