"""Which event accepted an Instance: the one of its transaction, whose time both have."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from app.dicom.uids import InstanceRef, StudyRef
from app.index.absence import absence
from app.index.access import INSTANCE, STUDY, VISIBLE, reference_arguments
from app.index.engine import Index
from app.index.events import Event, Position, make_event
from app.rights import Scope

_COLUMNS = """
instance.id, study_instance_uid, series_instance_uid, sop_instance_uid, sha256, dataset_sha256,
instance.size, stored_at, object_key
"""
FIND = f"SELECT {_COLUMNS} {INSTANCE}"
EXISTS = f"SELECT study.id {STUDY}"
LIST = f"""
SELECT {_COLUMNS} FROM instance JOIN series ON series.id = instance.series_key
    JOIN study ON study.id = instance.study_key
WHERE {VISIBLE} AND study_instance_uid = $3 AND instance.id > $4 ORDER BY instance.id LIMIT $5
"""  # noqa: S608 - our own text
EVENTS = """
SELECT xid::text, id, at, kind, actor, payload FROM event
WHERE tenant_id = $1 AND at = ANY($2) AND kind = 'accepted' AND payload->>'study' = $3
ORDER BY event.xid, event.id
"""
GIVEN_UP = """
SELECT xid::text, id, kind, named.uid
FROM event CROSS JOIN LATERAL (
    SELECT jsonb_array_elements_text(payload->'instances') WHERE kind = 'purged'
    UNION ALL
    SELECT jsonb_object_keys(payload->'instances') WHERE kind = 'mended'
) AS named (uid)
WHERE tenant_id = $1 AND kind IN ('purged', 'mended') AND named.uid = ANY($2)
    AND (xid, id) > ($3::text::xid8, $4::bigint) AND (xid, id) <= ($5::text::xid8, $6::bigint)
"""
"""Objects are given up by an event that says so: those of purged Instances, and lost ones whose
bytes came again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored Instance: what was acknowledged of it. `number` grows from one to the next."""

    number: int
    ref: InstanceRef
    sha256: bytes
    dataset_sha256: bytes
    size: int
    stored_at: datetime
    object_key: str


async def find_accepted(index: Index, scope: Scope, ref: InstanceRef) -> Accepted:
    """Return what is known of an Instance.

    Raises:
        NotFound, Gone: there is no such Instance, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    return Accepted(row[0], InstanceRef(*row[1:4]), *row[4:])


async def list_accepted(
    index: Index, scope: Scope, ref: StudyRef, after: int, limit: int
) -> list[Accepted]:
    """Return Instances of a Study in the order in which they were stored, from a number on.

    Raises:
        NotFound, Gone: there is no such Study, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    arguments = reference_arguments(scope, ref)
    if await index.fetchrow(EXISTS, *arguments) is None:
        raise await absence(index, scope, ref)
    rows = await index.fetch(LIST, *arguments, after, limit)
    return [Accepted(row[0], InstanceRef(*row[1:4]), *row[4:]) for row in rows]


async def find_events(
    index: Index, tenant_id: int, study: str, times: Collection[datetime]
) -> list[Event]:
    """Return the events that accepted Instances of a Study at these times, in commit order.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(EVENTS, tenant_id, sorted(set(times)), study)
    return [make_event(row) for row in rows]


async def find_given_up(
    index: Index, tenant_id: int, uids: Collection[str], after: Position, until: Position
) -> dict[str, tuple[Position, str]]:
    """Return for which Instances an object was given up between two positions, and where last and
    how: "purged" or "mended".

    Raises:
        Unavailable: the index does not answer.
    """
    between = (str(after.transaction), after.number, str(until.transaction), until.number)
    given_up: dict[str, tuple[Position, str]] = {}
    for row in await index.search(GIVEN_UP, tenant_id, list(uids), *between):
        found = Position(int(row["xid"]), row["id"]), row["kind"]
        given_up[row["uid"]] = max(found, given_up.get(row["uid"], found))
    return given_up
