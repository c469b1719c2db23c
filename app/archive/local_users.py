"""Local users: a name and a password, for a site without a provider of identities."""

import asyncio
from collections.abc import Collection, Sequence

from app.archive.context import Archive
from app.archive.granting import check_administers, check_name, read_grant
from app.archive.remembered import LEASE_SECONDS
from app.archive.tickets import end_given
from app.errors import Conflict, NotFound
from app.index import local_users
from app.index.local_users import LocalUser
from app.rights import Principal


async def add_user(
    archive: Archive,
    principal: Principal,
    name: str,
    password: str,
    roles: Collection[str],
    labels: Collection[str] | None = None,
) -> LocalUser:
    """Let somebody in by name and password, wherever that is switched on.

    Raises:
        Conflict: the name is taken.
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: name, password, roles or labels are none.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    checked, grant = check_name(name), read_grant(roles, labels)
    known = await archive.users.passwords.make(password)
    rights = (grant.roles, grant.labels)
    tenant_id, actor = principal.scope.tenant_id, principal.name
    made = await local_users.add_user(archive.index, tenant_id, actor, checked, known, rights)
    if made is None:
        raise Conflict(f"There is a user {checked} already")
    return made


async def list_users(archive: Archive, principal: Principal) -> Sequence[LocalUser]:
    """Return all users, by name.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    return await local_users.list_users(archive.index, principal.scope.tenant_id)


async def disable_user(
    archive: Archive, principal: Principal, name: str, *, disabled: bool = True
) -> None:
    """Let a user in no more, or again: when this returns, every process does so.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: it is no name.
        NotFound: there is no such user.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    check_name(name)
    tenant_id, actor = principal.scope.tenant_id, principal.name
    if not await local_users.disable_user(archive.index, tenant_id, actor, name, disabled=disabled):
        raise NotFound("User", name)
    await asyncio.sleep(LEASE_SECONDS)
    await end_given(archive, tenant_id, "user", name)


async def set_password(archive: Archive, principal: Principal, name: str, password: str) -> None:
    """Give a user another password: when this returns, no process takes the one before.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: it is no name, or the password is too short, or very long.
        NotFound: there is no such user.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    check_name(name)
    known = await archive.users.passwords.make(password)
    tenant_id, actor = principal.scope.tenant_id, principal.name
    if not await local_users.set_password(archive.index, tenant_id, actor, name, known):
        raise NotFound("User", name)
    await asyncio.sleep(LEASE_SECONDS)
    await end_given(archive, tenant_id, "user", name)
