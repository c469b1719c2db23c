"""When backups and drills were made, and how they went."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Boolean, Column, DateTime, Table
from sqlalchemy.dialects.postgresql import JSONB

from app.index import columns
from app.index.engine import Index, connect, fetch_at
from app.index.faults import index_errors
from app.index.tables import metadata

BACKUP, DRILL = "backup", "drill"
FLEETING = ["web_session", "ticket", "emergency_override"]
"""Tables whose rows are no part of a backup: what was ended after it would be in force again."""
UNCOUNTED = ["backup_run", "job", "job_log", *FLEETING]
"""Tables that are not part of what a backup is compared by. Hashes of jobs hold numbers of their
states that are given anew in each database."""

backup_run = Table(
    "backup_run",
    metadata,
    columns.key(),
    columns.named("kind"),
    Column("at", DateTime(timezone=True), nullable=False),
    columns.named("place"),
    Column("good", Boolean, nullable=False),
    Column("detail", JSONB, nullable=False),
)

_ADD = """
INSERT INTO backup_run (kind, at, place, good, detail) VALUES ($1, $2, $3, $4, $5::text::jsonb)
"""
_FOUND = f"""
WITH last AS (
    SELECT id, at FROM backup_run WHERE kind = '{BACKUP}' AND place = $1 ORDER BY id DESC LIMIT 1
)
SELECT DISTINCT jsonb_array_elements_text(run.detail->'damaged') AS key
FROM backup_run run LEFT JOIN last ON true
WHERE run.place = $1 AND (last.id IS NULL OR run.id >= last.id OR run.at >= last.at)
"""  # noqa: S608 - our own word
_DAMAGED = """
SELECT place, jsonb_array_length(detail->'damaged') AS count FROM (
    SELECT DISTINCT ON (place) place, at, detail FROM backup_run ORDER BY place, id DESC) last
WHERE at > now() - interval '40 days' AND jsonb_array_length(detail->'damaged') > 0
ORDER BY place
"""
_LAST = "SELECT kind, max(at) AS at FROM backup_run WHERE good GROUP BY kind"


@dataclass(frozen=True, slots=True)
class LastRuns:
    """The moments that the last good backup and the last good drill show; None if there is none."""

    backup: datetime | None = None
    drill: datetime | None = None


async def add_run(
    url: str, kind: str, at: datetime, place: str, detail: Mapping[str, Any], *, good: bool
) -> None:
    """Note a run; `at` is the moment that its data are of.

    Raises:
        Unavailable: the database does not answer.
    """
    said = orjson.dumps(detail).decode()
    with index_errors(connecting=True):
        connection = await connect(url)
        try:
            await connection.execute(_ADD, kind, at, place, good, said)
        finally:
            await connection.close()


async def found_damaged(index: Index, place: str) -> frozenset[str]:
    """Return the keys that drills found damaged in a place, and no backup has put there since.

    Raises:
        Unavailable: the index does not answer.
    """
    return frozenset(row["key"] for row in await index.fetch(_FOUND, place))


async def last_runs(index: Index) -> LastRuns:
    """Return when the last good ones were made.

    Raises:
        Unavailable: the index does not answer.
    """
    return _last(await index.fetch(_LAST))


def _last(rows: Iterable[Any]) -> LastRuns:
    return LastRuns(**{row["kind"]: row["at"] for row in rows})


def damaged_places(url: str) -> dict[str, int]:
    """Return by place how many objects its last run found damaged there, where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """
    return {row["place"]: row["count"] for row in fetch_at(url, _DAMAGED)}


def last_runs_at(url: str) -> LastRuns:
    """Return the same where no event loop runs."""

    return _last(fetch_at(url, _LAST))
