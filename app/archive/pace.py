"""A rate that all readers share."""

import asyncio
import time


class Pace:
    """Holds readers back to so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` bytes more are within the rate."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size / self._rate
        if self._free_at > now + 0.01:
            await asyncio.sleep(self._free_at - now)
