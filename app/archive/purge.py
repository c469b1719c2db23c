"""Purge: what was deleted long enough ago gives back its bytes. There is no way back from it.

The row goes first and the object last, so a crash between them leaves bytes that no row names,
never a row without its bytes. A key is used once, so no other Instance can lose anything.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from app.archive.context import Archive
from app.errors import Forbidden
from app.index.purging import TABLES, Deleted, forget_deleted, list_deleted
from app.index.quarantine import stored_key
from app.rights import Principal


async def always() -> bool:
    """Go on to the end."""
    return True


async def purge_deleted(
    archive: Archive,
    principal: Principal,
    before: datetime,
    tell: Callable[[Deleted], None],
    go_on: Callable[[], Awaitable[bool]] = always,
    *,
    really: bool,
) -> None:
    """Purge what was deleted before and is not held; without `really` only `tell` of each.

    `go_on` is asked before each page.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index or the object store does not answer. What was told of is purged, but
            for the last one's bytes.
    """
    if not principal.administers_all:
        raise Forbidden("Purging is for administrators")
    for table in TABLES:
        page = await list_deleted(archive.index, table, before)
        while page and await go_on():
            gone = page
            if really:
                await archive.objects.check()  # else rows would go, and no bytes
                gone = await forget_deleted(archive.index, table, before, page, principal.name)
            for one in gone:
                tell(one)
                if really:
                    await archive.objects.delete(stored_key(one.object_key))
            page = await list_deleted(archive.index, table, before, page[-1])
