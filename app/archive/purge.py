"""Purge: what was deleted long enough ago gives back its bytes. There is no way back from it.

The row goes first and the object last, so a crash between them leaves bytes that no row names,
never a row without its bytes. A key is used once, so no other Instance can lose anything.
"""

from collections.abc import Callable
from datetime import datetime

from app.archive.context import Archive
from app.errors import Forbidden
from app.index.purging import TABLES, Deleted, forget_deleted, list_deleted
from app.index.quarantine import stored_key
from app.rights import Principal, Verb


async def purge_deleted(
    archive: Archive,
    principal: Principal,
    before: datetime,
    tell: Callable[[Deleted], None],
    *,
    really: bool,
) -> None:
    """Purge what was deleted before; without `really` only `tell` of each.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index or the object store does not answer. What was told of is purged, but
            for the last one's bytes.
    """
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Purging is for administrators")
    for table in TABLES:
        after = 0
        while page := await list_deleted(archive.index, table, before, after):
            after = page[-1].id
            gone = page
            if really:
                gone = await forget_deleted(archive.index, table, page, principal.name)
            for one in gone:
                tell(one)
                if really:
                    await archive.objects.delete(stored_key(one.object_key))
