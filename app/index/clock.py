"""Time as the archive has seen it pass: by it, not by the clock, is counted what may be destroyed.

A clock may jump: a battery that died, a virtual machine that was set back, a slip of the hand. Then
the window of all that is deleted would be over at once. So the row `clock` of `upkeep` keeps the
time that was seen to pass (`done_at`) beside what the clock said at the last look (`held_until`).
It is never ahead of the clock; behind it, it catches up at twice the pace of time, and a look adds
no more than what has passed by a clock that cannot be set.

When the clock goes back, what the index holds from the future (leases, next tries, when work or a
backup was done last) is brought to the present, so that nothing waits for the time that was.
"""

from dataclasses import dataclass
from datetime import datetime

from app.index.engine import Index, fetch_at
from app.index.pool import Connection

SEEN = """coalesce(
    (SELECT least(now(), clock.done_at) FROM upkeep clock WHERE clock.name = 'clock'), now())"""
"""The time that was seen to pass, in SQL; what the clock says where nobody has looked yet."""
PACE = 2.0
LONG_AHEAD = 86_400.0
"""Seconds from which an operator is told."""
SLACK = 60.0
"""Seconds by which clocks of several machines may differ."""

_BEGIN = """
INSERT INTO upkeep (name, holder, held_until, done_at)
SELECT 'clock', '', now(), least(now(), coalesce(
    (SELECT at FROM event ORDER BY event.xid DESC, event.id DESC LIMIT 1), now()))
ON CONFLICT DO NOTHING
"""
_SINCE = """
SELECT extract(epoch FROM now() - held_until)::float8 FROM upkeep WHERE name = 'clock' FOR UPDATE
"""
_ADVANCE = """
UPDATE upkeep SET held_until = now(),
    done_at = least(now(), done_at + make_interval(secs => $1))
WHERE name = 'clock' RETURNING extract(epoch FROM now() - done_at)::float8
"""
_FROM_THE_FUTURE = (
    """
    UPDATE upkeep SET held_until = least(held_until, now() + interval '2 minutes'),
        done_at = least(done_at, now()) WHERE name <> 'clock'
    """,
    "UPDATE copy_task SET next_try = now() WHERE next_try > now() + interval '1 hour'",
    """
    UPDATE job SET heartbeat = least(heartbeat, now()),
        execute_after = least(execute_after, now() + interval '1 day')
    WHERE greatest(heartbeat, execute_after) > now()
    """,
    """
    UPDATE commitment SET held_until = least(held_until, now() + interval '10 minutes')
    WHERE finished_at IS NULL
    """,
    "UPDATE running_store SET told_at = now() WHERE told_at > now()",
    "UPDATE backup_run SET at = now() WHERE at > now()",
    """
    UPDATE scrubbed_store SET leased_until = least(leased_until, now() + interval '10 minutes'),
        began_at = least(began_at, now()), finished_at = least(finished_at, now()),
        verified_from = least(verified_from, now())
    """,
)
_AHEAD = f"SELECT extract(epoch FROM now() - {SEEN})::float8 AS ahead"  # noqa: S608 - our own text
NOW = f"SELECT {SEEN} AS seen"


@dataclass(frozen=True, slots=True)
class Look:
    """Seconds: how far the clock is ahead of the time seen, and how far it went back since."""

    ahead: float
    back: float = 0.0


async def see_time_pass(index: Index, passed: float) -> Look:
    """Let the time that was seen go on; `passed` are seconds since this process looked last.

    Raises:
        Unavailable: the index does not answer.
    """

    async def look(connection: Connection) -> Look:
        await connection.execute(_BEGIN)
        since: float = await connection.fetchval(_SINCE)
        back = -since if since < -SLACK else 0.0
        if back:
            for statement in _FROM_THE_FUTURE:
                await connection.execute(statement)
        gained = PACE * min(max(since, 0.0), passed)
        return Look(await connection.fetchval(_ADVANCE, gained), back)

    return await index.retrying(look)


async def seen_now(index: Index) -> datetime:
    """Return the time that was seen to pass.

    Raises:
        Unavailable: the index does not answer.
    """
    (row,) = await index.fetch(NOW)
    seen: datetime = row["seen"]
    return seen


async def seconds_ahead(index: Index) -> float:
    """Return how many seconds the clock is ahead of the time that was seen to pass.

    Raises:
        Unavailable: the index does not answer.
    """
    (row,) = await index.fetch(_AHEAD)
    return float(row["ahead"])


def seconds_ahead_at(url: str) -> float:
    """Return the same where no event loop runs."""
    (row,) = fetch_at(url, _AHEAD)
    return float(row["ahead"])
