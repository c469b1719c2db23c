"""What an archive does by itself, put together: in `serve`, or in `fileroom worker`s alone.

Everything here is safe to be done by any number of processes at once: each takes turns by a lease,
a lock or a claim in the index. Two things stay with the processes that serve: the seal, which costs
one SELECT a second and which a DELETE waits for, and thumbnails, which are made of what the same
process has just stored, for its own cache.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from app.archive.audit_outlets import AuditOutlets, audit_told
from app.archive.committing import commitments_kept
from app.archive.context import Archive
from app.archive.copying import copies_kept
from app.archive.deliveries import KIND, deliveries_begun
from app.archive.scrubbing import scrubbed
from app.archive.sealing import sealing
from app.archive.thumbnails_ahead import thumbnails_made_ahead
from app.archive.upkeep import kept_up
from app.jobs.running import jobs_done
from app.turns import Asker, Work, asked, asks


@dataclass(frozen=True, slots=True)
class Duties:
    """What is done. `scrub_days` of 0: nothing is scrubbed; `scrub_rate` is in bytes a second.

    `inside_serve`: processes that serve do all of it, and not only what has to be with them.
    """

    inside_serve: bool
    thumbnails: bool
    scrub_days: float
    scrub_rate: float
    rules: bool
    audit: AuditOutlets = field(default_factory=AuditOutlets)


@asynccontextmanager
async def at_work(archive: Archive, duties: Duties) -> AsyncIterator[None]:
    """Seal, purge, act by rules, scrub, copy, commit, report and do jobs while the block runs."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(sealing(archive.sealer))
        await enter(kept_up(archive, rules=duties.rules))
        if duties.scrub_days:
            await enter(scrubbed(archive, duties.scrub_days, duties.scrub_rate))
        await enter(copies_kept(archive))
        await enter(commitments_kept(archive))
        await enter(audit_told(archive.index, duties.audit))
        deliveries = await enter(deliveries_begun(archive))
        await enter(jobs_done(archive.index, {KIND: deliveries.kind}))
        yield


@asynccontextmanager
async def beside_requests(archive: Archive, duties: Duties) -> AsyncIterator[None]:
    """Do while the block runs what a process that serves does beside it, out of requests' way."""
    async with AsyncExitStack() as stack:
        everything = at_work(archive, duties) if duties.inside_serve else sealing(archive.sealer)
        token = asks(Asker(work=Work.JOB))
        try:
            await stack.enter_async_context(everything)
            if duties.thumbnails:
                await stack.enter_async_context(thumbnails_made_ahead(archive))
        finally:
            asked(token)
        yield
