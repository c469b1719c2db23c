"""What a new index is made of: the list of what there was (`replaying`), brought in page by page.

`rebuild_item` has a row for each object that an event named, with what became of it: so a log of
any length is replayed in little memory, and a rebuild that was broken off goes on. `rebuild` says
how far the log is replayed. Both are emptied when all is done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from app.dicom.scanned import DERIVED_VERSION
from app.index.add_rows import COLUMNS
from app.index.engine import Index
from app.index.instances import NewInstance, add_instances, instance_row
from app.index.non_patient import REMOVE, add_to_category
from app.index.packing import make_dictionary, metadata_packer
from app.index.pool import Connection
from app.index.reads import IS_READ
from app.index.replaying import GONE, LIVE, PAGE

EMPTY = f"""
SELECT NOT EXISTS (SELECT FROM event WHERE NOT {IS_READ})
    AND NOT EXISTS (SELECT FROM instance)
    AND NOT EXISTS (SELECT FROM removed_instance) AND NOT EXISTS (SELECT FROM non_patient_instance)
"""  # noqa: S608 - our own words, as below
"""Somebody may have looked at it, and found nothing."""
FORGET_READS = ("DELETE FROM event", "DELETE FROM segment")
NEXT = f"""
SELECT tenant_id, sop_instance_uid, attempt, study, series, category, sha256, state, at, event_id,
    changed_at
FROM rebuild_item WHERE NOT done AND state <> '{GONE}' AND (state = '{LIVE}') = $1
ORDER BY ordinal, sop_instance_uid LIMIT $2
"""  # noqa: S608
DONE = """
UPDATE rebuild_item SET done = true FROM unnest($1::integer[], $2::text[], $3::text[])
    AS these (tenant_id, uid, attempt)
WHERE rebuild_item.tenant_id = these.tenant_id AND sop_instance_uid = uid
    AND rebuild_item.attempt = these.attempt
"""
UNLOGGED = "DELETE FROM event WHERE xid = event_transaction()"
STORED_AT = """
UPDATE {table} SET stored_at = at FROM unnest($2::text[], $3::timestamptz[]) AS these (uid, at)
WHERE tenant_id = $1 AND sop_instance_uid = uid
"""
_REST = list(COLUMNS)[2:]
_PLACES = ", ".join(f"${number}" for number in range(9, 9 + len(_REST)))
ADD_REMOVED = f"""
INSERT INTO removed_instance (id, tenant_id, study_instance_uid, series_instance_uid, reason,
    event_id, removed_at, stored_at, derived_version, {", ".join(_REST)})
VALUES (nextval(pg_get_serial_sequence('instance', 'id')), $1, $2, $3, $4, $5, $6, $7, $8,
    {_PLACES})
"""  # noqa: S608
REMOVED_AT = """
UPDATE removed_non_patient_instance SET event_id = $3, removed_at = $4, stored_at = $5
WHERE tenant_id = $1 AND object_key = $2
"""
TIMES = (
    """UPDATE study SET created_at = first, updated_at = last FROM (
        SELECT study_key, min(stored_at) AS first, max(stored_at) AS last FROM instance GROUP BY 1
    ) AS stored WHERE study_key = study.id""",
    """UPDATE series SET created_at = first, updated_at = last FROM (
        SELECT series_key, min(stored_at) AS first, max(stored_at) AS last FROM instance GROUP BY 1
    ) AS stored WHERE series_key = series.id""",
    "TRUNCATE rebuild_item, rebuild",
    "ANALYZE attribute_value",
)


@dataclass(frozen=True, slots=True)
class Item:
    """An object that the log names: whose it is, its digest, and what became of it last."""

    tenant_id: int
    instance: str
    attempt: str
    study: str
    series: str
    category: str
    sha256: bytes
    state: str
    at: datetime
    event_id: int
    changed_at: datetime


async def claim_unused(index: Index) -> bool:
    """Say whether nothing was ever stored in this index; if so, forget who looked at it.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        unused = bool(await connection.fetchval(EMPTY))
        for statement in FORGET_READS if unused else ():
            await connection.execute(statement)
        return unused

    return await index.retrying(work)


async def next_items(index: Index, *, live: bool) -> list[Item]:
    """Return the next objects to bring in, in the order in which they were accepted.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Item(*row) for row in await index.fetch(NEXT, live, PAGE)]


async def bring_in(index: Index, found: Mapping[Item, NewInstance], items: Iterable[Item]) -> None:
    """Add a page of objects as what the log says they are; the others of `items` are only done.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> None:
        for item, new in found.items():
            if item.state != LIVE:
                await _add_removed(connection, item, new)
        for tenant_id, category in dict.fromkeys((it.tenant_id, it.category) for it in found):
            live = {
                item: new
                for item, new in found.items()
                if (item.tenant_id, item.category, item.state) == (tenant_id, category, LIVE)
            }
            await _add_live(connection, tenant_id, category, live)
        await connection.execute(UNLOGGED)
        names = zip(*((it.tenant_id, it.instance, it.attempt) for it in items), strict=True)
        await connection.execute(DONE, *map(list, names))

    index.known.clear()
    await index.retrying(work)


async def finish(index: Index) -> None:
    """Give Studies and Series their times, and forget what only the rebuild needed.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> None:
        for statement in TIMES:
            await connection.execute(statement)

    await index.retrying(work)


async def _add_live(
    connection: Connection, tenant_id: int, category: str, live: Mapping[Item, NewInstance]
) -> None:
    new = list(live.values())
    if category:
        await add_to_category(connection, tenant_id, "", category, new)
    else:
        await add_instances(connection, tenant_id, "", new, in_order=True)
    table = "non_patient_instance" if category else "instance"
    uids, times = [it.instance for it in live], [it.at for it in live]
    await connection.execute(STORED_AT.format(table=table), tenant_id, uids, times)


async def _add_removed(connection: Connection, item: Item, new: NewInstance) -> None:
    if item.category:
        await add_to_category(connection, item.tenant_id, "", item.category, [new])
        classes = [str(instance_row(new, 0, 0, b"")[list(COLUMNS).index("sop_class_uid")])]
        arguments = (item.tenant_id, None, classes, item.instance, "", item.category)
        await connection.execute(REMOVE, *arguments)
        when = (item.event_id, item.changed_at, item.at)
        await connection.execute(REMOVED_AT, item.tenant_id, new.object_key, *when)
        return
    packed = metadata_packer(make_dictionary(b""))(new.scanned.metadata)
    what = (item.study, item.series, item.state, item.event_id, item.changed_at, item.at)
    values = instance_row(new, 0, 0, packed)[2:]
    await connection.execute(ADD_REMOVED, item.tenant_id, *what, DERIVED_VERSION, *values)
