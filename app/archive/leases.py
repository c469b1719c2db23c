"""What may be remembered of the index, and for how long: one lease, which every process honours.

A viewer reads a Series frame by frame; asking the index for each costs more than the frame. So the
places of a Series' native frames, and the right to see them, are remembered for `LEASE_SECONDS`.
They never change, but an Instance may be removed and a right withdrawn. Whoever does that commits,
waits for `LEASE_SECONDS`, and only then answers: by that time no process remembers the old state.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from app.dicom.uids import InstanceRef, SeriesRef
from app.index.engine import Index
from app.index.frames import FramePlaces, NativeFrames, list_native_frames, locate_frames
from app.rights import Scope

LEASE_SECONDS = 1.0
MOST_SERIES = 64
MOST_INSTANCES = 2_000
"""Of one Series; the others are asked for one by one."""


@dataclass(slots=True)
class _Lease:
    """What is known of one Series for one Scope, from the moment it was first asked about."""

    expires: float
    asked: bool = False
    filling: "asyncio.Task[dict[str, NativeFrames]] | None" = field(default=None)


class FrameLeases:
    """The leases of one process."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._series: dict[tuple[Scope, str, str], _Lease] = {}

    async def locate(self, scope: Scope, ref: InstanceRef, numbers: Sequence[int]) -> FramePlaces:
        """Return where frames lie, as `locate_frames` does, from a lease if there is one.

        The first request for a Series is answered by itself; the second within a lease fetches
        the whole Series. An Instance that is not in a lease may be new: it is asked for.

        Raises:
            NotFound: there is no such Instance or frame, or none that the scope covers.
            Unavailable: the index does not answer.
        """
        lease = self._lease((scope, ref.study, ref.series))
        if not lease.asked:
            lease.asked = True
        else:
            native = (await self._fill(lease, scope, ref)).get(ref.instance)
            if native is not None:
                return native.places(numbers)
        return await locate_frames(self._index, scope, ref, numbers)

    def _lease(self, key: tuple[Scope, str, str]) -> _Lease:
        now = monotonic()
        lease = self._series.get(key)
        if lease is None or lease.expires <= now:
            if len(self._series) >= MOST_SERIES:
                self._forget(now)
            lease = self._series[key] = _Lease(now + LEASE_SECONDS)
        return lease

    def _forget(self, now: float) -> None:
        living = {key: lease for key, lease in self._series.items() if lease.expires > now}
        self._series = living if len(living) < MOST_SERIES else {}

    async def _fill(self, lease: _Lease, scope: Scope, ref: InstanceRef) -> dict[str, NativeFrames]:
        """Return the frames of a Series, fetched once for all who wait for them."""
        filling = lease.filling
        if filling is None:
            series = SeriesRef(ref.study, ref.series)
            listing = list_native_frames(self._index, scope, series, MOST_INSTANCES)
            filling = lease.filling = asyncio.create_task(listing)
        if filling.done():
            return filling.result()
        return await asyncio.shield(filling)
