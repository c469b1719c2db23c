"""API keys: for scripts, viewers and bridges. What a key is, only who made it has seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from app.index.engine import Index, fetch_at
from app.index.events import log_event
from app.index.pool import Connection
from app.index.tickets import end_tickets_of
from app.rights import Role

_COLUMNS = """
id, tenant_id, name, roles, labels, created_at, created_by, expires_at, revoked_at, last_used_at
"""
ADD = f"""
INSERT INTO api_key (id, tenant_id, name, digest, roles, labels, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(days => $8))
ON CONFLICT (tenant_id, name) WHERE revoked_at IS NULL DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - our own names, as below
LIST = f"SELECT {_COLUMNS} FROM api_key WHERE tenant_id = $1 ORDER BY created_at, id"  # noqa: S608
REVOKE = """
UPDATE api_key SET revoked_at = now()
WHERE tenant_id = $1 AND name = $2 AND revoked_at IS NULL RETURNING id
"""
FIND = f"""
SELECT {_COLUMNS}, digest, coalesce(expires_at <= now(), false) AS expired,
    coalesce(last_used_at < now() - interval '1 minute', true) AS unnoted
FROM api_key WHERE id = $1
"""  # noqa: S608
NOTE_USE = """
UPDATE api_key SET last_used_at = now()
WHERE id = $1 AND coalesce(last_used_at < now() - interval '1 minute', true)
"""
LIVING = """
SELECT name, 'administrator' = ANY(roles) AND labels IS NULL,
    expires_at <= now() + make_interval(days => $1) FROM api_key
WHERE revoked_at IS NULL AND coalesce(expires_at > now(), true) ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made. `labels` of None are all Studies, `days` of None never end."""

    id: str
    digest: bytes = field(repr=False)
    name: str
    roles: Sequence[Role]
    labels: Sequence[str] | None
    days: int | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; `labels` of None are all Studies."""

    id: str
    tenant_id: int
    name: str
    roles: tuple[Role, ...]
    labels: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key by its id: what is known of it, and whether the whole of it is `digest`.

    `unnoted`: that it is used should be noted.
    """

    key: ApiKey
    digest: bytes = field(repr=False)
    expired: bool
    unnoted: bool


@dataclass(frozen=True, slots=True)
class LivingKey:
    """A key that is neither revoked nor expired: does it open everything, does it expire soon?"""

    name: str
    opens_all: bool
    expires_soon: bool


async def add_key(index: Index, tenant_id: int, actor: str, new: NewKey) -> ApiKey | None:
    """Keep a new key, and log it; None if a living one of the tenant has its name.

    Raises:
        Unavailable: the index does not answer.
    """

    async def add(connection: Connection) -> ApiKey | None:
        row = await connection.fetchrow(
            ADD,
            *(new.id, tenant_id, new.name, new.digest, list(new.roles)),
            *(None if new.labels is None else list(new.labels), actor, new.days),
        )
        if row is None:
            return None
        labels = {} if new.labels is None else {"labels": list(new.labels)}
        said = {"id": new.id, "name": new.name, "roles": list(new.roles), **labels}
        await log_event(connection, tenant_id, "key-created", actor, {"key": said})
        return _key(row)

    return await index.retrying(add)


async def list_keys(index: Index, tenant_id: int) -> Sequence[ApiKey]:
    """Return the keys of a tenant, the oldest first, revoked ones too.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_key(row) for row in await index.fetch(LIST, tenant_id)]


async def revoke_key(index: Index, tenant_id: int, actor: str, name: str) -> bool:
    """Let a key count no more, and log it; say whether there was one.

    Raises:
        Unavailable: the index does not answer.
    """

    async def revoke(connection: Connection) -> bool:
        number = await connection.fetchval(REVOKE, tenant_id, name)
        if number is not None:
            for kind in ("key", "service"):
                await end_tickets_of(connection, tenant_id, kind, name)
            said = {"key": {"id": number, "name": name}}
            await log_event(connection, tenant_id, "key-revoked", actor, said)
        return number is not None

    return await index.retrying(revoke)


async def find_key(index: Index, key_id: str) -> FoundKey | None:
    """Return the key of an id, of any tenant.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, key_id)
    if row is None:
        return None
    return FoundKey(_key(row), row["digest"], row["expired"], row["unnoted"])


async def note_use(index: Index, key_id: str) -> None:
    """Note that a key is used, once a minute.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.at_once() as connection:
        await connection.execute(NOTE_USE, key_id)


def living_keys_at(url: str, soon_days: int) -> list[LivingKey]:
    """Return the keys that count, of any tenant, by name. `soon_days`: what "soon" is.

    Raises:
        Unavailable: the database does not answer.
    """
    return [LivingKey(row[0], row[1], bool(row[2])) for row in fetch_at(url, LIVING, soon_days)]


def _key(row: asyncpg.Record) -> ApiKey:
    labels = row["labels"]
    return ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        roles=tuple(Role(role) for role in row["roles"]),
        labels=None if labels is None else tuple(labels),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
