"""Instances of no Patient: a row each, in a table that no Study, counter or `tally` knows of.

There are few of them beside Instances of Studies, and each is small, so a search compares in Python
what the Metadata says; only the category and the UID are looked up here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.dicom.identity import identify_non_patient
from app.dicom.scanned import DERIVED_VERSION, FrameKind, Frames
from app.dicom.uids import InstanceRef
from app.errors import ArchiveError, Gone, NotFound
from app.index.access import NON_PATIENT, visible_arguments
from app.index.described import StoredDescription
from app.index.engine import Index
from app.index.events import log_event
from app.index.faults import TryAgain
from app.index.frames import pack_bulk_values, unpack_bulk_values
from app.index.instances import Added, NewInstance
from app.index.packing import make_dictionary, metadata_packer, metadata_unpacker
from app.index.places import InstancePlace
from app.index.pool import Connection
from app.index.present import Present
from app.rights import Scope

_COLUMNS = """
tenant_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, object_key, base_offset, size,
sha256, dataset_sha256, dataset_offset, bulk_values, metadata, derived_version
"""

ADD = f"""
INSERT INTO non_patient_instance ({_COLUMNS})
SELECT $1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, $11, $12
WHERE NOT EXISTS (SELECT FROM swept_object WHERE object_key = $5)
ON CONFLICT (tenant_id, sop_instance_uid) DO NOTHING RETURNING id
"""  # noqa: S608 - our own text, as below

FIND_PRESENT = """
SELECT * FROM non_patient_instance WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
"""

_NAMED = f"{NON_PATIENT} AND sop_class_uid = ANY($3) AND sop_instance_uid = $4"

LOAD = f"SELECT * FROM non_patient_instance WHERE {_NAMED}"  # noqa: S608

WAS_THERE = LOAD.replace("non_patient_instance", "removed_non_patient_instance")

LIST = f"""
SELECT id, octet_length(metadata) AS size FROM non_patient_instance
WHERE {NON_PATIENT} AND sop_class_uid = ANY($3)
    AND ($4::text[] IS NULL OR sop_instance_uid = ANY($4))
ORDER BY id DESC LIMIT $5 OFFSET $6
"""  # noqa: S608

LOAD_PAGE = """
SELECT id, sop_instance_uid, metadata FROM non_patient_instance WHERE id = ANY($1) ORDER BY id DESC
"""

REMOVE = f"""
WITH gone AS (
    DELETE FROM non_patient_instance WHERE {_NAMED} RETURNING *
), logged AS (
    INSERT INTO event (tenant_id, kind, actor, payload)
    SELECT tenant_id, 'removed', $5::text, jsonb_build_object('category', $6::text,
        'instances', jsonb_build_object(sop_instance_uid, encode(sha256, 'hex')))
    FROM gone RETURNING id
)
INSERT INTO removed_non_patient_instance (id, {_COLUMNS}, stored_at, event_id)
SELECT gone.id, {_COLUMNS}, stored_at, logged.id FROM gone, logged RETURNING 1
"""  # noqa: S608

MOVE_BACK = f"""
WITH back AS (DELETE FROM removed_non_patient_instance WHERE id = $1 RETURNING *)
INSERT INTO non_patient_instance ({_COLUMNS}, stored_at) SELECT {_COLUMNS}, stored_at FROM back
ON CONFLICT (tenant_id, sop_instance_uid) DO NOTHING RETURNING id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class NonPatientRow:
    """One row of a search: its UID and its Metadata as JSON."""

    sop_instance_uid: str
    metadata: bytes


async def add_non_patient(
    index: Index, tenant_id: int, actor: str, category: str, new: Sequence[NewInstance]
) -> list[Added]:
    """Add non-patient Instances of one category, with the event, in one transaction.

    For each: None if it was added, or what is there already under its UID. Of several with one UID
    the first is added.

    Raises:
        Unavailable: the index does not answer.
        StorageFull: it has no room left.
    """
    return await index.retrying(lambda it: add_to_category(it, tenant_id, actor, category, new))


async def add_to_category(
    connection: Connection, tenant_id: int, actor: str, category: str, new: Sequence[NewInstance]
) -> list[Added]:
    """Do as `add_non_patient`, in the caller's transaction."""
    pack = metadata_packer(make_dictionary(b""))
    fresh: dict[str, NewInstance] = {}
    for one in sorted(new, key=lambda one: one.ref.instance):  # locks in one order
        packed = pack(one.scanned.metadata)
        if await connection.fetchval(ADD, tenant_id, *_row(one, packed)) is not None:
            fresh[one.ref.instance] = one
    if fresh:
        payload = {"category": category, "instances": dict(map(_logged, fresh.values()))}
        await log_event(connection, tenant_id, "accepted", actor, payload)
    others = [one.ref.instance for one in new if fresh.get(one.ref.instance) is not one]
    rows = await connection.fetch(FIND_PRESENT, tenant_id, others) if others else []
    present = {row["sop_instance_uid"]: _present(row) for row in rows}
    if not present.keys() >= set(others):
        raise TryAgain("an Instance was removed while it was stored again")
    return [
        None if fresh.get(one.ref.instance) is one else present[one.ref.instance] for one in new
    ]


