"""`fileroom tenants`: institutions on one server, made and listed."""

import sys

from app.archive.context import Archive
from app.archive.tenants import add_tenant, list_tenants
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.tenants import Tenant
from app.settings import Settings

_NOTE = "fileroom tenants"


def run_add(settings: Settings, name: str) -> None:
    """Make a tenant.

    Raises:
        Conflict, InvalidRequest: the name is taken, or none.
        Refusal: the archive cannot be opened.
    """

    async def work(archive: Archive) -> None:
        number = await add_tenant(archive, OPERATOR, name)
        sys.stdout.write(
            f"Tenant {number} is {name}; nobody is let in yet. Next: "
            f"`fileroom keys create NAME --admin --tenant {name}`\n"
        )

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print all tenants, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        found = await list_tenants(archive, OPERATOR)
        sys.stdout.writelines(f"{describe(tenant)}\n" for tenant in found)

    with_archive(settings, _NOTE, work)


def describe(tenant: Tenant) -> str:
    """Return a tenant as a line."""
    counts = f"{tenant.studies:,} Studies, {tenant.keys} keys, {tenant.users} users"
    return f"{tenant.number}: {tenant.name}; {counts}"
