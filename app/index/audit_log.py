"""The log as an auditor asks for it: by Study, principal, action and time, reads and writes.

Answers are in the order of the log. What is asked for by Study is found by indexes; all else is
looked through, `STEP` events at a time, so that no request takes long: an answer may be short, and
there may be more all the same.

The events that accepted a Study are found by the times of its Instances: not when it was purged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.index.engine import Index
from app.index.events import Event, Position, make_event

STEP = 5_000
STEPS = 20
"""Of one answer, at most."""
SLACK = timedelta(minutes=5)
"""How much the order of the log can differ from that of times: longer than any transaction."""

_COLUMNS = "xid::text, id, at, kind, actor, payload"
_AFTER = """
tenant_id = $1 AND (event.xid, event.id) > ($2::text::xid8, $3::bigint) AND xid < event_horizon()
"""
_WANTED = """
($4::text = '' OR actor = $4) AND ($5::text[] = '{}' OR kind = ANY($5))
    AND ($6::timestamptz IS NULL OR at >= $6) AND ($7::timestamptz IS NULL OR at < $7)
"""
_IN_ORDER = "ORDER BY event.xid, event.id LIMIT $8"
_BEGIN = """
WITH first AS (SELECT at FROM event WHERE at >= $1 ORDER BY at LIMIT 1),
    soon AS MATERIALIZED (
        SELECT xid, id FROM event
        WHERE at >= (SELECT at FROM first) AND at < (SELECT at FROM first) + $2::interval
    )
SELECT xid::text, id FROM soon ORDER BY soon.xid, soon.id LIMIT 1
"""
_STEP = f"""
SELECT xid::text, id, at FROM (
    SELECT xid, id, at FROM event WHERE {_AFTER} ORDER BY event.xid, event.id LIMIT {STEP}
) AS step ORDER BY step.xid DESC, step.id DESC LIMIT 1
"""  # noqa: S608 - our own text, as below
_READ = f"""
SELECT {_COLUMNS} FROM event
WHERE {_AFTER} AND {_WANTED} AND (event.xid, event.id) <= ($9::text::xid8, $10::bigint)
{_IN_ORDER}
"""  # noqa: S608
_OF_STUDY = f"""
SELECT * FROM (
    (SELECT {_COLUMNS} FROM event
    WHERE {_AFTER} AND {_WANTED} AND kind <> 'accepted' AND payload->>'study' = $9
    {_IN_ORDER})
    UNION ALL
    (SELECT {_COLUMNS} FROM event
    WHERE {_AFTER} AND {_WANTED} AND kind = 'accepted' AND payload->>'study' = $9
        AND at = ANY(ARRAY(
            SELECT stored_at FROM instance JOIN study ON study.id = instance.study_key
            WHERE study.tenant_id = $1 AND study_instance_uid = $9
            UNION
            SELECT stored_at FROM removed_instance
            WHERE tenant_id = $1 AND study_instance_uid = $9))
    {_IN_ORDER})
) AS found ORDER BY found.xid::xid8, found.id LIMIT $8
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: what is '', empty or None is any. `since` counts in, `until` does not."""

    study: str = ""
    principal: str = ""
    kinds: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Events, the position to go on from, and whether there may be more by now."""

    events: Sequence[Event]
    following: Position
    more: bool


async def search_log(
    index: Index, tenant_id: int, wanted: Wanted, after: Position, limit: int
) -> Page:
    """Return the next events that are wanted, as far as the order is final.

    Raises:
        Unavailable: the index does not answer.
    """
    if wanted.study:
        rows = await index.search(_OF_STUDY, *_arguments(tenant_id, wanted, after, limit + 1))
        events = [make_event(row) for row in rows]
        page = events[:limit]
        return Page(page, page[-1].position if page else after, len(events) > limit)
    if wanted.since is not None:
        begin = await index.fetchrow(_BEGIN, wanted.since, SLACK)
        if begin is None:
            return Page((), after, more=False)
        after = max(after, Position(int(begin["xid"]), begin["id"] - 1))
    return await _look_through(index, tenant_id, wanted, after, limit)


async def _look_through(
    index: Index, tenant_id: int, wanted: Wanted, after: Position, limit: int
) -> Page:
    found: list[Event] = []
    for _ in range(STEPS):
        step = await index.fetchrow(_STEP, tenant_id, str(after.transaction), after.number)
        if step is None:
            return Page(found, after, more=False)
        end = Position(int(step["xid"]), step["id"])
        *rest, _ = _arguments(tenant_id, wanted, after, limit - len(found))
        rows = await index.search(_READ, *rest, str(end.transaction), end.number)
        found += [make_event(row) for row in rows]
        if len(found) == limit:
            return Page(found, found[-1].position, more=True)
        after = end
        if wanted.until is not None and step["at"] > wanted.until + SLACK:
            return Page(found, after, more=False)
    return Page(found, after, more=True)


def _arguments(tenant_id: int, wanted: Wanted, after: Position, limit: int) -> tuple[Any, ...]:
    return (
        tenant_id,
        str(after.transaction),
        after.number,
        wanted.principal,
        list(wanted.kinds),
        wanted.since,
        wanted.until,
        limit,
        wanted.study,
    )
