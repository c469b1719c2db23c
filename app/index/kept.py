"""What the index says is kept: a row for each object, live or removed, and which keys rows name."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime

from app.dicom.uids import InstanceRef
from app.index.engine import Index

PAGE = 500

_COLUMNS = "object_key, base_offset, {0}.size, sha256, derived_version"
_WHERE = """
WHERE {0}.id > $1 AND ($2::timestamptz IS NULL OR stored_at >= $2)
    AND ($3::text IS NULL OR study_instance_uid = $3)
ORDER BY {0}.id LIMIT $4
"""
LIVE = f"""
SELECT instance.id, study_instance_uid, series_instance_uid, sop_instance_uid,
    {_COLUMNS.format("instance")}
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = series.study_key
{_WHERE.format("instance")}
"""  # noqa: S608 - our own text, as below
REMOVED = f"""
SELECT id, study_instance_uid, series_instance_uid, sop_instance_uid,
    {_COLUMNS.format("removed_instance")}
FROM removed_instance {_WHERE.format("removed_instance")}
"""  # noqa: S608
NAMED = """
SELECT object_key FROM instance WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
UNION ALL
SELECT object_key FROM removed_instance WHERE tenant_id = $1 AND study_instance_uid = ANY($3)
"""


@dataclass(frozen=True, slots=True)
class KeptObject:
    """`size` bytes from `base_offset` of an object, of this digest, and whose they are."""

    ref: InstanceRef
    object_key: str
    base_offset: int
    size: int
    sha256: bytes
    derived_version: int


async def list_kept(
    index: Index, since: datetime | None = None, study: str | None = None
) -> AsyncIterator[KeptObject]:
    """Yield what is kept of all tenants, removed Instances after live ones, in order of storing.

    Raises:
        Unavailable: the index does not answer.
    """
    for statement in (LIVE, REMOVED):
        last = 0
        while rows := await index.fetch(statement, last, since, study, PAGE):
            for _, *uids, key, offset, size, sha256, version in rows:
                yield KeptObject(InstanceRef(*uids), key, offset, size, sha256, version)
            last = rows[-1]["id"]


async def find_named(
    index: Index, tenant_id: int, keys: Iterable[str], studies: Iterable[str], uids: Iterable[str]
) -> set[str]:
    """Return those of the keys that a row names; they are of these Studies and Instances.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(NAMED, tenant_id, list(uids), sorted(set(studies)))
    return {row["object_key"] for row in rows} & set(keys)
