"""What waits in the queue, for operators: to be seen, to be tried again, to be given up."""

from collections.abc import AsyncIterator, Sequence

from app.archive.context import Archive
from app.errors import Forbidden, NotFound
from app.jobs import queue
from app.jobs.queue import SeenJob
from app.rights import Principal


async def list_jobs(
    archive: Archive, principal: Principal, *, dead: bool
) -> AsyncIterator[SeenJob]:
    """Return an iterator over the jobs, or over the `dead` ones, in the order of their numbers.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)

    async def pages() -> AsyncIterator[SeenJob]:
        after = 0
        while page := await queue.list_jobs(archive.index, after, dead=dead):
            for job in page:
                yield job
            after = page[-1].id

    return pages()


async def retry_jobs(
    archive: Archive, principal: Principal, numbers: Sequence[int] | None
) -> Sequence[int]:
    """Have jobs done now, be they dead or waiting; None: all dead ones. Return which.

    Raises:
        NotFound: one of them is neither; the others are done all the same.
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    found = await queue.retry_jobs(archive.index, numbers)
    for number in numbers or ():
        if number not in found:
            raise NotFound("Job", str(number))
    return found


async def discard_job(archive: Archive, principal: Principal, number: int) -> None:
    """Give up a dead letter.

    Raises:
        NotFound: there is none of this number.
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    if not await queue.discard_job(archive.index, number):
        raise NotFound("Dead letter", str(number))


def _check(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("The queue is for administrators")
