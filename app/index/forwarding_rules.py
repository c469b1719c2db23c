"""Where Instances are forwarded to, and by which rules; both are facts in the log.

A rule is about Instances that came from some AEs, of some modalities (of the Series) and SOP
Classes; an empty list is any. `FORWARD` is the part of the statement that adds Instances which
queues them: an Instance is in with all that is to be forwarded of it, or not at all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import asyncpg

from app.errors import Conflict, NotFound
from app.index.engine import Index
from app.index.events import Event, log_event
from app.index.pool import Connection

SET, REMOVED = "destination-set", "destination-removed"
RULE_ADDED, RULE_REMOVED = "forwarding-rule-added", "forwarding-rule-removed"

FORWARD = """
    INSERT INTO forwarding (tenant_id, destination_id, instance_key)
    SELECT DISTINCT $1::integer, rule.destination_id, added.id
    FROM forwarding_rule rule JOIN destination ON destination.id = rule.destination_id
    CROSS JOIN added JOIN series_changed USING (series_key)
    WHERE rule.tenant_id = $1 AND $4::text IS NOT NULL AND destination.ae_title <> $4
        AND (rule.sources = '{}' OR $4 = ANY(rule.sources))
        AND (rule.modalities = '{}' OR series_changed.modality = ANY(rule.modalities))
        AND (rule.sop_classes = '{}' OR added.sop_class_uid = ANY(rule.sop_classes))
    ON CONFLICT (destination_id, instance_key) DO NOTHING
"""
"""Of `instances.ADD_ROWS`; `$4` is the source. What came from a destination does not go back."""

_DESTINATION = "id, ae_title, host, port, tls, made_by, made_at"
LIST = f"""
SELECT {_DESTINATION} FROM destination WHERE tenant_id = $1 ORDER BY ae_title
"""  # noqa: S608 - our own names, as below
FIND = f"""
SELECT {_DESTINATION} FROM destination WHERE tenant_id = $1 AND ae_title = $2
"""  # noqa: S608
PUT = f"""
INSERT INTO destination AS old (tenant_id, ae_title, host, port, tls, made_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, ae_title) DO UPDATE SET host = excluded.host, port = excluded.port,
    tls = excluded.tls
RETURNING {_DESTINATION}
"""  # noqa: S608
REMOVE = "DELETE FROM destination WHERE tenant_id = $1 AND ae_title = $2 RETURNING id"
_RULE = """
rule.id, destination.ae_title AS destination, sources, modalities, sop_classes, rule.made_by,
rule.made_at
"""
LIST_RULES = f"""
SELECT {_RULE} FROM forwarding_rule rule JOIN destination ON destination.id = destination_id
WHERE rule.tenant_id = $1 ORDER BY rule.id
"""  # noqa: S608
ADD_RULE = f"""
WITH rule AS (
    INSERT INTO forwarding_rule
        (tenant_id, destination_id, sources, modalities, sop_classes, made_by)
    SELECT $1, id, $3::text[], $4::text[], $5::text[], $6::text FROM destination
    WHERE tenant_id = $1 AND ae_title = $2 RETURNING *
)
SELECT {_RULE} FROM rule JOIN destination ON destination.id = destination_id
"""  # noqa: S608
REMOVE_RULE = """
DELETE FROM forwarding_rule WHERE tenant_id = $1 AND id = $2 RETURNING id
"""
ADD_RULE_AGAIN = """
WITH again AS (
    INSERT INTO forwarding_rule
        (id, tenant_id, destination_id, sources, modalities, sop_classes, made_by, made_at)
    OVERRIDING SYSTEM VALUE
    SELECT $1, $2, id, $4, $5, $6, $7, $8 FROM destination WHERE tenant_id = $2 AND ae_title = $3
)
SELECT setval(pg_get_serial_sequence('forwarding_rule', 'id'), $1)
"""
DATE_AGAIN = "UPDATE destination SET made_at = $3 WHERE tenant_id = $1 AND ae_title = $2"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an AE listens."""

    ae_title: str
    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """An AE that Instances are sent to."""

    id: int
    address: Address
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule says: where to, and which Instances; an empty tuple is any."""

    destination: str
    sources: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, which acts on what is stored from now on."""

    id: int
    terms: Terms
    made_by: str
    made_at: datetime


def _address(row: Any) -> Address:
    return Address(row["ae_title"], row["host"], row["port"], row["tls"])


def _make_destination(row: Any) -> Destination:
    return Destination(row["id"], _address(row), row["made_by"], row["made_at"])


