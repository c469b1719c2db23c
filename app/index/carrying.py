"""An index from one running PostgreSQL to another one, of whatever version; compared afterwards."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.errors import Unavailable
from app.index.dump import count_tables, restore_dump, snapshot
from app.index.engine import connect
from app.index.faults import index_errors

DIGEST = """
SELECT count(*) AS rows,
    coalesce(sum(('x' || left(md5(it::text), 15))::bit(60)::bigint), 0)::text AS hash
FROM "{0}" it
"""
"""MD5 of a row's text, for PostgreSQL's own hashes may differ from version to version."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What was carried over."""

    tables: int
    rows: int
    size: int
    """Bytes of the dump."""


async def carry_index(source: str, target: str, tell: Callable[[int], None]) -> Carried:
    """Load the index at `source` into the empty database at `target`, all of it or nothing.

    `tell` is told how many bytes have gone over. Nobody writes to either meanwhile.

    Raises:
        Conflict: the target has tables.
        Unavailable: one of them fails, or what arrived is not what was there.
    """
    size = 0

    async def watched(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        nonlocal size
        async for block in blocks:
            size += len(block)
            tell(size)
            yield block

    async with snapshot(source) as taken:
        await restore_dump(target, watched(taken.dump("--compress=none")))
    before, after = await digest_index(source), await digest_index(target)
    other = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if other:
        raise Unavailable(f"these tables did not arrive as they were: {', '.join(other)}")
    return Carried(len(after), sum(int(rows) for rows, _ in after.values()), size)


async def digest_index(url: str) -> dict[str, list[str]]:
    """Return for each table its rows and a hash over them, the same in each version.

    Raises:
        Unavailable: the database does not answer.
    """
    with index_errors(connecting=True):
        connection = await connect(url, statement_seconds=0)
    try:
        with index_errors():
            return await count_tables(connection, DIGEST, ())
    finally:
        await connection.close()
