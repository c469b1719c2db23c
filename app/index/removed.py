"""What is deleted and can be brought back: by Study, and the Instances of no Patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.index.access import covered, visible_arguments
from app.index.engine import Index
from app.index.removal import DELETED
from app.rights import Scope

LIST = f"""
SELECT study_instance_uid AS study, count(*) AS instances, sum(size)::bigint AS bytes,
    min(removed_at) AS first_at, max(removed_at) AS last_at, EXISTS (
        SELECT FROM hold WHERE hold.tenant_id = $1
            AND hold.study_instance_uid = removed_instance.study_instance_uid) AS held
FROM removed_instance
WHERE tenant_id = $1 AND {covered("removed_instance.study_instance_uid")}
    AND study_instance_uid > $3 AND reason = '{DELETED}'
GROUP BY study_instance_uid ORDER BY study_instance_uid LIMIT $4
"""  # noqa: S608 - our own name
LIST_NON_PATIENT = """
SELECT id, sop_class_uid, sop_instance_uid, size AS bytes, removed_at AS at
FROM removed_non_patient_instance
WHERE tenant_id = $1 AND $2::jsonb IS NULL AND id > $3 ORDER BY id LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class DeletedStudy:
    """What is deleted of a Study, from the first time to the last; `bytes` of its objects."""

    study: str
    instances: int
    bytes: int
    first_at: datetime
    last_at: datetime
    held: bool


@dataclass(frozen=True, slots=True)
class DeletedNonPatient:
    """A deleted Instance of no Patient."""

    id: int
    sop_class_uid: str
    instance: str
    bytes: int
    at: datetime


async def list_deleted_studies(
    index: Index, scope: Scope, after: str, most: int
) -> Sequence[DeletedStudy]:
    """Return up to `most` Studies of which something is deleted, in order of UID `after` one.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LIST, *visible_arguments(scope), after, most)
    return [DeletedStudy(*row) for row in rows]


async def list_deleted_non_patient(
    index: Index, scope: Scope, after: int, most: int
) -> Sequence[DeletedNonPatient]:
    """Return up to `most` deleted Instances of no Patient whose numbers come `after` one.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LIST_NON_PATIENT, *visible_arguments(scope), after, most)
    return [DeletedNonPatient(*row) for row in rows]