def _make_rule(row: Any) -> Rule:
    lists = (tuple(row[name]) for name in ("sources", "modalities", "sop_classes"))
    return Rule(row["id"], Terms(row["destination"], *lists), row["made_by"], row["made_at"])


async def list_destinations(index: Index, tenant_id: int) -> Sequence[Destination]:
    """Return all destinations, by their AE Titles.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_make_destination(row) for row in await index.fetch(LIST, tenant_id)]


async def find_destination(index: Index, tenant_id: int, ae_title: str) -> Destination:
    """Return one destination.

    Raises:
        NotFound: there is none of this AE Title.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, tenant_id, ae_title)
    if row is None:
        raise NotFound("Destination", ae_title)
    return _make_destination(row)


async def put_destination(index: Index, tenant_id: int, actor: str, address: Address) -> bool:
    """Keep where an AE listens, in the place of what was known of it; say whether it is new.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        before = await connection.fetchrow(FIND, tenant_id, address.ae_title)
        if before is None or _address(before) != address:
            values = (address.ae_title, address.host, address.port, address.tls)
            await connection.execute(PUT, tenant_id, *values, actor)
            await log_event(connection, tenant_id, SET, actor, {"destination": asdict(address)})
        return before is None

    return await index.retrying(work)


async def remove_destination(index: Index, tenant_id: int, actor: str, ae_title: str) -> None:
    """Forget a destination.

    Raises:
        NotFound: there is none of this AE Title.
        Conflict: a rule names it, or something waits for it.
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        if await connection.fetchval(REMOVE, tenant_id, ae_title) is None:
            return False
        payload = {"destination": {"ae_title": ae_title}}
        await log_event(connection, tenant_id, REMOVED, actor, payload)
        return True

    try:
        removed = await index.retrying(work)
    except asyncpg.ForeignKeyViolationError:
        raise Conflict(
            f"A forwarding rule names {ae_title}, or something waits to be sent there"
        ) from None
    if not removed:
        raise NotFound("Destination", ae_title)


async def list_rules(index: Index, tenant_id: int) -> Sequence[Rule]:
    """Return all rules, oldest first.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_make_rule(row) for row in await index.fetch(LIST_RULES, tenant_id)]


async def add_rule(index: Index, tenant_id: int, actor: str, terms: Terms) -> Rule:
    """Forward by a rule what is stored from now on.

    Raises:
        NotFound: there is no such destination.
        Unavailable: the index does not answer.
    """
    lists = map(list, (terms.sources, terms.modalities, terms.sop_classes))
    values = (tenant_id, terms.destination, *lists, actor)

    async def work(connection: Connection) -> Rule | None:
        row = await connection.fetchrow(ADD_RULE, *values)
        if row is None:
            return None
        rule = _make_rule(row)
        payload = {"rule": {"id": rule.id, **asdict(terms)}}
        await log_event(connection, tenant_id, RULE_ADDED, actor, payload)
        return rule

    made = await index.retrying(work)
    if made is None:
        raise NotFound("Destination", terms.destination)
    return made


async def remove_rule(index: Index, tenant_id: int, actor: str, number: int) -> None:
    """Take a rule away; what it has queued is forwarded all the same.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        if await connection.fetchval(REMOVE_RULE, tenant_id, number) is None:
            return False
        await log_event(connection, tenant_id, RULE_REMOVED, actor, {"rule": {"id": number}})
        return True

    if not await index.retrying(work):
        raise NotFound("Forwarding rule", str(number))


async def apply_forwarding_event(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again what an event of the log says of a destination or a rule, in a new index."""
    said = event.payload.get("destination", {}), event.payload.get("rule", {})
    where, rule = said
    match event.kind:
        case "destination-set":
            values = (where["ae_title"], where["host"], where["port"], where["tls"])
            known = await connection.fetchrow(FIND, tenant_id, where["ae_title"])
            await connection.execute(PUT, tenant_id, *values, event.actor)
            if known is None:
                await connection.execute(DATE_AGAIN, tenant_id, where["ae_title"], event.at)
        case "destination-removed":
            await connection.fetchval(REMOVE, tenant_id, where["ae_title"])
        case "forwarding-rule-added":
            lists = (rule["sources"], rule["modalities"], rule["sop_classes"])
            about = (rule["id"], tenant_id, rule["destination"])
            await connection.execute(ADD_RULE_AGAIN, *about, *lists, event.actor, event.at)
        case "forwarding-rule-removed":
            await connection.fetchval(REMOVE_RULE, tenant_id, rule["id"])
