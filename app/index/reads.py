"""Reads as facts of the one log: who searched, saw and took what, and who was not let.

They are events like those of writes, in the same order and sealed by the same chain; so they are in
backups and manifests, and a rebuild has them again. They are for auditors alone: the change feed
and webhooks leave them out. Nobody waits for their seal, so an archive that is only read is sealed
once a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.index.engine import Index

SEARCHED, VIEWED, DOWNLOADED, EXPORTED = "searched", "viewed", "downloaded", "exported"
DENIED = "denied"
"""Who asked is known, and may not do this, or sees nothing there."""
UNAUTHENTICATED = "unauthenticated"
"""Somebody came without a key, or with a wrong one."""
LOGGED_IN, LOGGED_OUT = "logged-in", "logged-out"
"""In a browser; other callers show who they are with each request."""
AUDIT_USED = "audit-used"
STARTED, STOPPED = "started", "stopped"
"""A process of the archive, where an audit repository is told of it."""
READS = (
    *(SEARCHED, VIEWED, DOWNLOADED, EXPORTED, DENIED, UNAUTHENTICATED),
    *(LOGGED_IN, LOGGED_OUT, AUDIT_USED, STARTED, STOPPED),
)
IS_READ = f"kind IN ({', '.join(repr(kind) for kind in READS)})"
"""In SQL."""
UNHURRIED = f"""
NOT ({IS_READ} AND at BETWEEN clock_timestamp() - interval '60 s' AND clock_timestamp())
"""
"""In SQL: that an event is worth a segment by now, whatever the clock did."""

_APPEND = """
INSERT INTO event (tenant_id, kind, actor, payload)
SELECT tenant, kind, actor, payload::jsonb
FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[])
    AS read (tenant, kind, actor, payload)
RETURNING at
"""


@dataclass(frozen=True, slots=True)
class Read:
    """A read to be logged; the payload has UIDs and where it came from, no patient data."""

    tenant_id: int
    kind: str
    actor: str
    payload: Mapping[str, Any]


async def append_reads(index: Index, reads: Sequence[Read]) -> datetime:
    """Log some reads, one or more, in one statement; return their time by the database's clock.

    Raises:
        Unavailable: the index does not answer; nobody knows whether they are logged.
    """
    columns: list[list[object]] = [
        [one.tenant_id for one in reads],
        [one.kind for one in reads],
        [one.actor for one in reads],
        [orjson.dumps(one.payload).decode() for one in reads],
    ]
    rows = await index.fetch(_APPEND, *columns)
    at: datetime = rows[0]["at"]
    return at
