"""How far the scrubber is in each store. One worker holds a store at a time, by a lease."""

from dataclasses import dataclass
from datetime import datetime

from app.index.engine import Index
from app.index.kept import TABLES

LEASE_SECONDS = 600

_TAKE = f"""
INSERT INTO scrubbed_store AS held (name, worker, leased_until)
VALUES ($1, $2, now() + interval '{LEASE_SECONDS} seconds')
ON CONFLICT (name) DO UPDATE SET worker = excluded.worker, leased_until = excluded.leased_until
WHERE held.worker = $2 OR held.leased_until IS NULL OR held.leased_until < now()
RETURNING table_number, last_key, began_at,
    began_at IS NOT NULL AND finished_at IS NULL AS under_way,
    extract(epoch FROM now() - began_at)::float8 AS age
"""  # noqa: S608 - a number of ours, as below
_BEGIN = """
UPDATE scrubbed_store SET began_at = now(), finished_at = NULL, table_number = 0, last_key = 0
WHERE name = $1 AND worker = $2
"""
_SAVE = f"""
UPDATE scrubbed_store SET table_number = $3, last_key = $4,
    leased_until = now() + interval '{LEASE_SECONDS} seconds'
WHERE name = $1 AND worker = $2 RETURNING name
"""  # noqa: S608
_FINISH = """
UPDATE scrubbed_store SET finished_at = now(), verified_from = began_at
WHERE name = $1 AND worker = $2
"""
_RELEASE = "UPDATE scrubbed_store SET leased_until = NULL, worker = '' WHERE worker = $1"
_OLDEST = "SELECT min(stored_at) AS oldest FROM ({}) AS first"
_FIRST = "(SELECT stored_at FROM {table} ORDER BY id LIMIT 1)"
OLDEST = _OLDEST.format(" UNION ALL ".join(_FIRST.format(table=table) for table in TABLES))
_AGES = """
SELECT name, extract(epoch FROM now() - verified_from)::float8 AS age
FROM scrubbed_store WHERE name = ANY($1) AND verified_from IS NOT NULL
"""
_AGE = f"SELECT extract(epoch FROM now() - ({OLDEST}))::float8"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Pass:
    """Where a pass over a store is. `age` are the seconds since it began, None before the first.

    `under_way` is False if it came to its end.
    """

    table_number: int
    last_key: int
    began_at: datetime | None
    under_way: bool
    age: float | None


async def take_store(index: Index, name: str, worker: str) -> Pass | None:
    """Take a store to scrub it, for `LEASE_SECONDS`; None if another worker has it.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_TAKE, name, worker)
    return None if row is None else Pass(*row)


async def begin_pass(index: Index, name: str, worker: str) -> None:
    """Begin a pass at the first object."""
    await index.fetch(_BEGIN, name, worker)


async def save_place(
    index: Index, name: str, worker: str, table_number: int, last_key: int
) -> bool:
    """Save how far a pass is, and renew the lease; False if another worker has it by now."""
    return await index.fetchrow(_SAVE, name, worker, table_number, last_key) is not None


async def finish_pass(index: Index, name: str, worker: str) -> None:
    """Note that all objects were verified."""
    await index.fetch(_FINISH, name, worker)


async def let_go(index: Index, worker: str) -> None:
    """Give up all leases of a worker."""
    await index.fetch(_RELEASE, worker)


async def ages(index: Index, names: list[str]) -> dict[str, float]:
    """Return for each store the most seconds since any of its objects was verified, or stored.

    0 where nothing is kept.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_AGES, names)
    known = {row["name"]: row["age"] for row in rows}
    row = await index.fetchrow(_AGE)
    since: float = (row[0] if row is not None else None) or 0.0
    return {name: max(0.0, min(known.get(name, since), since)) for name in names}
