"""Local users: who may ask by name and password. Names are unique on the whole server."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from app.index.engine import Index
from app.index.events import log_event
from app.index.overrides import end_overrides_of
from app.index.pool import Connection
from app.index.tickets import end_tickets_of
from app.index.web_sessions import end_sessions_of
from app.rights import Role

_COLUMNS = """
id, tenant_id, name, password, roles, labels, disabled, created_at, created_by, changed_at
"""
ADD = f"""
INSERT INTO local_user (tenant_id, name, password, roles, labels, created_by)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - our own names, as below
LIST = f"SELECT {_COLUMNS} FROM local_user WHERE tenant_id = $1 ORDER BY name"  # noqa: S608
FIND = f"SELECT {_COLUMNS} FROM local_user WHERE name = $1"  # noqa: S608
_ONE = f"WHERE tenant_id = $1 AND name = $2 RETURNING {_COLUMNS}"
CHANGE = f"""
UPDATE local_user SET roles = coalesce($3::text[], roles),
    labels = CASE WHEN $5 THEN NULL ELSE coalesce($4::text[], labels) END, changed_at = now()
{_ONE}
"""  # noqa: S608
DISABLE = f"UPDATE local_user SET disabled = $3, changed_at = now() {_ONE}"  # noqa: S608
SET_HASH = f"UPDATE local_user SET password = $3, changed_at = now() {_ONE}"  # noqa: S608
REMOVE = f"DELETE FROM local_user {_ONE}"  # noqa: S608

_RECENT = "since > now() - interval '1 minute' AND since <= now()"
COUNT = f"""
SELECT who, failures,
    greatest(1, ceil(extract(epoch FROM since + interval '1 minute' - now())))::integer AS seconds
FROM failed_login WHERE who = ANY($1) AND {_RECENT}
"""  # noqa: S608
ADD_FAILURE = f"""
INSERT INTO failed_login AS old (who, failures, since)
SELECT who, 1, now() FROM unnest($1::bytea[]) AS new (who) ORDER BY who
ON CONFLICT (who) DO UPDATE SET
    failures = CASE WHEN {_RECENT.replace("since", "old.since")} THEN old.failures + 1 ELSE 1 END,
    since = CASE WHEN {_RECENT.replace("since", "old.since")} THEN old.since ELSE now() END
"""  # noqa: S608
FORGET_FAILURES = "DELETE FROM failed_login WHERE who = ANY($1)"
FORGET_ALL = "DELETE FROM failed_login"
FORGET_OLD = f"DELETE FROM failed_login WHERE NOT ({_RECENT})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class LocalUser:
    """Who may ask. `password` is its hash, as argon2 writes it; `labels` of None: all Studies."""

    id: int
    tenant_id: int
    name: str
    password: str = field(repr=False)
    roles: tuple[Role, ...]
    labels: tuple[str, ...] | None
    disabled: bool
    created_at: datetime
    created_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What a user is given anew; what is None stays. `all_studies`: no labels any more."""

    roles: Sequence[Role] | None = None
    labels: Sequence[str] | None = None
    all_studies: bool = False


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a wrong password came within a minute, and after how many seconds it is over."""

    count: int
    seconds: int


async def add_user(
    index: Index,
    tenant_id: int,
    actor: str,
    name: str,
    password: str,
    rights: tuple[Sequence[Role], Sequence[str] | None],
) -> LocalUser | None:
    """Add a user (`password`: its hash), and log it; None if the name is taken.

    Nothing of who had the name before is left to it. Wrong passwords are forgotten for all names:
    what is kept of them does not say which name it was.

    Raises:
        Unavailable: the index does not answer.
    """
    roles, labels = rights

    async def add(connection: Connection) -> LocalUser | None:
        some = None if labels is None else list(labels)
        row = await connection.fetchrow(ADD, tenant_id, name, password, list(roles), some, actor)
        if row is None:
            return None
        await _end_all_of(connection, tenant_id, name)
        await connection.execute(FORGET_ALL)
        user = _user(row)
        await log_event(connection, tenant_id, "user-added", actor, {"user": _rights_of(user)})
        return user

    return await index.retrying(add)


