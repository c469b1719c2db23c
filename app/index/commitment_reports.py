"""Storage commitments that a bridge asked for, until it has told the AE what came of them.

A bridge keeps none of this: one that was started anew finds here what it has to wait for and tell.
"""

from dataclasses import dataclass
from datetime import datetime

from app.errors import NotFound
from app.index.access import WITHIN, visible_arguments
from app.index.engine import Index
from app.rights import Scope

_SEEN = f"tenant_id = $1 AND {WITHIN.format(scope='commitment.scope')}"
LIST = f"""
SELECT id, transaction_uid, ae_title, requested_at, finished_at IS NOT NULL AS finished
FROM commitment
WHERE {_SEEN} AND ae_title <> '' AND reported_at IS NULL AND id > $3
    AND ($4::text IS NULL OR ae_title = $4)
ORDER BY id LIMIT $5
"""  # noqa: S608 - our own text, as below
REPORTED = f"""
UPDATE commitment SET reported_at = coalesce(reported_at, now())
WHERE {_SEEN} AND transaction_uid = $3 AND finished_at IS NOT NULL RETURNING id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Unreported:
    """A request whose result an AE was not told; `finished` says whether there is one."""

    id: int
    transaction_uid: str
    ae_title: str
    requested_at: datetime
    finished: bool


async def list_unreported(
    index: Index, scope: Scope, ae_title: str | None, after: int, most: int
) -> list[Unreported]:
    """Return up to `most` requests after a number that were not reported, in their order.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LIST, *visible_arguments(scope), after, ae_title, most)
    return [Unreported(*row) for row in rows]


async def note_reported(index: Index, scope: Scope, transaction_uid: str) -> None:
    """Note that the AE was told; a second time changes nothing.

    Raises:
        NotFound: there is no such request that is finished, or the scope does not cover it.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(REPORTED, *visible_arguments(scope), transaction_uid)
    if row is None:
        raise NotFound("A finished storage commitment request", transaction_uid)
