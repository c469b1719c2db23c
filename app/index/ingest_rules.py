"""Rules that put labels on Studies as they come in: kept, told of in the log, made again by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from app.errors import Conflict, NotFound
from app.index.engine import Index
from app.index.events import Event, log_event
from app.index.pool import Connection

MOST_RULES = 1000
"""Of one tenant: all are looked at for each new Study."""

_CONDITIONS = ("calling_ae", "institution", "sender")
_COLUMNS = f"id, label, {', '.join(_CONDITIONS)}, made_by, made_at"
COUNT = "SELECT count(*) FROM ingest_label_rule WHERE tenant_id = $1"
ADD = f"""
INSERT INTO ingest_label_rule (tenant_id, label, {", ".join(_CONDITIONS)}, made_by)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_COLUMNS}
"""  # noqa: S608 - our own names, as below
LIST = f"SELECT {_COLUMNS} FROM ingest_label_rule WHERE tenant_id = $1 ORDER BY id"  # noqa: S608
REMOVE = f"""
DELETE FROM ingest_label_rule WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608
ADD_AGAIN = f"""
WITH again AS (
    INSERT INTO ingest_label_rule (tenant_id, id, label, {", ".join(_CONDITIONS)}, made_by, made_at)
    OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
)
SELECT setval(pg_get_serial_sequence('ingest_label_rule', 'id'), $2)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a Study comes in: the AE it comes from, its first Institution Name, and who stores it."""

    calling_ae: str
    institution: str
    sender: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What has to be so for a Study to get a label; '' is any."""

    calling_ae: str = ""
    institution: str = ""
    sender: str = ""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A rule, and who made it when."""

    id: int
    label: str
    conditions: Conditions
    made_by: str
    made_at: datetime

    def fits(self, arrival: Arrival) -> bool:
        """Say whether a Study that comes in so gets the label: each condition is met as it is."""
        return all(
            getattr(self.conditions, name) in {"", getattr(arrival, name)} for name in _CONDITIONS
        )


async def load_rules(connection: Connection, tenant_id: int) -> list[LabelRule]:
    """Return all rules of a tenant, oldest first, in the caller's transaction."""
    return [_rule(row) for row in await connection.fetch(LIST, tenant_id)]


async def list_rules(index: Index, tenant_id: int) -> Sequence[LabelRule]:
    """Return all rules of a tenant, oldest first.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_rule(row) for row in await index.fetch(LIST, tenant_id)]


async def add_rule(
    index: Index, tenant_id: int, actor: str, label: str, conditions: Conditions
) -> LabelRule:
    """Keep a new rule; it counts for Studies that are made from now on.

    Raises:
        Conflict: there is the same one, or there are too many.
        Unavailable: the index does not answer.
    """

    async def add(connection: Connection) -> LabelRule:
        if await connection.fetchval(COUNT, tenant_id) >= MOST_RULES:
            raise Conflict(f"There are {MOST_RULES} rules for labels, which is the most")
        said = (label, *(getattr(conditions, name) for name in _CONDITIONS), actor)
        row = await connection.fetchrow(ADD, tenant_id, *said)
        return await _logged(connection, tenant_id, actor, "label-rule-added", row)

    try:
        return await index.retrying(add)
    except asyncpg.UniqueViolationError:
        raise Conflict("There is this rule already") from None


async def remove_rule(index: Index, tenant_id: int, actor: str, number: int) -> None:
    """Take a rule away; the labels that it has put on stay.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """

    async def remove(connection: Connection) -> None:
        row = await connection.fetchrow(REMOVE, tenant_id, number)
        if row is None:
            raise NotFound("Rule for labels", str(number))
        await _logged(connection, tenant_id, actor, "label-rule-removed", row)

    await index.retrying(remove)


async def apply_ingest_rule_event(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again to the rules what an event of the log says, in an index that is made anew."""
    rule = event.payload["rule"]
    if event.kind == "label-rule-added":
        said = (rule["id"], rule["label"], *(rule[name] for name in _CONDITIONS))
        await connection.execute(ADD_AGAIN, tenant_id, *said, event.actor, event.at)
    else:
        await connection.fetchrow(REMOVE, tenant_id, rule["id"])


def _rule(row: Any) -> LabelRule:
    conditions = Conditions(*(row[name] for name in _CONDITIONS))
    return LabelRule(row["id"], row["label"], conditions, row["made_by"], row["made_at"])


async def _logged(
    connection: Connection, tenant_id: int, actor: str, kind: str, row: Any
) -> LabelRule:
    rule = _rule(row)
    conditions = {name: getattr(rule.conditions, name) for name in _CONDITIONS}
    payload = {"rule": {"id": rule.id, "label": rule.label, **conditions}}
    await log_event(connection, tenant_id, kind, actor, payload)
    return rule
