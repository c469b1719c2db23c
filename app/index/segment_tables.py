"""The tables of what is sealed: a row for each segment of the log, and for each key.

A segment itself is an object; its row says which events are in it, so that an event is found.
Positions are (transaction, number), as in `events`. `next_key` is the number of the key that seals
the segment after it. Private keys are never here.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    Table,
)

from app.index import columns
from app.index.tables import event, metadata


def _position(name: str) -> list[Column[int]]:
    return [
        Column(f"{name}_transaction", BigInteger, nullable=False),
        Column(f"{name}_number", BigInteger, nullable=False),
    ]


def _numbered() -> list[Column[Any]]:
    return [
        columns.tenant(key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
    ]


segment = Table(
    "segment",
    metadata,
    *_numbered(),
    *_position("first"),
    *_position("last"),
    Column("entries", Integer, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed_at", DateTime(timezone=True), nullable=False),
    Column("next_key", Integer, nullable=False),
    columns.named("object_key"),
)

seal_key = Table(
    "seal_key",
    metadata,
    *_numbered(),
    Column("public_key", LargeBinary, nullable=False),
    columns.now("made_at"),
)

Index(
    "segment_last",
    segment.c.tenant_id,
    segment.c.last_transaction,
    segment.c.last_number,
    unique=True,
)
Index("segment_sealed", segment.c.tenant_id, segment.c.sealed_at)
# an Instance and the event that accepted it have one time, that of their transaction; no tenant
# before it, or readers of the log in its order might take this index and sort
Index("event_at", event.c.at)
