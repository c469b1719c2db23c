"""The one log: facts are appended in the transaction they report and read in commit order.

Numbers are given when a row is inserted, not when it is committed, so a reader that remembers "the
last number" would miss rows of slower transactions. Instead each row has its transaction's id, and
a reader sees only rows of transactions older than every one still running (the snapshot's xmin):
what it has seen can never get anything new in between. The order is (transaction, number).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import insert

from app.index.engine import Index, Session
from app.index.tables import event

READ = """
SELECT xid::text, id, at, kind, actor, payload FROM event
WHERE tenant_id = $1 AND (xid, id) > ($2::text::xid8, $3::bigint)
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY event.xid, event.id LIMIT $4
"""


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in the log; every place before the first is `Position()`."""

    transaction: int = 0
    number: int = 0


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


async def read_events(
    index: Index, tenant_id: int, after: Position, limit: int = 1000
) -> list[Event]:
    """Return the events after a position, in commit order, as far as the order is final.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(READ, tenant_id, str(after.transaction), after.number, limit)
    return [
        Event(
            Position(int(row["xid"]), row["id"]),
            row["at"],
            row["kind"],
            row["actor"],
            orjson.loads(row["payload"]),
        )
        for row in rows
    ]
