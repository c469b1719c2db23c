"""What an object of one store is worth: its bytes are read again, and compared with its digest."""

from collections.abc import Awaitable, Callable
from enum import StrEnum

from app.archive.digests import read_digest
from app.errors import NotFound, Unavailable
from app.index.kept import KeptObject
from app.objects.base import ObjectStore


class State(StrEnum):
    """What was found out about an object."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    """Its bytes are not those that were stored."""
    MISSING = "missing"
    """A row names it, and the store does not have it."""
    QUARANTINED = "quarantined"
    """No store has it whole: it is not given out."""
    LOST = "lost"
    """No store had it whole when the index was made anew: no row names it."""
    REPAIRED = "repaired"
    """It was lost in a store, and is there again."""
    WAITING = "waiting"
    """It is to be copied to this store."""
    UNNAMED = "unnamed"
    """The store has it, and no row names it."""
    OUTDATED = "outdated"
    """Whole, but described in the index as an older version did it."""
    SEALED = "sealed"
    """A segment of the log, as it was signed (`sealed_log`)."""


async def examine(
    store: ObjectStore, kept: KeptObject, before: Callable[[int], Awaitable[None]] | None = None
) -> tuple[State, str]:
    """Return whether a store has an object whole, damaged or not at all, and what is wrong with it.

    Raises:
        Unavailable: the store does not answer.
    """
    try:
        digest = await read_digest(store, kept.key, kept.base_offset, kept.size, before)
        size = await store.size(kept.key)
    except NotFound:
        return State.MISSING, "the store has no such object"
    except Unavailable as error:
        await store.check()  # a store that does not answer at all has damaged nothing
        return State.DAMAGED, f"it cannot be read as a whole: {error}"
    if digest != kept.sha256:
        return State.DAMAGED, f"its SHA-256 is {digest.hex()}, and was {kept.sha256.hex()}"
    if kept.base_offset == 0 and size != kept.size:
        return State.DAMAGED, f"it has {size} bytes, and had {kept.size}"
    return State.WHOLE, ""
