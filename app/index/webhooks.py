"""Webhooks: who is told of events, and how far. A webhook is a reader of the log (`events`).

It was told of all events up to `after`, in commit order. The delivery under way, of some that
follow, is a job; so no event is lost, whoever dies, and of each webhook there is one delivery.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.index.engine import Index, fetch_at
from app.index.events import Event, Position, make_event
from app.index.pool import Connection
from app.index.reads import IS_READ

MOST_COUNTED = 10_000
"""Events that wait for a webhook, at most, as they are counted."""
STEP = 5_000
"""Events that are looked through at once for some of the kinds that a webhook is told of."""

_COLUMNS = """
id, tenant_id, url, kinds, secret, made_at, after_transaction, after_number, job_id, delivered_at,
disabled
"""
_ADD = f"""
INSERT INTO webhook (tenant_id, url, kinds, secret, made_by, after_transaction, after_number)
SELECT $1::integer, $2::text, $3::text[], $4::text, $5::text,
    coalesce(last.xid::text::bigint, 0), coalesce(last.id, 0)
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT xid, id FROM event WHERE tenant_id = $1 AND xid < event_horizon()
    ORDER BY event.xid DESC, event.id DESC LIMIT 1
) AS last ON true
ON CONFLICT (tenant_id, url) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - our own names, as below
_SELECT = f"SELECT {_COLUMNS} FROM webhook"  # noqa: S608
_LIST = f"{_SELECT} WHERE tenant_id = $1 ORDER BY id"
_FIND = f"{_SELECT} WHERE id = $1"
_IDLE = """
disabled = '' AND NOT EXISTS (
    SELECT FROM job WHERE job.id = webhook.job_id AND job.status IN ('queued', 'picked'))
"""
_LIST_IDLE = f"{_SELECT} WHERE {_IDLE} ORDER BY id"
_LOCK_IDLE = f"""{_SELECT}
WHERE id = $1 AND {_IDLE} FOR UPDATE OF webhook SKIP LOCKED
"""
_LIST_DISABLED = "SELECT id FROM webhook WHERE disabled <> '' ORDER BY id"
_REMOVE = "DELETE FROM webhook WHERE tenant_id = $1 AND id = $2 RETURNING id"
_BEGIN = "UPDATE webhook SET job_id = $2 WHERE id = $1"
_MOVE = "UPDATE webhook SET after_transaction = $2, after_number = $3 WHERE id = $1"
_END = f"""
UPDATE webhook SET after_transaction = $3, after_number = $4, job_id = NULL,
    delivered_at = CASE WHEN $5 THEN now() ELSE delivered_at END
WHERE id = $1 AND job_id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608
_NOTE_DELIVERED = "UPDATE webhook SET delivered_at = now() WHERE id = $1"
_DISABLE = "UPDATE webhook SET disabled = $3, job_id = NULL WHERE id = $1 AND job_id = $2"
_ENABLE = "UPDATE webhook SET disabled = '' WHERE tenant_id = $1 AND id = $2 RETURNING id"

_AFTER = "tenant_id = $1 AND (event.xid, event.id) > ($2::text::xid8, $3::bigint)"
_NEXT_STEP = f"""
SELECT xid::text, id FROM (
    SELECT xid, id FROM event WHERE {_AFTER} AND xid < event_horizon()
    ORDER BY event.xid, event.id LIMIT {STEP}
) AS step ORDER BY step.xid DESC, step.id DESC LIMIT 1
"""  # noqa: S608
_READ = f"""
SELECT xid::text, id, at, kind, actor, payload FROM event
WHERE {_AFTER} AND (event.xid, event.id) <= ($4::text::xid8, $5::bigint)
    AND ($6::text[] = '{{}}' OR kind = ANY($6)) AND NOT {IS_READ}
ORDER BY event.xid, event.id LIMIT $7
"""  # noqa: S608
_LAGS = f"""
SELECT webhook.id, count(told.at) AS waiting,
    coalesce(extract(epoch FROM now() - min(told.at)), 0)::float8 AS lag_seconds
FROM webhook LEFT JOIN LATERAL (
    SELECT at FROM event WHERE event.tenant_id = webhook.tenant_id
        AND (event.xid, event.id)
            > (webhook.after_transaction::text::xid8, webhook.after_number)
        AND (webhook.kinds = '{{}}' OR kind = ANY(webhook.kinds)) AND NOT {IS_READ}
    ORDER BY event.xid, event.id LIMIT {MOST_COUNTED}
) AS told ON true
GROUP BY webhook.id ORDER BY webhook.id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is told of events of these `kinds`, or of all; `secret` is what signs what is told."""

    id: int
    tenant_id: int
    url: str
    kinds: Sequence[str]
    secret: str = field(repr=False)
    made_at: datetime
    after: Position
    job_id: int | None
    delivered_at: datetime | None
    disabled: str


@dataclass(frozen=True, slots=True)
class Lag:
    """How many events wait for a webhook, up to `MOST_COUNTED`, and how long the oldest does."""

    webhook: int
    waiting: int
    lag_seconds: float


async def add_webhook(
    index: Index, tenant_id: int, url: str, kinds: Sequence[str], secret: str, actor: str
) -> Webhook | None:
    """Have a URL told of what comes from now on; None if it is told already.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_ADD, tenant_id, url, list(kinds), secret, actor)
    return None if row is None else _webhook(row)


