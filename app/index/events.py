"""The one log: facts are appended in the transaction they report and read in commit order.

Numbers are given when a row is inserted, not when it is committed, so a reader that remembers "the
last number" would miss rows of slower transactions. Instead each row has its transaction's id, and
a reader sees only rows of transactions older than every one still running (the snapshot's xmin):
what it has seen can never get anything new in between. The order is (transaction, number).

An index that has moved to another cluster of PostgreSQL, whose transaction ids begin anew, adds an
offset to them (`log_offset`): what comes then still comes after all that was there.

A transaction may be older than another one and change a Study after it. Whoever adds to a Study or
removes from it holds its row when the number is given: of two events about what is in one Study,
the one with the greater number is the later, in whatever order they are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import insert

from app.index.engine import Index, Session
from app.index.pool import Connection
from app.index.tables import event

LOG = """
INSERT INTO event (tenant_id, kind, actor, payload) VALUES ($1, $2, $3, $4::text::jsonb)
RETURNING id
"""
READ = """
SELECT xid::text, id, at, kind, actor, payload FROM event
WHERE tenant_id = $1 AND (xid, id) > ($2::text::xid8, $3::bigint)
    AND xid < event_horizon()
ORDER BY event.xid, event.id LIMIT $4
"""
"""`xid` alone would be the text that is selected, by which 1000 comes before 999."""
NEWEST_FINAL = """
SELECT xid::text, id FROM event WHERE event.xid < event_horizon()
ORDER BY event.xid DESC, event.id DESC LIMIT 1
"""


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in the log; every place before the first is `Position()`."""

    transaction: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.transaction}.{self.number}"


@dataclass(frozen=True, slots=True)
class Event:
    """A fact: what happened, when, by whom. The payload has UIDs and digests, no patient data."""

    position: Position
    at: datetime
    kind: str
    actor: str
    payload: Mapping[str, Any]


async def append_event(
    session: Session, tenant_id: int, actor: str, kind: str, payload: Mapping[str, Any]
) -> int:
    """Log a fact in the Session's transaction; return its number.

    Raises:
        Unavailable: the index does not answer.
    """
    values = {"tenant_id": tenant_id, "kind": kind, "actor": actor, "payload": payload}
    result = await session.execute(insert(event).values(values).returning(event.c.id))
    number: int = result.scalar_one()
    return number


async def log_event(
    connection: Connection, tenant_id: int, kind: str, actor: str, payload: Mapping[str, Any]
) -> int:
    """Log a fact in the transaction of a connection of asyncpg's; return its number."""
    said = orjson.dumps(payload).decode()
    number: int = await connection.fetchval(LOG, tenant_id, kind, actor, said)
    return number


async def read_events(
    index: Index, tenant_id: int, after: Position, limit: int = 1000
) -> list[Event]:
    """Return the events after a position, in commit order, as far as the order is final.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(READ, tenant_id, str(after.transaction), after.number, limit)
    return [make_event(row) for row in rows]


async def newest_final(index: Index) -> Position:
    """Return the newest position of any tenant whose order is final.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(NEWEST_FINAL)
    return Position(int(row["xid"]), row["id"]) if row else Position()


def make_event(row: Any) -> Event:
    """Return the event in a row of `READ`."""
    position = Position(int(row["xid"]), row["id"])
    payload = orjson.loads(row["payload"])
    return Event(position, row["at"], row["kind"], row["actor"], payload)
