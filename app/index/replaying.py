"""What a rebuild learns from the log before it knows an object: what became of each, replayed.

Each event goes to its old place in the log, then what it says is done again: to `rebuild_item`, the
list of all objects that an event named, or to the tables of holds, labels and rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from app.index.attribute_values import apply_tag_event
from app.index.engine import Index
from app.index.events import Event, make_event
from app.index.forwarding_rules import apply_forwarding_event
from app.index.holds import RELEASE
from app.index.ingest_rules import apply_ingest_rule_event
from app.index.labels import apply_label_event
from app.index.log_offset import continue_log
from app.index.pool import Connection
from app.index.removal import DELETED
from app.index.retention_rules import apply_rule_event
from app.index.seal_keys import ADD as ADD_KEY
from app.index.segments import ADD as ADD_SEGMENT
from app.index.segments import SegmentRow, segment_values

LIVE = "live"
GONE = "gone"
"""Purged, or given up for another object of the same bytes."""
PAGE = 100

REPLAYED = "SELECT segment, sealed_at FROM rebuild WHERE tenant_id = $1"
NOTE_REPLAYED = """
INSERT INTO rebuild (tenant_id, segment, sealed_at) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id) DO UPDATE SET segment = excluded.segment, sealed_at = excluded.sealed_at
"""
EVENTS = """
INSERT INTO event (id, tenant_id, xid, at, kind, actor, payload) OVERRIDING SYSTEM VALUE
SELECT id, $1, xid::xid8, at, kind, actor, payload::jsonb
FROM unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[])
    AS old (id, xid, at, kind, actor, payload)
"""
UNAPPLIED = f"""
SELECT xid::text, id, at, kind, actor, payload FROM event JOIN rebuild USING (tenant_id)
WHERE tenant_id = $1 AND id > applied ORDER BY id LIMIT {PAGE}
"""  # noqa: S608
NOTE_APPLIED = "UPDATE rebuild SET applied = $2 WHERE tenant_id = $1"
NUMBER_ON = "SELECT setval(pg_get_serial_sequence('event', 'id'), max(id)) FROM event"
ACCEPT = f"""
INSERT INTO rebuild_item (tenant_id, sop_instance_uid, attempt, study, series, category, sha256,
    state, ordinal, at, event_id, changed_at)
SELECT $1, uid, attempt, $5, series, $6, decode(digest, 'hex'), '{LIVE}', $7, $8, $7, $8
FROM unnest($2::text[], $3::text[], $4::text[], $9::text[]) AS new (uid, digest, attempt, series)
ON CONFLICT (tenant_id, sop_instance_uid, attempt) DO UPDATE SET state = '{LIVE}',
    ordinal = excluded.ordinal, at = excluded.at, event_id = excluded.event_id
"""  # noqa: S608
SUPERSEDE = f"""
UPDATE rebuild_item SET state = '{GONE}' FROM unnest($2::text[], $3::text[]) AS new (uid, attempt)
WHERE tenant_id = $1 AND sop_instance_uid = uid AND rebuild_item.attempt <> new.attempt
    AND state = '{LIVE}'
"""  # noqa: S608
"""One that is accepted while another one lives came for a lost one: no UID has two rows."""
CHANGE = f"""
UPDATE rebuild_item SET state = $3, event_id = $4, changed_at = $5
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2) AND state NOT IN ('{DELETED}', '{GONE}')
"""  # noqa: S608
PURGE = f"""
UPDATE rebuild_item SET state = '{GONE}' WHERE tenant_id = $1 AND (sop_instance_uid, attempt) = (
    SELECT sop_instance_uid, attempt FROM rebuild_item
    WHERE tenant_id = $1 AND sop_instance_uid = $2 AND state = '{DELETED}'
    ORDER BY changed_at, ordinal LIMIT 1)
"""  # noqa: S608
MEND = f"""
WITH mended AS (
    SELECT * FROM rebuild_item
    WHERE tenant_id = $1 AND sop_instance_uid = $2 AND sha256 = decode($3, 'hex')
        AND state <> '{GONE}' AND attempt <> $4
    ORDER BY state = '{LIVE}' DESC, changed_at DESC LIMIT 1
), left_behind AS (
    UPDATE rebuild_item SET state = '{GONE}' FROM mended
    WHERE rebuild_item.tenant_id = $1 AND rebuild_item.sop_instance_uid = $2
        AND rebuild_item.attempt = mended.attempt
)
INSERT INTO rebuild_item (tenant_id, sop_instance_uid, attempt, study, series, category, sha256,
    state, ordinal, at, event_id, changed_at)
SELECT tenant_id, sop_instance_uid, $4, study, series, category, sha256, state, ordinal, at,
    event_id, changed_at
