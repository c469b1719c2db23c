"""What the index says is kept: a row for each object, live or removed, and which keys rows name."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import asyncpg

from app.index.engine import Index, fetch_at
from app.index.quarantine import quarantined_key, stored_key

PAGE = 500

_COLUMNS = "object_key, base_offset, {0}.size, sha256, derived_version, {0}.tenant_id"
_WHERE = """
WHERE {0}.id > $1 AND ($2::timestamptz IS NULL OR stored_at >= $2)
    AND ($3::text IS NULL OR {1} = $3)
ORDER BY {0}.id LIMIT $4
"""


def _select(table: str, study: str, parents: str = "") -> str:
    return f"""
SELECT {table}.id, {study} AS study, sop_instance_uid, {_COLUMNS.format(table)}
FROM {table} {parents} {_WHERE.format(table, study)}
"""  # noqa: S608 - our own text, as below


PARENTS = "JOIN series ON series.id = series_key JOIN study ON study.id = series.study_key"
KEPT = (
    _select("instance", "study_instance_uid", PARENTS),
    _select("removed_instance", "study_instance_uid"),
    _select("non_patient_instance", "''"),
    _select("removed_non_patient_instance", "''"),
)
TABLES = (
    "instance",
    "removed_instance",
    "non_patient_instance",
    "removed_non_patient_instance",
)
"""In the order of `KEPT`."""


def _by_uid(table: str, study: str, parents: str = "") -> str:
    return f"""
SELECT {study} AS study, sop_instance_uid, {_COLUMNS.format(table)} FROM {table} {parents}
WHERE {table}.tenant_id = $1 AND sop_instance_uid = ANY($2)
"""  # noqa: S608


BY_UID = (
    _by_uid("instance", "study_instance_uid", PARENTS),
    _by_uid("removed_instance", "study_instance_uid"),
    _by_uid("non_patient_instance", "''"),
    _by_uid("removed_non_patient_instance", "''"),
)
NAMED = """
SELECT object_key FROM instance WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
UNION ALL
SELECT object_key FROM removed_instance WHERE tenant_id = $1 AND study_instance_uid = ANY($3)
UNION ALL
SELECT object_key FROM non_patient_instance WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
UNION ALL
SELECT object_key FROM removed_non_patient_instance
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
UNION ALL
SELECT object_key FROM finding
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2) AND state = 'lost'
"""
"""What is left of a lost object may be all that there is of it (`findings`)."""


SEGMENTS = """
SELECT tenant_id, number, object_key FROM segment
WHERE (tenant_id, number) > ($1, $2) ORDER BY 1, 2 LIMIT $3
"""
SAMPLE = """
(SELECT object_key FROM instance WHERE NOT starts_with(object_key, 'quarantine/')
ORDER BY id LIMIT 3)
UNION ALL
(SELECT object_key FROM instance WHERE NOT starts_with(object_key, 'quarantine/')
ORDER BY id DESC LIMIT 3)
"""


@dataclass(frozen=True, slots=True)
class KeptObject:
    """`size` bytes from `base_offset` of an object, of this digest, and whose they are.

    `study` is '' for an Instance of no Patient.
    """

    study: str
    instance: str
    object_key: str
    base_offset: int
    size: int
    sha256: bytes
    derived_version: int
    tenant_id: int

    @property
    def key(self) -> str:
        """The key under which the bytes are, or were before they went to quarantine."""
        return stored_key(self.object_key)


class Fetching(Protocol):
    """What runs a SELECT: the index, or one connection of it."""

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return its rows."""
        ...


async def list_kept(
    index: Fetching, since: datetime | None = None, study: str | None = None
) -> AsyncIterator[KeptObject]:
    """Yield what is kept of all tenants, removed Instances after live ones, in order of storing.

    Raises:
        Unavailable: the index does not answer.
    """
    for statement in KEPT:
        last = 0
        while rows := await index.fetch(statement, last, since, study, PAGE):
            for row in rows:
                yield KeptObject(*row[1:])
            last = rows[-1]["id"]


async def list_kept_of(
    index: Index, table_number: int, after: int, limit: int
) -> list[tuple[int, KeptObject]]:
    """Return some of what one of the `TABLES` names, after a row, with the rows' own numbers.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(KEPT[table_number], after, None, None, limit)
    return [(row["id"], KeptObject(*row[1:])) for row in rows]


async def find_kept(
    index: Index, tenant_id: int, sop_instance_uid: str, key: str
) -> KeptObject | None:
    """Return what is kept under a key, also if that is in quarantine; None if no row names it.

    Raises:
        Unavailable: the index does not answer.
    """
    keys = [key, quarantined_key(key)]
    for statement in BY_UID:
        by_key = f"{statement} AND object_key = ANY($3)"
        for row in await index.fetch(by_key, tenant_id, [sop_instance_uid], keys):
            return KeptObject(*row)
    return None


async def find_kept_of(index: Index, tenant_id: int, uids: Iterable[str]) -> list[KeptObject]:
    """Return all that is kept of some Instances, live ones first.

    Raises:
        Unavailable: the index does not answer.
    """
    wanted = list(uids)
    rows = [await index.fetch(statement, tenant_id, wanted) for statement in BY_UID]
    return [KeptObject(*row) for table in rows for row in table]


async def list_segment_keys(index: Fetching) -> AsyncIterator[str]:
    """Yield the keys of all segments of the sealed log, of all tenants.

    Raises:
        Unavailable: the index does not answer.
    """
    last = (0, 0)
    while rows := await index.fetch(SEGMENTS, *last, PAGE):
        for row in rows:
            yield row["object_key"]
        last = (rows[-1]["tenant_id"], rows[-1]["number"])


async def find_named(
    index: Index, tenant_id: int, keys: Iterable[str], studies: Iterable[str], uids: Iterable[str]
) -> set[str]:
    """Return those of the keys that a row names, or which are known to be lost.

    They are of these Studies and Instances.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(NAMED, tenant_id, list(uids), sorted(set(studies)))
    return {stored_key(row["object_key"]) for row in rows} & set(keys)


def sample_keys(url: str) -> list[str]:
    """Return keys of some objects, the oldest and the newest, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """

    return [row["object_key"] for row in fetch_at(url, SAMPLE)]
