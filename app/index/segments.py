"""Which events are sealed, and in which segment of the log: a row for each segment.

A segment goes to the object store first and gets its row after that, both while its sealer holds
the tenant's lock: that of a transaction, so that it is given back however the sealer ends. The lock
saves work and is not what keeps the log straight: a segment's number exists once here and once in
the store. The transaction writes nothing before the row at its end, so that the horizon of
`events`, which it waits behind as all readers do, never waits for it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from app.errors import Unavailable
from app.index.engine import Index, fetch_at
from app.index.events import READ, Event, Position, make_event
from app.index.pool import Connection
from app.index.reads import UNHURRIED

PAGE = 500
LOCK = 0x5345414C
"""The first half of the advisory lock's key, SEAL in ASCII; the tenant is the other."""

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1, $2)"
AWAIT_LOCK = "SELECT pg_advisory_xact_lock_shared($1, $2)"
CLOCK = "SELECT clock_timestamp()"

_COLUMNS = """
number, first_transaction, first_number, last_transaction, last_number, entries, root, hash,
sealed_at, next_key, object_key
"""
_SELECT = f"SELECT {_COLUMNS} FROM segment WHERE tenant_id = $1"  # noqa: S608 - our own names
LAST = f"{_SELECT} ORDER BY number DESC LIMIT 1"
FIND = f"""{_SELECT} AND (last_transaction, last_number) >= ($2, $3)
    AND (first_transaction, first_number) <= ($2, $3)
ORDER BY last_transaction, last_number LIMIT 1
"""
AT = f"{_SELECT} AND number = $2"
LIST = f"{_SELECT} AND number > $2 ORDER BY number LIMIT {PAGE}"
LIST_BETWEEN = f"""{_SELECT} AND sealed_at >= $3 AND sealed_at < $4 AND number > $2
ORDER BY number LIMIT {PAGE}
"""
COUNT = """
SELECT min(number) AS first, sum(entries)::bigint AS entries
FROM segment WHERE tenant_id = $1 AND sealed_at >= $2 AND number <= $3
"""
LAST_BEFORE = f"{_SELECT} AND sealed_at < $2 ORDER BY sealed_at DESC, number DESC LIMIT 1"
ADD = f"""
INSERT INTO segment (tenant_id, {_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""  # noqa: S608
QUEUE_COPIES = """
INSERT INTO copy_task (kind, store, object_key)
SELECT 'copy', store, $1
FROM unnest(string_to_array(nullif(current_setting('fileroom.copies', true), ''), ',')) AS store
ON CONFLICT DO NOTHING
"""
"""As the triggers of objects do it."""

_SEALED = """
LEFT JOIN LATERAL (
    SELECT last_transaction, last_number FROM segment WHERE segment.tenant_id = tenant.id
    ORDER BY number DESC LIMIT 1
) AS sealed ON true
"""
_UNSEALED = """
event.tenant_id = tenant.id
AND (xid, event.id) > (coalesce(last_transaction, 0)::text::xid8, coalesce(last_number, 0))
"""
WAITING = f"""
SELECT tenant.id FROM tenant {_SEALED}
CROSS JOIN LATERAL (
    SELECT FROM event WHERE {_UNSEALED} AND xid < event_horizon() AND {UNHURRIED}
    ORDER BY event.xid, event.id LIMIT 1
) AS oldest
ORDER BY 1
"""  # noqa: S608
"""Not EXISTS: that would be a join, which reads the whole log once a second."""
LAG = f"""
SELECT extract(epoch FROM clock_timestamp() - oldest.at)::float8 AS seconds
FROM tenant {_SEALED}
CROSS JOIN LATERAL (
    SELECT at FROM event WHERE {_UNSEALED} AND {UNHURRIED}
    ORDER BY event.xid, event.id LIMIT 1
) AS oldest
ORDER BY 1 DESC LIMIT 1
"""  # noqa: S608
NEWEST = """
SELECT xid::text, id FROM event WHERE tenant_id = $1
ORDER BY event.xid DESC, event.id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment: its events from `first` to `last`, and the hashes of its leaves and its head.

    `next_key` is the number of the key that seals the segment after it.
    """

    number: int
    first: Position
    last: Position
    entries: int
    root: bytes
    hash: bytes
    sealed_at: datetime
    next_key: int
    object_key: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to seal the next segment of a tenant; `last` is the one before it."""

    connection: Connection
    tenant_id: int
    last: SegmentRow | None

    @property
    def next_key(self) -> int:
        """The number of the key that seals the next segment."""
        return self.last.next_key if self.last else 1

    async def read(self, limit: int) -> list[Event]:
        """Return the events that come next, as far as their order is final."""
        after = self.last.last if self.last else Position()
        arguments = (self.tenant_id, str(after.transaction), after.number, limit)
        return [make_event(row) for row in await self.connection.fetch(READ, *arguments)]

    async def now(self) -> datetime:
        """Return the time by the database's clock, which all sealers share."""
        return await read_clock(self.connection)

    async def add(self, segment: SegmentRow) -> None:
        """Write the row of a segment whose object is there, and queue it for `async` copies."""
        try:
            await self.connection.execute(ADD, self.tenant_id, *segment_values(segment))
        except asyncpg.UniqueViolationError:
            raise Unavailable("another sealer was faster") from None
        await self.connection.execute(QUEUE_COPIES, segment.object_key)


