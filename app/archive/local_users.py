"""Local users: a name and a password, for a site without a provider of identities."""

import asyncio
from collections.abc import Collection, Sequence

from app.archive.context import Archive
from app.archive.granting import (
    check_administers,
    check_name,
    read_grant,
    read_labels,
    read_roles,
)
from app.archive.remembered import LEASE_SECONDS
from app.archive.tickets import end_given
from app.errors import Conflict, InvalidRequest, NotFound
from app.index import local_users
from app.index.local_users import Change, LocalUser
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


async def change_user(
    archive: Archive,
    principal: Principal,
    name: str,
    *,
    roles: Collection[str] | None = None,
    labels: Collection[str] | None = None,
    all_studies: bool = False,
) -> LocalUser:
    """Give a user other roles, labels, or all Studies; what is not named stays as it is.

    When this returns, no process knows what the user could do before: sessions and tickets from
    then are over.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: it is no name, roles or labels are none, or nothing is to change.
        NotFound: there is no such user.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    check_name(name)
    change = _read_change(roles, labels, all_studies=all_studies)
    tenant_id, actor = principal.scope.tenant_id, principal.name
    changed = await local_users.change_user(archive.index, tenant_id, actor, name, change)
    if changed is None:
        raise NotFound("User", name)
    await _wait(archive, tenant_id, name)
    return changed


async def remove_user(archive: Archive, principal: Principal, name: str) -> None:
    """Forget a user: when this returns, no process lets it in, and the name is free.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: it is no name.
        NotFound: there is no such user.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    check_name(name)
    tenant_id, actor = principal.scope.tenant_id, principal.name
    if not await local_users.remove_user(archive.index, tenant_id, actor, name):
        raise NotFound("User", name)
    await _wait(archive, tenant_id, name)


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
    await _wait(archive, tenant_id, name)


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
    await _wait(archive, tenant_id, name)


async def _wait(archive: Archive, tenant_id: int, name: str) -> None:
    """Return when no process knows what was, nor what it has begun by that."""
    await asyncio.sleep(LEASE_SECONDS)
    await end_given(archive, tenant_id, "user", name)


def _read_change(
    roles: Collection[str] | None, labels: Collection[str] | None, *, all_studies: bool
) -> Change:
    if roles is None and labels is None and not all_studies:
        raise InvalidRequest("Roles, labels or all studies were expected; nothing would change")
    if labels is not None and all_studies:
        raise InvalidRequest("Labels or all studies were expected, not both")
    return Change(
        None if roles is None else read_roles(roles),
        None if labels is None else read_labels(labels),
        all_studies,
    )