def _row(one: NewInstance, packed: bytes) -> tuple[object, ...]:
    scanned = one.scanned
    return (
        one.ref.instance,
        identify_non_patient(scanned).sop_class_uid,
        scanned.transfer_syntax_uid,
        one.object_key,
        one.size,
        one.sha256,
        one.dataset_sha256,
        scanned.dataset_offset,
        pack_bulk_values(scanned.bulk_values),
        packed,
        DERIVED_VERSION,
    )


def _logged(one: NewInstance) -> tuple[str, list[str]]:
    """Return what the log says of an Instance: its digest, and the attempt in its key."""
    uid = one.ref.instance
    return uid, [one.sha256.hex(), one.object_key.rpartition(f"/{uid}.")[2]]


def _present(row: Any) -> Present:
    return Present(
        ref=InstanceRef("", "", row["sop_instance_uid"]),
        object_key=row["object_key"],
        base_offset=row["base_offset"],
        size=row["size"],
        sha256=row["sha256"],
        dataset_sha256=row["dataset_sha256"],
        dataset_offset=row["dataset_offset"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        frames=Frames(),
        bulk_values=unpack_bulk_values(row["bulk_values"]),
        metadata=_unpack(row["metadata"]),
    )


def _unpack(packed: bytes) -> bytes:
    return metadata_unpacker(make_dictionary(b""))(packed)


async def load_non_patient(
    index: Index, scope: Scope, sop_classes: Sequence[str], uid: str
) -> StoredDescription:
    """Return where a non-patient Instance of some SOP Classes lies, and what it says.

    Raises:
        Gone: it was removed, and the scope would cover it.
        NotFound: there is no such Instance, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOAD, *visible_arguments(scope), list(sop_classes), uid)
    if row is None:
        raise await _absence(index, scope, sop_classes, uid)
    present = _present(row)
    place = InstancePlace(
        ref=present.ref,
        object_key=present.object_key,
        base_offset=present.base_offset,
        size=present.size,
        sha256=present.sha256,
        dataset_offset=present.dataset_offset,
        transfer_syntax_uid=present.transfer_syntax_uid,
        frame_kind=FrameKind.NONE,
        frame_count=0,
    )
    return StoredDescription(place, present.metadata, present.bulk_values)


async def list_non_patient(
    index: Index,
    scope: Scope,
    sop_classes: Sequence[str],
    uids: Sequence[str] | None,
    most: int,
    offset: int = 0,
) -> dict[int, int]:
    """Return the keys of up to `most` non-patient Instances, newest first; `uids` narrows them.

    Each has the bytes that its packed Metadata takes.

    Raises:
        Unavailable: the index does not answer.
    """
    wanted = None if uids is None else list(uids)
    arguments = (*visible_arguments(scope), list(sop_classes), wanted, most, offset)
    return {row["id"]: row["size"] for row in await index.search(LIST, *arguments)}


async def load_non_patient_rows(index: Index, keys: Sequence[int]) -> list[NonPatientRow]:
    """Return the rows of keys that are still there, in the order of `list_non_patient`.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LOAD_PAGE, list(keys))
    return [NonPatientRow(row["sop_instance_uid"], _unpack(row["metadata"])) for row in rows]


async def remove_non_patient(
    index: Index, scope: Scope, actor: str, category: str, sop_classes: Sequence[str], uid: str
) -> None:
    """Take a non-patient Instance out of the index; its object stays, and it may be stored again.

    Raises:
        Gone, NotFound: as `load_non_patient`.
        Unavailable: the index does not answer.
    """
    arguments = (*visible_arguments(scope), list(sop_classes), uid, actor, category)
    gone = await index.retrying(lambda it: it.fetchval(REMOVE, *arguments))
    if gone is None:
        raise await _absence(index, scope, sop_classes, uid)


async def _absence(
    index: Index, scope: Scope, sop_classes: Sequence[str], uid: str
) -> ArchiveError:
    row = await index.fetchrow(WAS_THERE, *visible_arguments(scope), list(sop_classes), uid)
    return NotFound("Instance", uid) if row is None else Gone("Instance", uid)
