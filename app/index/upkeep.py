"""Work that one process does for all of them: who is at it, and when it was done last.

A lease in a row, not a lock of a connection's: it outlives the connections of a pool, and is free
again when its holder has died. What is done under it has to be safe without it all the same: who
was suspended may come back when another is at it.
"""

from app.index.engine import Index

LEASE_SECONDS = 120.0

BEGIN = """
INSERT INTO upkeep AS old (name, holder, held_until)
VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE (old.held_until < now() OR old.holder = excluded.holder)
    AND (old.done_at IS NULL OR old.done_at < now() - make_interval(secs => $4))
RETURNING true
"""
RENEW = """
UPDATE upkeep SET held_until = now() + make_interval(secs => $3)
WHERE name = $1 AND holder = $2 RETURNING true
"""
LEAVE = """
UPDATE upkeep SET held_until = now(), done_at = CASE WHEN $3 THEN now() ELSE done_at END
WHERE name = $1 AND holder = $2
"""


async def begin_upkeep(index: Index, name: str, holder: str, every_seconds: float) -> bool:
    """Say whether some work is due, and `holder` is the one who does it.

    It is due `every_seconds` after it was done last; others leave it alone for `LEASE_SECONDS`.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(BEGIN, name, holder, LEASE_SECONDS, every_seconds)
    return row is not None


async def renew_upkeep(index: Index, name: str, holder: str) -> bool:
    """Stay the one who does some work; say whether `holder` is it still.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.fetchrow(RENEW, name, holder, LEASE_SECONDS) is not None


async def leave_upkeep(index: Index, name: str, holder: str, *, done: bool) -> None:
    """Leave some work that is `done` for now; or to whoever looks next.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(LEAVE, name, holder, done)
