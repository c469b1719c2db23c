"""The way to PostgreSQL: what becomes of it when the database is gone, busy or slow."""

import asyncio
import contextlib
import logging
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.errors import StorageFull, Unavailable
from app.index import engine
from app.index.embedded import EmbeddedPostgres
from app.index.engine import Index, connect, open_index
from app.index.faults import TransactionFailed, TryAgain, index_errors
from app.index.pool import Connection

KILL_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def kill_all(url: str) -> None:
    connection = await connect(url)
    await connection.execute(KILL_OTHERS)
    await connection.close()
    await asyncio.sleep(0.05)


async def use(index: Index, way: str) -> None:
    if way in ("fetch", "fetchrow"):
        await getattr(index, way)("SELECT 1")
    else:
        async with getattr(index, way)():
            pass


async def names(index: Index) -> list[str]:
    return [row[0] for row in await index.fetch("SELECT name FROM tenant ORDER BY id")]


async def test_a_transaction_commits_as_a_whole_or_not_at_all(index: Index) -> None:
    async with index.transaction() as session:
        await session.execute(text("INSERT INTO tenant VALUES (2, 'two')"))
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (3, 'three')")
    for transaction in (index.transaction, index.writing):
        with contextlib.suppress(ZeroDivisionError):
            async with transaction() as either:
                insert = "INSERT INTO tenant VALUES (4, 'four')"
                if isinstance(either, engine.Session):
                    await either.execute(text(insert))
                else:
                    await either.execute(insert)
                raise ZeroDivisionError
    assert await names(index) == ["default", "two", "three"]


async def test_reading_needs_no_transaction(index: Index) -> None:
    async with index.reading() as session:
        first = await session.scalar(text("SELECT txid_current()"))
        assert await session.scalar(text("SELECT txid_current()")) != first


async def test_an_error_that_was_passed_over_is_not_taken_for_a_commit(index: Index) -> None:
    async def pass_over() -> None:
        async with index.writing() as connection:
            await connection.execute("INSERT INTO tenant VALUES (2, 'two')")
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await connection.execute("INSERT INTO tenant VALUES (2, 'two')")

    with pytest.raises(TransactionFailed):
        await pass_over()
    assert await names(index) == ["default"]


@pytest.mark.parametrize("way", ["fetch", "fetchrow", "transaction", "reading", "writing"])
async def test_no_server_is_unavailable(tmp_path: Path, way: str) -> None:
    index = await open_index(f"postgresql://fileroom@/fileroom?host={tmp_path}")
    with pytest.raises(Unavailable, match="does not answer"):
        await use(index, way)
    await index.close()


async def test_a_refused_connection_is_unavailable() -> None:
    index = await open_index("postgresql+asyncpg://fileroom@127.0.0.1:1/fileroom")
    with pytest.raises(Unavailable):
        await index.fetch("SELECT 1")
    await index.close()


async def test_a_missing_database_is_unavailable(postgres: EmbeddedPostgres) -> None:
    index = await open_index(postgres.url("not_there"))
    with pytest.raises(Unavailable):
        await index.fetch("SELECT 1")
    with pytest.raises(Unavailable):
        async with index.transaction():
            pass
    await index.close()


async def test_after_a_lost_connection_the_next_request_is_served(
    index: Index, database_url: str
) -> None:
    await index.fetch("SELECT 1")
    async with index.transaction() as session:
        await session.execute(text("SELECT 1"))
    await kill_all(database_url)
    assert await names(index) == ["default"]
    async with index.transaction() as session:
        assert await session.scalar(text("SELECT 1")) == 1
    async with index.reading() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def test_a_backend_killed_in_a_transaction_leaves_nothing_and_is_unavailable(
    index: Index, database_url: str
) -> None:
    async def before_a_statement() -> None:
        async with index.writing() as connection:
            await connection.execute("INSERT INTO tenant VALUES (2, 'two')")
            await kill_all(database_url)
            await connection.execute("SELECT 1")

    async def in_a_session() -> None:
        async with index.transaction() as session:
            await session.execute(text("INSERT INTO tenant VALUES (3, 'three')"))
            await kill_all(database_url)
            await session.execute(text("SELECT 1"))

    async def before_the_commit() -> None:
        async with index.writing() as connection:
            await connection.execute("INSERT INTO tenant VALUES (4, 'four')")
            await kill_all(database_url)

    for each in (before_a_statement, in_a_session, before_the_commit):
        with pytest.raises(Unavailable):
            await each()
    assert await names(index) == ["default"]


async def test_an_exhausted_pool_waits_and_is_then_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    index = await open_index(database_url, pool_size=1)
    async with index.writing(), index.transaction() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(Unavailable):
            await index.fetch("SELECT 1")
        with pytest.raises(Unavailable):
            async with index.transaction():
                pass
    assert await names(index) == ["default"]
    await index.close()


async def test_a_statement_that_takes_too_long_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STATEMENT_SECONDS", 1)
    index = await open_index(database_url)
    with pytest.raises(Unavailable):
        await index.fetch("SELECT pg_sleep(30)")
    await index.close()


async def test_a_misused_statement_is_a_fault_not_unavailable(index: Index) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await index.fetch("SELECT * FROM not_there")
    with pytest.raises(asyncpg.DataError):
        await index.fetch("SELECT $1::integer", 2**40)


def test_a_full_disk_is_said_so() -> None:
    with pytest.raises(StorageFull), index_errors():
        raise asyncpg.DiskFullError("could not extend file")


async def test_work_is_tried_again_after_a_deadlock(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    met = asyncio.Barrier(2)
    attempts = 0

    async def lock(connection: Connection, first: int, second: int) -> None:
        nonlocal attempts
        attempts += 1
        await connection.execute("UPDATE tally SET bytes = bytes + 1 WHERE slot = $1", first)
        if attempts <= 2:
            await met.wait()
        await connection.execute("UPDATE tally SET bytes = bytes + 1 WHERE slot = $1", second)

    async with index.writing() as connection:
        await connection.execute("INSERT INTO tally (tenant_id, slot) VALUES (1, 1), (1, 2)")
    await asyncio.gather(
        index.retrying(lambda connection: lock(connection, 1, 2)),
        index.retrying(lambda connection: lock(connection, 2, 1)),
    )
    assert attempts == 3
    assert "DeadlockDetectedError" in caplog.text
    rows = await index.fetch("SELECT bytes FROM tally")
    assert [row["bytes"] for row in rows] == [2, 2]


async def test_work_is_not_tried_for_ever(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ATTEMPTS", 3)

    async def work(_: Connection) -> None:
        raise TryAgain("always")

    with pytest.raises(Unavailable, match="busy"):
        await index.retrying(work)


async def test_an_index_at_rest_holds_no_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 2)
    own = await connect(database_url)
    index = await open_index(database_url)
    async with index.transaction() as session:
        await session.execute(text("SELECT 1"))
    await index.fetch("SELECT 1")
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    counts = [await own.fetchval(count)]
    for _ in range(100):
        if counts[-1] == 1:
            break
        await asyncio.sleep(0.1)
        counts.append(await own.fetchval(count))
    assert (counts[0], counts[-1]) == (3, 1)
    assert await names(index) == ["default"]
    await own.close()
    await index.close()


async def test_closing_ends_what_is_in_use(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 0.3)
    index = await open_index(database_url)
    connection = await index.pool.take()
    await index.close()
    with pytest.raises(asyncpg.InterfaceError):
        await connection.execute("SELECT 1")
