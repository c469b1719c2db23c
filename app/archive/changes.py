"""What has changed since: the log, in commit order, for those who keep something in step.

A position that was given out never gets anything new before it, so whoever goes on from the last
one misses nothing and sees nothing twice.
"""

import asyncio
import time

from app.archive.context import Archive
from app.errors import Forbidden
from app.index.events import Event, Position, read_events
from app.rights import Principal, Scope, Verb

MOST = 1000
"""Changes of one answer."""
LONGEST_WAIT = 20.0
"""Seconds that an answer waits for a change."""
_LOOK_SECONDS = 0.5


async def read_changes(
    archive: Archive, principal: Principal, after: Position, limit: int, wait: float
) -> tuple[list[Event], Position]:
    """Return the next changes that `principal` may see, and the position to go on from.

    Where there are none, wait up to `wait` seconds for one.

    Raises:
        Forbidden: `principal` may not search.
        Unavailable: the index does not answer.
    """
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")
    deadline = time.monotonic() + wait
    while True:
        read = await read_events(archive.index, principal.scope.tenant_id, after, limit)
        after = read[-1].position if read else after
        seen = [event for event in read if _is_visible(event, principal.scope)]
        if seen or time.monotonic() >= deadline:
            return seen, after
        if not read:
            await asyncio.sleep(_LOOK_SECONDS)


def _is_visible(event: Event, scope: Scope) -> bool:
    """Say whether an event is of a Study in the scope; others are for those who see all."""
    study = event.payload.get("study")
    return scope.studies is None if study is None else scope.covers(study)
