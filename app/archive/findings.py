"""What is known to be lost, and how safe the rest is: for operators, their probes and alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.archive.context import Archive
from app.archive.stores import stores_of
from app.errors import Forbidden
from app.index.copies import Queue, list_queues
from app.index.findings import FoundFault, count_faults, list_faults
from app.index.scrubs import ages
from app.rights import Principal

MOST = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a store; `lag` is how many seconds the oldest of it has."""

    store: str
    waiting: int
    lag: float
    dead: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Safety:
    """By store the most seconds since an object was verified, what waits; findings by state."""

    ages: Mapping[str, float]
    queues: Sequence[Waiting]
    findings: Mapping[str, int]


async def list_findings(
    archive: Archive, principal: Principal, after: int, limit: int
) -> list[FoundFault]:
    """Return objects that are known to be lost, in a store or (`store` is '') in all.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    if not principal.administers_all:
        raise Forbidden("Findings are for administrators")
    return await list_faults(archive.index, principal.scope.tenant_id, after, limit=limit)


async def count_safety(archive: Archive) -> Safety:
    """Return how safe what is stored is, of all tenants.

    Raises:
        Unavailable: the index does not answer.
    """
    names = list(stores_of(archive.objects))
    return Safety(
        await ages(archive.index, names),
        [_waiting(queue) for queue in await list_queues(archive.index)],
        await count_faults(archive.index),
    )


def _waiting(queue: Queue) -> Waiting:
    lag = max(0.0, (datetime.now(UTC) - queue.oldest).total_seconds())
    return Waiting(queue.store, queue.waiting, lag, queue.dead, queue.last_error)