async def list_webhooks(index: Index, tenant_id: int) -> list[Webhook]:
    """Return the webhooks of a tenant, the first one made first.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_webhook(row) for row in await index.fetch(_LIST, tenant_id)]


async def list_idle(index: Index) -> list[Webhook]:
    """Return the webhooks of all tenants that no delivery is under way for.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_webhook(row) for row in await index.fetch(_LIST_IDLE)]


async def find_webhook(index: Index, number: int) -> Webhook | None:
    """Return a webhook, None if there is none of this number any more.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_FIND, number)
    return None if row is None else _webhook(row)


async def lock_idle(connection: Connection, number: int) -> Webhook | None:
    """Return a webhook that no delivery is under way for, and keep others from beginning one.

    None if there is one by now, or somebody is about to begin it.
    """
    row = await connection.fetchrow(_LOCK_IDLE, number)
    return None if row is None else _webhook(row)


async def remove_webhook(connection: Connection, tenant_id: int, number: int) -> bool:
    """Tell nothing any more; False if there is none of this number."""
    return await connection.fetchval(_REMOVE, tenant_id, number) is not None


async def enable_webhook(index: Index, tenant_id: int, number: int) -> bool:
    """Go on with a webhook where it was disabled; False if there is none of this number.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.fetchrow(_ENABLE, tenant_id, number) is not None


async def begin_delivery(connection: Connection, number: int, job: int) -> None:
    """Note which job tells of the next events."""
    await connection.execute(_BEGIN, number, job)


async def pass_over(connection: Connection, number: int, after: Position) -> None:
    """Note that up to a position nothing is to be told."""
    await connection.execute(_MOVE, number, after.transaction, after.number)


async def end_delivery(
    connection: Connection, number: int, job: int, after: Position, *, delivered: bool
) -> Webhook | None:
    """Note that a job's events up to `after` were told, or are left to a dead letter.

    None if this job was not the one that the webhook went on by: a dead letter that was retried.
    """
    row = await connection.fetchrow(_END, number, job, after.transaction, after.number, delivered)
    if row is None and delivered:
        await connection.execute(_NOTE_DELIVERED, number)
    return None if row is None else _webhook(row)


async def disable_webhook(connection: Connection, number: int, job: int, why: str) -> None:
    """Tell nothing any more until it is enabled; then it goes on with the same events."""
    await connection.execute(_DISABLE, number, job, why)


async def next_step(connection: Connection, tenant_id: int, after: Position) -> Position | None:
    """Return how far the log can be looked through after a position, None if nothing is new.

    Up to there, and up to `STEP` events, its order is final.
    """
    row = await connection.fetchrow(_NEXT_STEP, tenant_id, *_place(after))
    return None if row is None else Position(int(row["xid"]), row["id"])


async def read_kinds(
    connection: Connection, webhook: Webhook, after: Position, until: Position, most: int
) -> list[Event]:
    """Return the events of a webhook's kinds after a position and up to another, at most so many.

    They are the same each time, if the order is final up to `until`.
    """
    place = (*_place(after), *_place(until))
    rows = await connection.fetch(_READ, webhook.tenant_id, *place, webhook.kinds, most)
    return [make_event(row) for row in rows]


async def webhook_lags(index: Index) -> list[Lag]:
    """Return what waits for each webhook of all tenants.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Lag(*row) for row in await index.fetch(_LAGS)]


def disabled_at(url: str) -> list[int]:
    """Return which webhooks are disabled, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """
    return [row["id"] for row in fetch_at(url, _LIST_DISABLED)]


def _place(position: Position) -> tuple[str, int]:
    return str(position.transaction), position.number


def _webhook(row: Any) -> Webhook:
    return Webhook(
        id=row["id"],
        tenant_id=row["tenant_id"],
        url=row["url"],
        kinds=row["kinds"],
        secret=row["secret"],
        made_at=row["made_at"],
        after=Position(row["after_transaction"], row["after_number"]),
        job_id=row["job_id"],
        delivered_at=row["delivered_at"],
        disabled=row["disabled"],
    )
