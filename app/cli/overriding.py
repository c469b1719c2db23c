"""`fileroom overrides`: what is open in an emergency, listed and ended."""

import sys

from app.archive.context import Archive
from app.archive.overrides import end_override, list_overrides
from app.archive.tenants import operator_of
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.overrides import Override
from app.settings import Settings

_NOTE = "fileroom overrides"
_PAGE = 1000


def run_list(settings: Settings, tenant: str | None = None) -> None:
    """Print what is open, one on a line.

    Raises:
        NotFound: there is no such tenant.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        after, there = 0, False
        while found := await list_overrides(archive, operator, after, _PAGE):
            sys.stdout.writelines(f"{describe(one)}\n" for one in found)
            after, there = found[-1].number, True
        if not there:
            sys.stdout.write("nothing is open in an emergency\n")

    with_archive(settings, _NOTE, work)


def run_end(settings: Settings, number: int, tenant: str | None = None) -> None:
    """Close what somebody has opened.

    Raises:
        NotFound: nothing of this number is open, or there is no such tenant.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await end_override(archive, operator, number)
        sys.stdout.write(f"Override {number} opens nothing any more\n")

    with_archive(settings, _NOTE, work)


def describe(one: Override) -> str:
    """Return what is open as a line."""
    until = f"until {one.expires_at:%Y-%m-%d %H:%M}"
    return f"{one.number}: {one.study}, by {one.name} ({one.kind}), {until}: {one.reason}"
