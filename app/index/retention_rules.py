"""Retention rules: what they are about, and which Studies that is, in SQL.

A rule is about Series of some modalities, stations and institutions, and about Studies that bear
one of some labels; an empty list is any. Ages are days in UTC, from Study Date or from when the
last Instance of the Study was stored, to the time that was seen to pass (`index.clock`).

* A rule that deletes takes a Study whole, and only if each of its Series meets the rule: a Study
  with something else in it stays. Without a Study Date it has no age to count from, and stays. It
  also stays while anything was stored or changed in it within the last day.
* A rule that keeps, keeps a Study whole if one of its Series meets the rule. Without a Study Date
  its age is counted from when it was stored.

So whatever is in doubt stays. The texts below name a rule's row `rule` and belong to a statement
that has `study` in it; `as_alias` gives the row another name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from app.errors import Conflict, NotFound
from app.index.access import BEARS
from app.index.clock import SEEN
from app.index.engine import Index
from app.index.events import Event, log_event
from app.index.pool import Connection

_MOMENT = f"({SEEN} - make_interval(days => rule.days))"
_DAY = f"to_char({_MOMENT} AT TIME ZONE 'UTC', 'YYYYMMDD')"
_DATED = "length(study.study_date) = 8"
_LATER = f"""(study.created_at > {_MOMENT} OR EXISTS (
    SELECT FROM instance WHERE instance.study_key = study.id AND stored_at > {_MOMENT}))"""
_SERIES = """(
    (rule.modalities = '{}' OR series.modality = ANY(rule.modalities))
    AND (rule.stations = '{}' OR series.station_name = ANY(rule.stations))
    AND (rule.institutions = '{}' OR series.institution_name = ANY(rule.institutions)))"""
_BORNE = f"(rule.labels = '{{}}' OR {BEARS.format(labels='rule.labels')})"
AT_REST = f"study.updated_at < {SEEN} - interval '24 hours'"
"""Each Store sets `updated_at`."""

TAKES = f"""(
    study.tenant_id = rule.tenant_id AND rule.action = 'delete' AND {AT_REST} AND {_BORNE}
    AND CASE rule.counted_from WHEN 'study-date' THEN {_DATED} AND study.study_date < {_DAY}
        ELSE NOT {_LATER} END
    AND NOT EXISTS (SELECT FROM series WHERE series.study_key = study.id AND NOT {_SERIES}))
"""
KEEPS = f"""(
    study.tenant_id = rule.tenant_id AND rule.action = 'keep' AND {_BORNE}
    AND CASE WHEN rule.counted_from = 'study-date' AND {_DATED} THEN study.study_date > {_DAY}
        ELSE {_LATER} END
    AND EXISTS (SELECT FROM series WHERE series.study_key = study.id AND {_SERIES}))
"""


def as_alias(text: str, alias: str) -> str:
    """Return one of the texts above for a statement that calls the rule's row otherwise."""
    return text.replace("rule.", f"{alias}.")


IS_KEPT = f"""EXISTS (
    SELECT FROM retention_rule keeper
    WHERE keeper.activated_at IS NOT NULL AND {as_alias(KEEPS, "keeper")})
"""
IS_HELD = """EXISTS (
    SELECT FROM hold WHERE hold.tenant_id = study.tenant_id
        AND hold.study_instance_uid = study.study_instance_uid)
"""

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('retention rules ' || $1::integer, 0))"
"""Alone for who changes rules; shared by who acts by them, until its transaction ends."""
SHARE = LOCK.replace("_xact_lock(", "_xact_lock_shared(")