async def read_clock(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    now: datetime = await connection.fetchval(CLOCK)
    return now


@asynccontextmanager
async def take_turn(index: Index, tenant_id: int) -> AsyncIterator[Turn | None]:
    """Give the right to seal the next segment, None if somebody else seals.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.writing() as connection:
        if not await connection.fetchval(TRY_LOCK, LOCK, tenant_id):
            yield None
            return
        row = await connection.fetchrow(LAST, tenant_id)
        yield Turn(connection, tenant_id, _segment(row) if row else None)


async def time_between_seals(index: Index, tenant_id: int) -> datetime:
    """Return the time by the database's clock, of a moment at which nobody seals.

    Whatever is sealed after this call is of this time or a later one.

    Raises:
        Unavailable: the index does not answer, or someone seals for too long.
    """
    async with index.writing() as connection:
        await connection.execute(AWAIT_LOCK, LOCK, tenant_id)
        return await read_clock(connection)


async def tenants_waiting(index: Index) -> list[int]:
    """Return the tenants with events that can be sealed; reads alone wait for a minute.

    Raises:
        Unavailable: the index does not answer.
    """
    return [row["id"] for row in await index.fetch(WAITING)]


async def sealed_tenants(index: Index) -> list[int]:
    """Return the tenants whose log has segments.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch("SELECT DISTINCT tenant_id FROM segment ORDER BY 1")
    return [row["tenant_id"] for row in rows]


async def seal_lag(index: Index) -> float:
    """Return the age in seconds of the oldest event that should be sealed and is not, 0 if all are.

    Raises:
        Unavailable: the index does not answer.
    """
    return _oldest(await index.fetch(LAG))


def _oldest(rows: Sequence[Any]) -> float:
    return max(float(rows[0]["seconds"]), 0.0) if rows else 0.0


def seal_lag_of(url: str) -> float:
    """Return what `seal_lag` returns, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """

    return _oldest(fetch_at(url, LAG))


async def newest_position(index: Index, tenant_id: int) -> Position:
    """Return the position of the newest event that is committed, be its order final or not.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(NEWEST, tenant_id)
    return Position(int(row["xid"]), row["id"]) if row else Position()


async def last_segment(index: Index, tenant_id: int) -> SegmentRow | None:
    """Return the segment that was sealed last.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LAST, tenant_id)
    return _segment(row) if row else None


async def segment_at(index: Index, tenant_id: int, number: int) -> SegmentRow | None:
    """Return the segment of a number, None if there is none.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(AT, tenant_id, number)
    return _segment(row) if row else None


async def find_segment(index: Index, tenant_id: int, position: Position) -> SegmentRow | None:
    """Return the segment that an event is in, None if it is not sealed yet.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, tenant_id, position.transaction, position.number)
    return _segment(row) if row else None


async def last_segment_before(index: Index, tenant_id: int, end: datetime) -> SegmentRow | None:
    """Return the last segment that was sealed before a time.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LAST_BEFORE, tenant_id, end)
    return _segment(row) if row else None


async def list_segments(
    index: Index,
    tenant_id: int,
    between: tuple[datetime, datetime] | None = None,
    until: int | None = None,
) -> AsyncIterator[SegmentRow]:
    """Yield segments by number: all, or those sealed from one time to before another.

    None comes after the one of the number `until`.

    Raises:
        Unavailable: the index does not answer.
    """
    number = 0
    statement = LIST if between is None else LIST_BETWEEN
    while rows := await index.fetch(statement, tenant_id, number, *(between or ())):
        for row in rows:
            number = row["number"]
            if until is not None and number > until:
                return
            yield _segment(row)


def _segment(row: Any) -> SegmentRow:
    return SegmentRow(
        number=row["number"],
        first=Position(row["first_transaction"], row["first_number"]),
        last=Position(row["last_transaction"], row["last_number"]),
        entries=row["entries"],
        root=row["root"],
        hash=row["hash"],
        sealed_at=row["sealed_at"],
        next_key=row["next_key"],
        object_key=row["object_key"],
    )


def segment_values(segment: SegmentRow) -> tuple[object, ...]:
    """Return the values of `_COLUMNS`, in their order."""
    return (
        segment.number,
        segment.first.transaction,
        segment.first.number,
        segment.last.transaction,
        segment.last.number,
        segment.entries,
        segment.root,
        segment.hash,
        segment.sealed_at,
        segment.next_key,
        segment.object_key,
    )


async def count_sealed(
    index: Index, tenant_id: int, since: datetime, until: int
) -> tuple[int, int] | None:
    """Return the first segment sealed since a time, and the events from it to segment `until`.

    None if there is none of them.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(COUNT, tenant_id, since, until)
    return (row["first"], row["entries"]) if row and row["first"] is not None else None
