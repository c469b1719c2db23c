"""Bring back what was deleted, until it is purged: all of what is asked for, or nothing.

Of several Instances that were deleted under one UID the last one comes back. One that is here again
with the same content needs nothing; with other content, or rejected meanwhile, it is in the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.dicom.uids import Ref
from app.errors import Conflict, InvalidDataset, NotFound
from app.index.access import covers
from app.index.engine import Index
from app.index.events import log_event
from app.index.faults import TryAgain
from app.index.instances import add_instances
from app.index.non_patient import MOVE_BACK
from app.index.pool import Connection
from app.index.removal import DELETED, PAGE, TAKE, as_new, below
from app.rights import Scope

PICK = f"""
SELECT DISTINCT ON (sop_instance_uid) id FROM removed_instance
WHERE tenant_id = $1 AND study_instance_uid = $2 AND reason = '{DELETED}'
    AND ($3::text IS NULL OR series_instance_uid = $3)
    AND ($4::text IS NULL OR sop_instance_uid = $4)
ORDER BY sop_instance_uid, removed_at DESC, id DESC
"""  # noqa: S608 - our own text
FIND = """
SELECT id, sop_instance_uid, study_instance_uid, series_instance_uid, transfer_syntax_uid, sha256,
    dataset_sha256
FROM removed_instance WHERE id = ANY($1) ORDER BY id FOR UPDATE
"""
FIND_LIVE = """
SELECT sop_instance_uid, study_instance_uid, series_instance_uid, transfer_syntax_uid, sha256,
    dataset_sha256
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = instance.study_key
WHERE instance.tenant_id = $1 AND sop_instance_uid = ANY($2)
"""
PICK_NON_PATIENT = """
SELECT id, sop_instance_uid, sha256, dataset_sha256, transfer_syntax_uid, object_key
FROM removed_non_patient_instance
WHERE tenant_id = $1 AND sop_class_uid = ANY($2) AND sop_instance_uid = $3
ORDER BY removed_at DESC, id DESC LIMIT 1 FOR UPDATE
"""
FIND_NON_PATIENT = """
SELECT sop_instance_uid, sha256, dataset_sha256, transfer_syntax_uid FROM non_patient_instance
WHERE tenant_id = $1 AND sop_instance_uid = $2
"""
_CONTENT = ("dataset_sha256", "transfer_syntax_uid")
_PLACE = ("study_instance_uid", "series_instance_uid")


@dataclass(frozen=True, slots=True)
class Restored:
    """How many Instances came back, and how many were here already, with the same content."""

    instances: int
    present: int = 0


async def restore_deleted(index: Index, scope: Scope, ref: Ref, actor: str) -> Restored:
    """Bring back what was deleted of a Study, a Series or an Instance, in one transaction.

    Raises:
        Conflict: an Instance is here with other content, or was rejected; nothing came back.
        NotFound: nothing of it is deleted and not yet purged, or the scope does not cover it.
        Unavailable: the index does not answer.
    """
    index.known.clear()
    restored = await index.retrying(lambda it: _restore(it, scope, ref, actor))
    if not restored.instances and not restored.present:
        raise NotFound("A deleted Instance of", ref.study)
    return restored


async def _restore(connection: Connection, scope: Scope, ref: Ref, actor: str) -> Restored:
    tenant_id = scope.tenant_id
    if not await covers(connection, scope, ref.study):
        return Restored(0)
    picked = await connection.fetch(PICK, tenant_id, ref.study, *below(ref))
    keys = sorted(row["id"] for row in picked)
    instances = present = 0
    for start in range(0, len(keys), PAGE):
        page = await connection.fetch(FIND, keys[start : start + PAGE])
        if len(page) < len(keys[start : start + PAGE]):
            raise TryAgain("an Instance was purged or brought back while it was to come back")
        absent = await _absent(connection, tenant_id, page)
        present += len(page) - len(absent)
        if absent:
            await _take(connection, tenant_id, ref.study, actor, absent)
            instances += len(absent)
    return Restored(instances, present)


async def _absent(connection: Connection, tenant_id: int, page: Sequence[Any]) -> list[int]:
    """Return the keys of those that are not here; those that are have to be the same."""
    uids = [row["sop_instance_uid"] for row in page]
    live = {
        row["sop_instance_uid"]: row for row in await connection.fetch(FIND_LIVE, tenant_id, uids)
    }
    absent = []
    for row in page:
        there = live.get(row["sop_instance_uid"])
        if there is None:
            absent.append(row["id"])
        elif any(there[name] != row[name] for name in _PLACE) or not _is_same(there, row):
            raise _in_the_way(row["sop_instance_uid"])
    return absent


def _is_same(one: Any, other: Any) -> bool:
    """Say whether two have the same bytes, or an equal Data Set as `archive.same` has it."""
    if one["sha256"] == other["sha256"]:
        return True
    return all(one[name] == other[name] for name in _CONTENT)


def _in_the_way(uid: str) -> Conflict:
    return Conflict(
        f"Instance {uid} was stored again with other content after it was deleted; delete that "
        "one first"
    )


async def _take(
    connection: Connection, tenant_id: int, study: str, actor: str, keys: Sequence[int]
) -> None:
    rows = await connection.fetch(TAKE, list(keys))
    back = sorted(rows, key=lambda row: int(row["id"]))
    uids = [row["sop_instance_uid"] for row in back]
    payload = {"study": study, "instances": uids}
    await log_event(connection, tenant_id, "restored", actor, payload)
    results = await add_instances(connection, tenant_id, actor, [as_new(row) for row in back])
    for uid, result in zip(uids, results, strict=True):
        if isinstance(result, InvalidDataset):
            raise Conflict(f"Instance {uid} was rejected after it was deleted: bring that one back")
        if result is not None:
            raise TryAgain("an Instance was stored again while it was to come back")


async def restore_non_patient(
    index: Index, tenant_id: int, actor: str, category: str, sop_classes: Sequence[str], uid: str
) -> Restored:
    """Bring back a deleted Instance of no Patient.

    Raises:
        Conflict: it is here with other content.
        NotFound: none was deleted under this UID, or it is purged.
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> Restored:
        row = await connection.fetchrow(PICK_NON_PATIENT, tenant_id, list(sop_classes), uid)
        if row is None:
            raise NotFound("A deleted Instance", uid)
        there = await connection.fetchrow(FIND_NON_PATIENT, tenant_id, uid)
        if there is not None:
            if not _is_same(there, row):
                raise _in_the_way(uid)
            return Restored(0, 1)
        if await connection.fetchval(MOVE_BACK, row["id"]) is None:
            raise TryAgain("an Instance was stored again while it was to come back")
        attempt = row["object_key"].rpartition(f"/{uid}.")[2]
        logged = {"category": category, "instances": {uid: [row["sha256"].hex(), attempt]}}
        restored = {"category": category, "instances": [uid]}
        await log_event(connection, tenant_id, "restored", actor, restored)
        await log_event(connection, tenant_id, "accepted", actor, logged)
        return Restored(1)

    return await index.retrying(work)