_LISTS = ("modalities", "stations", "institutions", "labels")
_COLUMNS = f"""
id, name, action, days, counted_from, {", ".join(_LISTS)}, made_by, made_at, activated_at
"""
ADD = f"""
INSERT INTO retention_rule (tenant_id, name, action, days, counted_from, {", ".join(_LISTS)},
    made_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING {_COLUMNS}
"""  # noqa: S608
LIST = f"SELECT {_COLUMNS} FROM retention_rule WHERE tenant_id = $1 ORDER BY id"  # noqa: S608
TENANTS = """
SELECT DISTINCT tenant_id FROM retention_rule
WHERE action = 'delete' AND activated_at IS NOT NULL ORDER BY 1
"""
FIND = f"SELECT {_COLUMNS} FROM retention_rule WHERE tenant_id = $1 AND id = $2"  # noqa: S608
ACTIVATE = f"""
UPDATE retention_rule SET activated_at = now()
WHERE tenant_id = $1 AND id = $2 AND activated_at IS NULL RETURNING {_COLUMNS}
"""  # noqa: S608
DEACTIVATE = f"""
UPDATE retention_rule SET activated_at = NULL
WHERE tenant_id = $1 AND id = $2 AND activated_at IS NOT NULL RETURNING {_COLUMNS}
"""  # noqa: S608
REMOVE = f"""
DELETE FROM retention_rule WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608
ADD_AGAIN = f"""
WITH again AS (
    INSERT INTO retention_rule (id, tenant_id, name, action, days, counted_from,
        {", ".join(_LISTS)}, made_by, made_at)
    OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
)
SELECT setval(pg_get_serial_sequence('retention_rule', 'id'), $1)
"""  # noqa: S608
ACTIVATE_AGAIN = """
UPDATE retention_rule SET activated_at = $3 WHERE tenant_id = $1 AND id = $2
"""


class Action(StrEnum):
    """What a rule does."""

    DELETE = "delete"
    """Delete Studies that are older, softly as DELETE does."""
    KEEP = "keep"
    """Refuse to delete Studies that are younger."""


class CountedFrom(StrEnum):
    """Where an age begins."""

    STUDY_DATE = "study-date"
    STORED = "stored"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rule says. `days` is an age; an empty tuple is any value."""

    name: str
    action: Action
    days: int
    counted_from: CountedFrom = CountedFrom.STUDY_DATE
    modalities: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. It does nothing while it is a draft: until it is activated, or if it rests again."""

    id: int
    terms: Terms
    made_by: str
    made_at: datetime
    activated_at: datetime | None


def lists_of(terms: Terms) -> tuple[tuple[str, ...], ...]:
    """Return the values that a rule names, kind by kind."""
    return terms.modalities, terms.stations, terms.institutions, terms.labels


def make_rule(row: Any) -> Rule:
    """Return a rule of its row."""
    terms = Terms(
        row["name"],
        Action(row["action"]),
        row["days"],
        CountedFrom(row["counted_from"]),
        *(tuple(row[name]) for name in _LISTS),
    )
    return Rule(row["id"], terms, row["made_by"], row["made_at"], row["activated_at"])


async def add_rule(index: Index, tenant_id: int, actor: str, terms: Terms) -> Rule:
    """Keep a new rule, as a draft.

    Raises:
        Conflict: there is one of this name.
        Unavailable: the index does not answer.
    """
    lists = [list(values) for values in lists_of(terms)]
    said = (terms.name, terms.action, terms.days, terms.counted_from, *lists)

    async def add(connection: Connection) -> Rule:
        row = await connection.fetchrow(ADD, tenant_id, *said, actor)
        return await _logged(connection, tenant_id, actor, "rule-added", row)

    try:
        return await index.retrying(add)
    except asyncpg.UniqueViolationError:
        raise Conflict(f"There is a retention rule {terms.name!r} already") from None


async def list_rules(index: Index, tenant_id: int) -> Sequence[Rule]:
    """Return all rules, oldest first.

    Raises:
        Unavailable: the index does not answer.
    """
    return [make_rule(row) for row in await index.fetch(LIST, tenant_id)]


async def tenants_that_delete(index: Index) -> list[int]:
    """Return the tenants that have an active rule that deletes.

    Raises:
        Unavailable: the index does not answer.
    """
    return [row["tenant_id"] for row in await index.fetch(TENANTS)]


async def find_rule(index: Index, tenant_id: int, key: int) -> Rule:
    """Return one rule.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, tenant_id, key)
    if row is None:
        raise NotFound("Retention rule", str(key))
    return make_rule(row)


async def activate_rule(index: Index, tenant_id: int, actor: str, key: int) -> Rule:
    """Let a rule act from now on; one that does already stays as it is.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer, or what removes something takes too long.
    """
    await _change(index, tenant_id, actor, key, (ACTIVATE, "rule-activated"))
    return await find_rule(index, tenant_id, key)


async def deactivate_rule(index: Index, tenant_id: int, actor: str, key: int) -> Rule:
    """Let a rule rest, as a draft again; what is under way by it ends before this returns.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer, or what removes something takes too long.
    """
    await _change(index, tenant_id, actor, key, (DEACTIVATE, "rule-deactivated"))
    return await find_rule(index, tenant_id, key)


async def remove_rule(index: Index, tenant_id: int, actor: str, key: int) -> None:
    """Take a rule away; what is under way by it ends before this returns.

    Raises:
        NotFound: there is no such rule.
        Unavailable: the index does not answer, or what removes something takes too long.
    """
    if not await _change(index, tenant_id, actor, key, (REMOVE, "rule-removed")):
        raise NotFound("Retention rule", str(key))


async def _change(
    index: Index, tenant_id: int, actor: str, key: int, how: tuple[str, str]
) -> Rule | None:
    statement, kind = how

    async def change(connection: Connection) -> Rule | None:
        await connection.fetchval(LOCK, tenant_id)
        row = await connection.fetchrow(statement, tenant_id, key)
        return None if row is None else await _logged(connection, tenant_id, actor, kind, row)

    return await index.retrying(change)


async def _logged(connection: Connection, tenant_id: int, actor: str, kind: str, row: Any) -> Rule:
    rule = make_rule(row)
    payload = {"rule": {"id": rule.id, **described(rule.terms)}}
    await log_event(connection, tenant_id, kind, actor, payload)
    return rule


def described(terms: Terms) -> dict[str, Any]:
    """Return what a rule says as JSON has it."""
    return {
        "name": terms.name,
        "action": str(terms.action),
        "days": terms.days,
        "counted_from": str(terms.counted_from),
        **dict(zip(_LISTS, map(list, lists_of(terms)), strict=True)),
    }


async def apply_rule_event(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again to the rules what an event of the log says, in an index that is made anew."""
    rule = {"labels": [], **event.payload["rule"]}  # there were none at first
    match event.kind:
        case "rule-added":
            names = ("name", "action", "days", "counted_from", *_LISTS)
            values = (rule[name] for name in names)
            await connection.execute(
                ADD_AGAIN, rule["id"], tenant_id, *values, event.actor, event.at
            )
        case "rule-activated":
            await connection.execute(ACTIVATE_AGAIN, tenant_id, rule["id"], event.at)
        case "rule-deactivated":
            await connection.execute(ACTIVATE_AGAIN, tenant_id, rule["id"], None)
        case "rule-removed":
            await connection.fetchrow(REMOVE, tenant_id, rule["id"])
