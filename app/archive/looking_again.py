"""What was found damaged or missing in a store is looked at again: is it still?"""

from collections.abc import Awaitable, Callable

from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.repair import LOST, find_by_key
from app.archive.stores import stores_of
from app.index.findings import FoundFault, end_fault, list_faults
from app.index.quarantine import is_quarantined
from app.objects.base import LOG

_Before = Callable[[int], Awaitable[None]]


async def look_again(archive: Archive, before: _Before | None = None) -> None:
    """Forget of objects that were lost in a store what is over: they are whole there, or gone.

    Nothing is repaired. Segments are looked at when the log is read.

    Raises:
        Unavailable: the index or a store does not answer.
    """
    for state in LOST:
        after = 0
        while page := await list_faults(archive.index, after=after, state=state):
            for found in page:
                after = found.id
                if not found.object_key.startswith(LOG) and await _is_over(archive, found, before):
                    await end_fault(archive.index, found.store, found.object_key)


async def _is_over(archive: Archive, found: FoundFault, before: _Before | None) -> bool:
    kept = await find_by_key(archive, found.object_key)
    store = stores_of(archive.objects).get(found.store)
    if kept is None or is_quarantined(kept.object_key) or store is None:
        return True
    return (await examine(store, kept, before))[0] is State.WHOLE
