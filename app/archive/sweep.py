"""Sweep: objects that no row names give back their bytes, such as those of a Store that was killed.

What is young is left alone, and what a Store may still name that is known to take long. Of the rest
each is condemned in the index (`index.sweeping`) right before it is deleted: a row that came
meanwhile keeps it, and none can come after.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.archive.context import Archive
from app.archive.stores import stores_of
from app.archive.verify import Verified, find_unnamed
from app.errors import Forbidden, NotFound, Unavailable
from app.index.sweeping import Unnamed, condemn, forget_swept, oldest_store
from app.objects.retries import tries
from app.objects.staging import find_strays
from app.rights import Principal

SHORTEST_GRACE = 3600.0
"""Seconds: younger objects are never swept. Stores that take longer tell of it in time."""
PAGE = 100
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Swept:
    """Something that nobody needs: an object of this key, or a file left in staging."""

    name: str
    size: int
    instance: str = ""


async def sweep_unnamed(
    archive: Archive,
    principal: Principal,
    grace_seconds: float,
    tell: Callable[[Swept], None],
    *,
    really: bool,
) -> None:
    """Delete objects that no row names and that are older than a grace; or only `tell` of them.

    Files that lie about in the staging directory for so long go, too. An object whose name is none
    of an Instance's is never touched.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index or the store does not answer.
    """
    if not principal.administers_all:
        raise Forbidden("Sweeping is for administrators")
    latest = time.time() - max(grace_seconds, SHORTEST_GRACE)
    running = await oldest_store(archive.index)
    if running is not None:
        latest = min(latest, running.timestamp())
    page: list[Verified] = []
    async for one in _unnamed(archive, latest):
        page.append(one)
        if len(page) == PAGE:
            await _sweep(archive, principal, page, tell, really=really)
            page = []
    if page:
        await _sweep(archive, principal, page, tell, really=really)
    await _sweep_staging(archive, latest, tell, really=really)
    if really:
        await forget_swept(archive.index)


async def _unnamed(archive: Archive, latest: float) -> AsyncIterator[Verified]:
    """Yield objects of Instances in any store that no row names."""
    for store in stores_of(archive.objects).values():
        async for one in find_unnamed(archive, store, "t/", latest):
            if one.instance:
                yield one


async def _sweep(
    archive: Archive,
    principal: Principal,
    page: list[Verified],
    tell: Callable[[Swept], None],
    *,
    really: bool,
) -> None:
    unnamed = [Unnamed(one.object_key, one.study, one.instance) for one in page]
    if really:
        unnamed = await _condemn(archive, unnamed, principal.name)
    for one in unnamed:
        try:
            size = await archive.objects.size(one.object_key)
        except NotFound:
            continue  # another sweep was faster
        if really:
            await archive.objects.delete(one.object_key)
        tell(Swept(one.object_key, size, one.instance))


async def _condemn(archive: Archive, page: list[Unnamed], actor: str) -> list[Unnamed]:
    """Condemn objects, tenant by tenant; try again where others write without a pause."""
    swept: list[Unnamed] = []
    for tenant in sorted({_tenant(one) for one in page}):
        mine = [one for one in page if _tenant(one) == tenant]
        async for attempt in tries(Unavailable, _ATTEMPTS, 1.0):
            with attempt:
                swept += await condemn(archive.index, tenant, mine, actor)
    return swept


def _tenant(one: Unnamed) -> int:
    return int(one.object_key.split("/")[1])


async def _sweep_staging(
    archive: Archive, before: float, tell: Callable[[Swept], None], *, really: bool
) -> None:
    staging = archive.staging
    for path in await staging.threads.run(find_strays, staging.directory.parent, before):
        tell(Swept(f"staging/{path.name}", path.stat().st_size))
        if really:
            await staging.threads.run(path.unlink, True)
