"""The whole index as PostgreSQL's own dump, all of one moment, and back again.

While a dump is made nothing is purged: a lock keeps the objects that its rows name.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from urllib.parse import unquote, urlsplit

from app.errors import Conflict, Unavailable
from app.index.backup_runs import FLEETING, UNCOUNTED
from app.index.binaries import installed_programs
from app.index.engine import connect
from app.index.events import Position
from app.index.faults import index_errors
from app.index.kept import KeptObject, list_kept, list_segment_keys
from app.index.log_offset import continue_log
from app.index.pool import Connection

LOCK = 0x46494C4542414B55
"""The advisory lock's key: FILEBAKU in ASCII. Who purges takes it, too, shared."""
_BLOCK = 2**20
_TABLES = """
SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND relkind = 'r' AND NOT relname = ANY($1) ORDER BY relname
"""
_COUNT = """
SELECT count(*) AS rows, coalesce(sum(hash_record_extended(it, 0)::numeric), 0)::text AS hash
FROM "{0}" it
"""
_LAST = "SELECT xid::text, id FROM event ORDER BY event.xid DESC, id DESC LIMIT 1"
_SINCE = "SELECT count(*) FROM event WHERE (event.xid, id) > ($1::text::xid8, $2::bigint)"


class Snapshot:
    """The index at one moment, for as long as its block lasts."""

    def __init__(self, url: str, connection: Connection, name: str, at: datetime) -> None:
        self.at = at
        self._url = url
        self._connection = connection
        self._name = name

    def dump(self, *more: str) -> AsyncIterator[bytes]:
        """Return the dump, to be read to its end; `more` are further flags of `pg_dump`.

        Raises:
            Unavailable: it breaks off.
        """
        flags = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={self._name}"]
        return _output("pg_dump", [*flags, *more], self._url)

    def lasting(self) -> AsyncIterator[bytes]:
        """Return the dump as `dump` does, without the rows that no backup has (`FLEETING`)."""
        return self.dump(*(f"--exclude-table-data=public.{table}" for table in FLEETING))

    def kept(self) -> AsyncIterator[KeptObject]:
        """Yield what its rows name, in their order."""
        return list_kept(self._connection)

    def segments(self) -> AsyncIterator[str]:
        """Yield the keys of the segments of the log that it names."""
        return list_segment_keys(self._connection)

    async def tables(self) -> dict[str, list[str]]:
        """Return for each table how many rows it has, and a hash over them."""
        return await count_tables(self._connection)

    async def position(self) -> Position:
        """Return that of its last event."""
        row = await self._connection.fetchrow(_LAST)
        return Position(int(row["xid"]), row["id"]) if row else Position()

    async def revision(self) -> str:
        """Return the schema's."""
        return str(await self._connection.fetchval("SELECT version_num FROM alembic_version"))


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Hold the index as it is now, for a block that may take hours.

    Raises:
        Conflict: another one is held.
        Unavailable: the database does not answer.
    """
    with index_errors(connecting=True):
        connection = await connect(
            url, statement_seconds=0, idle_in_transaction_session_timeout="0"
        )
    try:
        with index_errors():
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                raise Conflict("another backup is being made")
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = await connection.fetchrow("SELECT pg_export_snapshot(), now()")
            assert row is not None  # noqa: S101 - no FROM, so one row
            yield Snapshot(url, connection, row[0], row[1])
    finally:
        with suppress(OSError):
            await connection.close()


async def restore_dump(url: str, dump: AsyncIterator[bytes]) -> None:
    """Load a dump into a database that is empty; all of it or nothing.

    Raises:
        Conflict: the database has tables.
        Unavailable: it does not answer, or does not take the dump.
    """
    connection = await _connection(url)
    try:
        if await connection.fetch(_TABLES, []):
            raise Conflict("the database to restore into is not empty")
    finally:
        await connection.close()
    flags = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    async for _ in _output("pg_restore", flags, url, dump):
        pass  # it says nothing where all is well


async def settle_log(url: str) -> int:
    """Let the log of an index that has come from elsewhere, of this version, go on after its last
    event; return by how much transaction ids are raised for it, 0 where there was nothing to do.

    Raises:
        Unavailable: the database does not answer.
    """
    connection = await _connection(url)
    try:
        with index_errors():
            return await continue_log(connection)
    finally:
        await connection.close()


async def server_version(url: str) -> int:
    """Return the version of PostgreSQL, such as 180006.

    Raises:
        Unavailable: it does not answer.
    """
    connection = await _connection(url)
    try:
        return int(await connection.fetchval("SHOW server_version_num"))
    finally:
        await connection.close()


async def compare_tables(url: str, expected: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the tables that do not have the rows that are expected.

    Raises:
        Unavailable: the database does not answer.
    """
    connection = await _connection(url)
    try:
        with index_errors():
            found = await count_tables(connection)
    finally:
        await connection.close()
    names = sorted({*found, *expected})
    return [name for name in names if list(expected.get(name, ())) != found.get(name, [])]


async def count_since(url: str, position: Position) -> int:
    """Return how many events came after a position.

    Raises:
        Unavailable: the database does not answer.
    """
    connection = await _connection(url)
    try:
        with index_errors():
            return int(
                await connection.fetchval(_SINCE, str(position.transaction), position.number)
            )
    finally:
        await connection.close()


async def count_tables(
    connection: Connection, count: str = _COUNT, left_out: Sequence[str] = UNCOUNTED
) -> dict[str, list[str]]:
    """Return for each table how many rows it has, and a hash over them that knows no order.

    `count` is the statement for one table, with its name left open: one row of `rows` and `hash`.
    """
    found = {}
    for (name,) in await connection.fetch(_TABLES, list(left_out)):
        row = await connection.fetchrow(count.format(name))
        found[name] = [str(row["rows"]), row["hash"]] if row else []
    return found


async def _connection(url: str) -> Connection:
    with index_errors(connecting=True):
        return await connect(url, statement_seconds=0)


async def _output(
    program: str, flags: Sequence[str], url: str, given: AsyncIterator[bytes] | None = None
) -> AsyncIterator[bytes]:
    """Run one of PostgreSQL's programs, give it its input, and yield what it writes."""
    address, environment = _address(url)
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            installed_programs() / "bin" / program,
            *flags,
            f"--dbname={address}",
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
            env=environment,
        )
        try:
            feeding = asyncio.create_task(_feed(process, given))
            assert process.stdout is not None  # noqa: S101 - a pipe
            while block := await process.stdout.read(_BLOCK):
                yield block
            await feeding
            if await process.wait():
                said.seek(0)
                lines = said.read()[-4000:].decode(errors="replace").strip().splitlines()
                raise Unavailable(f"{program} failed: {lines[-1] if lines else 'it said nothing'}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)


async def _feed(process: asyncio.subprocess.Process, given: AsyncIterator[bytes] | None) -> None:
    if given is None or process.stdin is None:
        return
    with suppress(ConnectionError):  # it ended early, and says why
        async for block in given:
            process.stdin.write(block)
            await process.stdin.drain()
    process.stdin.close()


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL that every user may see, and the environment with the password in it."""
    parts = urlsplit(url.replace("+asyncpg", "", 1))
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "")}
    if parts.password is None:
        return parts.geturl(), environment
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}"
    return parts._replace(netloc=netloc).geturl(), {
        **environment,
        "PGPASSWORD": unquote(parts.password),
    }
