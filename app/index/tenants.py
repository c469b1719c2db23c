"""Tenants: institutions on one server, each with its own Studies, callers, labels and log."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import DEFAULT_TENANT

TENANT_ADDED = "tenant-added"
_LOCK = "LOCK TABLE tenant IN SHARE ROW EXCLUSIVE MODE"
_ADD = """
INSERT INTO tenant (id, name) SELECT max(id) + 1, $1 FROM tenant
ON CONFLICT (name) DO NOTHING RETURNING id
"""
_LIST = """
SELECT id, name,
    (SELECT coalesce(sum(studies), 0)::bigint FROM tally WHERE tenant_id = tenant.id) AS studies,
    (SELECT count(*) FROM api_key WHERE tenant_id = tenant.id AND revoked_at IS NULL
        AND coalesce(expires_at > now(), true)) AS keys,
    (SELECT count(*) FROM local_user WHERE tenant_id = tenant.id AND NOT disabled) AS users
FROM tenant ORDER BY id
"""
_RESTORE = f"""
INSERT INTO tenant (id, name)
SELECT number, coalesce(min(name), 'tenant-' || number) FROM (
    SELECT unnest($1::integer[]) AS number, NULL AS name
    UNION ALL
    SELECT (payload->'tenant'->>'number')::integer, payload->'tenant'->>'name' FROM event
    WHERE tenant_id = {DEFAULT_TENANT} AND kind = '{TENANT_ADDED}'
) AS known GROUP BY number ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own words
_FIND = "SELECT id FROM tenant WHERE name = $1"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, and how many Studies it has, and keys and users who are let in."""

    number: int
    name: str
    studies: int
    keys: int
    users: int


async def add_tenant(index: Index, actor: str, name: str) -> int | None:
    """Make a tenant, tell of it in the log of the first one, and return its number.

    None: the name is taken.

    Raises:
        Unavailable: the index does not answer.
    """

    async def add(connection: Connection) -> int | None:
        await connection.execute(_LOCK)
        number: int | None = await connection.fetchval(_ADD, name)
        if number is not None:
            payload = {"tenant": {"number": number, "name": name}}
            await log_event(connection, DEFAULT_TENANT, TENANT_ADDED, actor, payload)
        return number

    return await index.retrying(add)


async def restore_tenants(index: Index, numbers: Sequence[int]) -> None:
    """Make rows for tenants again, with the names that the log of the first one has.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.writing() as connection:
        await connection.execute(_RESTORE, list(numbers))


async def find_tenant(index: Index, name: str) -> int | None:
    """Return the number of the tenant of this name, None if there is none.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_FIND, name)
    return None if row is None else int(row["id"])


async def list_tenants(index: Index) -> Sequence[Tenant]:
    """Return all tenants, by number.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Tenant(*row) for row in await index.fetch(_LIST)]
