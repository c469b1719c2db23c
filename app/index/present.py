"""What is there already under the UID of an Instance that comes: the same, or a rejected one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from app.dicom.scanned import BulkPlace, FrameKind, Frames
from app.dicom.uids import InstanceRef
from app.errors import InvalidDataset, Unavailable
from app.index.absence import REJECTED
from app.index.engine import Index
from app.index.events import log_event
from app.index.faults import TryAgain
from app.index.frames import unpack_bulk_values
from app.index.packing import unpack_metadata
from app.index.pool import Connection
from app.index.quarantine import stored_key

FIND_PRESENT = """
SELECT study_instance_uid, series_instance_uid, metadata_dictionary, instance.*
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = instance.study_key
WHERE instance.tenant_id = $1 AND sop_instance_uid = ANY($2)
"""


FIND_REJECTED = f"""
SELECT DISTINCT sop_instance_uid FROM removed_instance
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2) AND starts_with(reason, '{REJECTED}')
"""  # noqa: S608 - our own name

FIND_SWEPT = """
SELECT DISTINCT sop_instance_uid FROM swept_object
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
"""

REPLACE = """
UPDATE {table} SET object_key = $4, base_offset = 0
WHERE tenant_id = $1 AND sop_instance_uid = $2 AND object_key = $3
    AND NOT EXISTS (SELECT FROM swept_object WHERE object_key = $4) RETURNING id
"""
END_FINDINGS = "DELETE FROM finding WHERE object_key = $1"


@dataclass(frozen=True, slots=True)
class Present:
    """The Instance that already has a UID: where it is, and what shows whether it is the same."""

    ref: InstanceRef
    object_key: str
    base_offset: int
    size: int
    sha256: bytes
    dataset_sha256: bytes
    dataset_offset: int
    transfer_syntax_uid: str
    frames: Frames
    bulk_values: Mapping[str, BulkPlace]
    metadata: bytes


async def find_present(
    connection: Connection, tenant_id: int, uids: Collection[str]
) -> dict[str, Present | InvalidDataset]:
    """Return what has each of the UIDs, or why none may have it.

    Raises:
        TryAgain: nothing has one of them any more.
    """
    rows = await connection.fetch(FIND_PRESENT, tenant_id, list(uids))
    found: dict[str, Present | InvalidDataset] = {
        row["sop_instance_uid"]: _present(row) for row in rows
    }
    if len(found) < len(uids):
        rows = await connection.fetch(FIND_REJECTED, tenant_id, list(uids))
        refused = InvalidDataset("it was rejected here, and may not come back by itself", 0x0124)
        found |= {row["sop_instance_uid"]: refused for row in rows}
    if len(found) < len(uids):
        absent = [uid for uid in uids if uid not in found]
        rows = await connection.fetch(FIND_SWEPT, tenant_id, absent)
        late = InvalidDataset("it took so long that its bytes were swept; send it again", 0x0110)
        found |= {row["sop_instance_uid"]: late for row in rows}
    if len(found) < len(uids):
        raise TryAgain("an Instance was removed while it was stored again")
    return found


def _present(row: Any) -> Present:
    return Present(
        ref=InstanceRef(
            row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
        ),
        object_key=row["object_key"],
        base_offset=row["base_offset"],
        size=row["size"],
        sha256=row["sha256"],
        dataset_sha256=row["dataset_sha256"],
        dataset_offset=row["dataset_offset"],
        transfer_syntax_uid=row["transfer_syntax_uid"],
        frames=Frames(
            FrameKind(row["frame_kind"]),
            row["frame_count"],
            row["frame_offset"],
            row["frame_length"],
            row["frame_table"],
        ),
        bulk_values=unpack_bulk_values(row["bulk_values"]),
        metadata=unpack_metadata(row["metadata_dictionary"], row["metadata"]),
    )


async def replace_object(
    index: Index, tenant_id: int, actor: str, present: Present, object_key: str
) -> None:
    """Let an Instance have another object, of the same bytes from its beginning; log it.

    Raises:
        Unavailable: the index does not answer, or the Instance has been changed or removed.
    """
    table = "instance" if present.ref.study else "non_patient_instance"
    uid, study = present.ref.instance, present.ref.study
    attempt = object_key.rpartition(f"/{uid}.")[2]
    instances = {uid: [present.sha256.hex(), attempt]}
    payload = {**({"study": study} if study else {}), "instances": instances}
    keys = (present.object_key, object_key)

    async def replace(connection: Connection) -> None:
        statement = REPLACE.format(table=table)
        if await connection.fetchval(statement, tenant_id, uid, *keys) is None:
            raise Unavailable("the Instance was changed while it was stored again")
        await connection.execute(END_FINDINGS, stored_key(present.object_key))
        await log_event(connection, tenant_id, "mended", actor, payload)

    await index.retrying(replace)