FROM mended
ON CONFLICT (tenant_id, sop_instance_uid, attempt) DO UPDATE SET state = excluded.state
"""  # noqa: S608
"""The attempt that it had is listed still: its bytes are damaged, and nobody's any more."""
HOLD = """
INSERT INTO hold (tenant_id, study_instance_uid, reason, held_by, held_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, study_instance_uid) DO UPDATE
    SET reason = excluded.reason, held_by = excluded.held_by, held_at = excluded.held_at
"""


async def replayed(index: Index, tenant_id: int) -> tuple[int, datetime] | None:
    """Return the number of the last segment that is replayed and when it was sealed.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(REPLAYED, tenant_id)
    return (row["segment"], row["sealed_at"]) if row else None


async def replay(
    index: Index,
    tenant_id: int,
    segment: SegmentRow,
    events: Sequence[Event],
    keys: Mapping[int, bytes],
) -> None:
    """Take in the events of a segment, at their old places in the log, and the keys of the seal.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> None:
        columns = zip(*map(_event_row, events), strict=True)
        await connection.execute(EVENTS, tenant_id, *map(list, columns))
        await connection.execute(NUMBER_ON)
        await connection.execute(ADD_SEGMENT, tenant_id, *segment_values(segment))
        for number, public in keys.items():
            await connection.execute(ADD_KEY, tenant_id, number, public)
        await connection.execute(NOTE_REPLAYED, tenant_id, segment.number, segment.sealed_at)

    await index.retrying(work)


async def apply_next(index: Index, tenant_id: int) -> bool:
    """Note what the next events say became of objects; say whether there were any.

    Events about one Study are in the order of their numbers, not in that of the log (`events`).

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        events = [make_event(row) for row in await connection.fetch(UNAPPLIED, tenant_id)]
        for event in events:
            await _apply(connection, tenant_id, event)
        if events:
            await connection.execute(NOTE_APPLIED, tenant_id, events[-1].position.number)
        return bool(events)

    return await index.retrying(work)


async def log_goes_on(index: Index) -> None:
    """Let what is logged from now on come after all that was replayed.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.at_once() as connection:
        await continue_log(connection)


def _event_row(event: Event) -> tuple[object, ...]:
    place, payload = event.position, orjson.dumps(event.payload).decode()
    return place.number, str(place.transaction), event.at, event.kind, event.actor, payload


async def _apply(connection: Connection, tenant_id: int, event: Event) -> None:
    """Note what an event says became of objects, Studies or settings; others are log alone."""
    payload, uids = event.payload, list(_uids(event.payload))
    match event.kind:
        case "accepted":
            rows = list(_accepted(payload))
            columns = [list(column) for column in zip(*rows, strict=True)]
            of = (payload.get("study", ""), payload.get("category", ""))
            when = (event.position.number, event.at)
            await connection.execute(SUPERSEDE, tenant_id, columns[0], columns[2])
            await connection.execute(ACCEPT, tenant_id, *columns[:3], *of, *when, columns[3])
        case "removed" | "rejected":
            state = payload.get("reason", DELETED)
            number = event.position.number
            await connection.execute(CHANGE, tenant_id, uids, state, number, event.at)
        case "purged":
            for uid in uids:
                await connection.execute(PURGE, tenant_id, uid)
        case "mended":
            for uid, (digest, attempt) in payload["instances"].items():
                name = attempt.removesuffix(".dcm")
                await connection.execute(MEND, tenant_id, uid, digest, name)
        case _:
            await _apply_to_others(connection, tenant_id, event)


async def _apply_to_others(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again what an event says of a hold, a label, a rule or a chosen attribute."""
    match event.kind:
        case "held":
            said = (event.payload["study"], event.payload["because"], event.actor, event.at)
            await connection.execute(HOLD, tenant_id, *said)
        case "released":
            await connection.execute(RELEASE, tenant_id, event.payload["study"])
        case "labelled" | "unlabelled":
            await apply_label_event(connection, tenant_id, event)
        case "tag-chosen" | "tag-dropped":
            await apply_tag_event(connection, tenant_id, event)
        case "rule-added" | "rule-activated" | "rule-deactivated" | "rule-removed":
            await apply_rule_event(connection, tenant_id, event)
        case "label-rule-added" | "label-rule-removed":
            await apply_ingest_rule_event(connection, tenant_id, event)
        case kind if kind.startswith(("destination-", "forwarding-rule-")):
            await apply_forwarding_event(connection, tenant_id, event)


def _accepted(payload: Mapping[str, Any]) -> Iterable[tuple[str, str, str, str]]:
    """Yield UID, digest, attempt and Series of each Instance."""
    series = payload.get("series", {"": payload.get("instances", {})})
    for name, instances in series.items():
        for uid, (digest, attempt) in instances.items():
            yield uid, digest, attempt.removesuffix(".dcm"), name


def _uids(payload: Mapping[str, Any]) -> Iterable[str]:
    if "series" in payload:
        return [uid for instances in payload["series"].values() for uid in instances]
    return list(payload.get("instances", ()))