async def list_users(index: Index, tenant_id: int) -> Sequence[LocalUser]:
    """Return the users of a tenant, by name.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_user(row) for row in await index.fetch(LIST, tenant_id)]


async def find_user(index: Index, name: str) -> LocalUser | None:
    """Return the user of a name, of any tenant, disabled or not.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, name)
    return None if row is None else _user(row)


async def change_user(
    index: Index, tenant_id: int, actor: str, name: str, change: Change
) -> LocalUser | None:
    """Give a user other roles or labels, and log it; None if there is none.

    Raises:
        Unavailable: the index does not answer.
    """
    roles = None if change.roles is None else list(change.roles)
    labels = None if change.labels is None else list(change.labels)
    values = (roles, labels, change.all_studies)
    return await _change(index, (tenant_id, name), ("user-changed", actor), CHANGE, *values)


async def remove_user(index: Index, tenant_id: int, actor: str, name: str) -> bool:
    """Forget a user, and log it; say whether there was one.

    Raises:
        Unavailable: the index does not answer.
    """
    removed = await _change(index, (tenant_id, name), ("user-removed", actor), REMOVE)
    return removed is not None


async def disable_user(
    index: Index, tenant_id: int, actor: str, name: str, *, disabled: bool
) -> bool:
    """Let a user in no more, or again, and log it; say whether there is one.

    Raises:
        Unavailable: the index does not answer.
    """
    kind = "user-disabled" if disabled else "user-enabled"
    changed = await _change(index, (tenant_id, name), (kind, actor), DISABLE, disabled)
    return changed is not None


async def set_password(index: Index, tenant_id: int, actor: str, name: str, password: str) -> bool:
    """Give a user another password (its hash), and log that; say whether there is one.

    Raises:
        Unavailable: the index does not answer.
    """
    how = ("user-password-set", actor)
    return await _change(index, (tenant_id, name), how, SET_HASH, password) is not None


async def _change(
    index: Index, whose: tuple[int, str], how: tuple[str, str], statement: str, *values: object
) -> LocalUser | None:
    """Change a row and log that, in one transaction; what its user has begun or given on ends."""
    tenant_id, name = whose
    kind, actor = how

    async def change(connection: Connection) -> LocalUser | None:
        row = await connection.fetchrow(statement, tenant_id, name, *values)
        if row is None:
            return None
        await _end_all_of(connection, tenant_id, name)
        user = _user(row)
        said = _rights_of(user) if statement is CHANGE else {"name": name}
        await log_event(connection, tenant_id, kind, actor, {"user": said})
        return user

    return await index.retrying(change)


async def _end_all_of(connection: Connection, tenant_id: int, name: str) -> None:
    await end_sessions_of(connection, tenant_id, name)
    await end_tickets_of(connection, tenant_id, "user", name)
    await end_overrides_of(connection, tenant_id, "user", name)


async def count_failures(index: Index, who: Sequence[bytes]) -> dict[bytes, Failures]:
    """Return how often each of them failed within a minute.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(COUNT, list(who))
    return {row["who"]: Failures(row["failures"], row["seconds"]) for row in rows}


async def add_failure(index: Index, who: Sequence[bytes]) -> None:
    """Count a wrong password for each of them; what is a minute old is forgotten.

    Raises:
        Unavailable: the index does not answer.
    """

    async def add(connection: Connection) -> None:
        await connection.execute(FORGET_OLD)
        await connection.execute(ADD_FAILURE, list(who))

    await index.retrying(add)


async def forget_failures(index: Index, who: Sequence[bytes]) -> None:
    """Forget that they failed.

    Raises:
        Unavailable: the index does not answer.
    """
    async with index.at_once() as connection:
        await connection.execute(FORGET_FAILURES, list(who))


def _rights_of(user: LocalUser) -> dict[str, Any]:
    """Return what the log has of who may do what."""
    limited = {} if user.labels is None else {"labels": list(user.labels)}
    return {"name": user.name, "roles": list(user.roles), **limited}


def _user(row: asyncpg.Record) -> LocalUser:
    values: dict[str, Any] = dict(row)
    roles = tuple(Role(role) for role in row["roles"])
    labels = None if row["labels"] is None else tuple(row["labels"])
    return LocalUser(**{**values, "roles": roles, "labels": labels})
