"""What has changed since: the log, in commit order, for those who keep something in step.

A position that was given out never gets anything new before it, so whoever goes on from the last
one misses nothing and sees nothing twice.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from time import monotonic

from app.archive.context import Archive
from app.errors import Forbidden, Superseded, Unavailable
from app.index.access import covered_studies
from app.index.events import Event, Position, read_events
from app.index.reads import READS
from app.index.segments import newest_position
from app.rights import Principal, Verb

MOST = 1000
"""Changes of one answer."""
LONGEST_WAIT = 60.0
"""Seconds that an answer waits for a change."""
QUIET_SECONDS = 15.0
"""After which those who follow are told that there is nothing."""
FOLLOWED_SECONDS = 3600.0
"""After which who follows has to come again, and is asked again who it is."""
_AT_ONCE = 100

Still = Callable[[], Awaitable[bool]]
"""Says whether a request that goes on for long is of the same caller, who has the same rights."""


async def read_changes(
    archive: Archive, principal: Principal, after: Position, limit: int, wait: float
) -> tuple[list[Event], Position]:
    """Return the next changes that `principal` may see, and the position to go on from.

    Where there are none, wait up to `wait` seconds for one.

    Raises:
        Forbidden: `principal` may not search.
        Superseded: this log has no such position yet, so it is of another one.
        Unavailable: the index does not answer, or too many wait already.
    """
    _check(principal)
    deadline = monotonic() + wait
    tenant_id, watch = principal.scope.tenant_id, archive.watch
    read = await _read_next(archive, tenant_id, after, limit)
    if not read:
        await _check_place(archive, tenant_id, after)
    seen, after = await _seen(archive, read, principal, after)
    if seen or not wait:
        return seen, after
    known = after
    with watch.place():
        while not seen and monotonic() < deadline and not watch.ended:
            if not read:
                known = await watch.beyond(max(known, after), deadline - monotonic())
            read = await watch.read(tenant_id, after, limit)
            seen, after = await _seen(archive, read, principal, after)
    return seen, after


async def _always() -> bool:
    return True


async def follow_changes(
    archive: Archive, principal: Principal, after: Position, still: Still = _always
) -> AsyncIterator[tuple[list[Event], Position]]:
    """Return an iterator over changes as they come, each time with the position to go on from.

    Where nothing has come for `QUIET_SECONDS` it yields no changes. It ends when the server stops,
    after `FOLLOWED_SECONDS`, when the index does not answer, or when there is something to be told
    and it is not `still` the same who asks, with the same rights.

    Raises:
        Forbidden: `principal` may not search.
        Superseded: this log has no such position yet, so it is of another one.
        Unavailable: the index does not answer, or too many wait already.
    """
    _check(principal)
    archive.watch.check()
    await _check_place(archive, principal.scope.tenant_id, after)
    return _followed(archive, principal, after, still)


async def _followed(
    archive: Archive, principal: Principal, after: Position, still: Still
) -> AsyncIterator[tuple[list[Event], Position]]:
    ends = monotonic() + FOLLOWED_SECONDS
    known, told = after, monotonic()
    watch = archive.watch
    with watch.place(), suppress(Unavailable):
        while monotonic() < ends and not watch.ended:
            read = await watch.read(principal.scope.tenant_id, after, _AT_ONCE)
            seen, after = await _seen(archive, read, principal, after)
            if seen or monotonic() >= told + QUIET_SECONDS:
                if not await still():
                    return
                yield seen, after
                told = monotonic()
            if not read:
                quiet = told + QUIET_SECONDS - monotonic()
                known = await watch.beyond(max(known, after), quiet)


async def _read_next(archive: Archive, tenant_id: int, after: Position, limit: int) -> list[Event]:
    """Return the next events; pages of nothing but reads are passed over, however many."""
    most = limit
    while True:
        read = await read_events(archive.index, tenant_id, after, most)
        told = next((place for place, event in enumerate(read) if event.kind not in READS), None)
        if told is not None:
            return read[told : told + limit]
        if len(read) < most:
            return read[-1:]
        after, most = read[-1].position, MOST


async def _seen(
    archive: Archive, read: list[Event], principal: Principal, after: Position
) -> tuple[list[Event], Position]:
    """Return what `principal` may see of the events that follow a position, and where they end.

    Events that are not of one Study are for those who may see all; who read what is for auditors
    alone (`audit`).
    """
    last = read[-1].position if read else after
    told = [event for event in read if event.kind not in READS]
    if principal.scope.is_whole:
        return told, last
    of = {event.payload["study"] for event in told if "study" in event.payload}
    covered = await covered_studies(archive.index, principal.scope, of)
    return [event for event in told if event.payload.get("study") in covered], last


def _check(principal: Principal) -> None:
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")


async def _check_place(archive: Archive, tenant_id: int, after: Position) -> None:
    """See that a position is not beyond the log; all that were given out are those of events."""
    if after != Position() and after > await newest_position(archive.index, tenant_id):
        raise Superseded(str(after))
