"""Which of many Instances are in the index: one query for all."""

from collections.abc import Sequence

from app.index.access import NON_PATIENT, VISIBLE, visible_arguments
from app.index.engine import Index
from app.index.quarantine import QUARANTINE
from app.rights import Scope

KNOWN = f"""
SELECT sop_instance_uid FROM instance JOIN study ON study.id = instance.study_key
WHERE {VISIBLE} AND instance.tenant_id = $1 AND sop_instance_uid = ANY($3)
    AND NOT starts_with(object_key, '{QUARANTINE}')
UNION ALL
SELECT sop_instance_uid FROM non_patient_instance
WHERE {NON_PATIENT} AND sop_instance_uid = ANY($3)
    AND NOT starts_with(object_key, '{QUARANTINE}')
"""  # noqa: S608 - our own text


async def known_instances(index: Index, scope: Scope, uids: Sequence[str]) -> frozenset[str]:
    """Return those of `uids` that name Instances which the scope covers, and whose bytes are not
    known to be lost.

    Raises:
        Unavailable: the index does not answer.
    """
    if not uids:
        return frozenset()
    rows = await index.fetch(KNOWN, *visible_arguments(scope), list(uids))
    return frozenset(row["sop_instance_uid"] for row in rows)
