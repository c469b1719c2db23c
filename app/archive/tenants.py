"""Tenants, which the operator of the machine makes; who comes by HTTP learns of no other one."""

import re
from collections.abc import Sequence

from app.archive.context import Archive
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.index import tenants
from app.index.tenants import Tenant
from app.rights import Principal, Scope

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


async def add_tenant(archive: Archive, principal: Principal, name: str) -> int:
    """Make a tenant, with nothing in it and nobody who is let in, and return its number.

    Raises:
        Conflict: the name is taken.
        Forbidden: `principal` is not the operator.
        InvalidRequest: it is no name.
        Unavailable: the index does not answer.
    """
    _check(principal)
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "A tenant's name is up to 63 lower-case letters, digits and '-', and begins with none"
        )
    number = await tenants.add_tenant(archive.index, principal.name, name)
    if number is None:
        raise Conflict(f"There is a tenant {name} already")
    return number


async def list_tenants(archive: Archive, principal: Principal) -> Sequence[Tenant]:
    """Return all tenants.

    Raises:
        Forbidden: `principal` is not the operator.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await tenants.list_tenants(archive.index)


async def operator_of(archive: Archive, principal: Principal, name: str | None) -> Principal:
    """Return the operator as one of a tenant, by its name; without one as they are.

    Raises:
        Forbidden: `principal` is not the operator.
        NotFound: there is no such tenant.
        Unavailable: the index does not answer.
    """
    _check(principal)
    if name is None:
        return principal
    number = await tenants.find_tenant(archive.index, name)
    if number is None:
        raise NotFound("Tenant", name)
    return Principal(principal.name, Scope(number))


def _check(principal: Principal) -> None:
    if principal.kind != "operator":
        raise Forbidden("Tenants are for the operator of this machine")
