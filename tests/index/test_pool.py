"""Connections in a list: reused when they are sound, closed when they may not be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from app.errors import Unavailable
from app.index.engine import Index, connect
from app.index.pool import Connection, Pool

PID = "SELECT pg_backend_pid()"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = Pool(lambda: connect(database_url), size=2, seconds=5)
    yield made
    await made.close()


async def pid(pool: Pool) -> int:
    async with pool.use() as connection:
        return int(await connection.fetchval(PID))


async def fail(pool: Pool, sql: str, *arguments: object) -> None:
    async with pool.use() as connection:
        await connection.fetch(sql, *arguments)


async def stop(pool: Pool, error: Exception) -> None:
    async with pool.use():
        raise error


async def test_a_connection_is_used_again(pool: Pool) -> None:
    assert await pid(pool) == await pid(pool)


async def test_two_uses_at_once_have_two_connections(pool: Pool) -> None:
    async with pool.use() as one, pool.use() as two:
        assert await one.fetchval(PID) != await two.fetchval(PID)


async def test_an_error_that_leaves_the_connection_sound_keeps_it(pool: Pool) -> None:
    first = await pid(pool)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail(pool, "SELECT 1 / $1::integer", 0)
    with pytest.raises(asyncpg.DataError):
        await fail(pool, "SELECT $1::integer", 2**50)
    with pytest.raises(ZeroDivisionError):
        await stop(pool, ZeroDivisionError())
    assert await pid(pool) == first


@pytest.mark.parametrize("error", [asyncpg.InterfaceError("closed"), OSError("reset")])
async def test_a_connection_with_an_error_of_its_own_is_closed(
    pool: Pool, error: Exception
) -> None:
    first = await pid(pool)
    with suppress(Unavailable, OSError):
        await stop(pool, error)
    assert await pid(pool) != first


async def test_a_connection_left_in_a_transaction_is_closed(pool: Pool) -> None:
    first = await pid(pool)
    async with pool.use() as connection:
        await connection.execute("BEGIN")
    assert await pid(pool) != first


async def test_a_cancelled_statement_ends_and_its_connection_is_not_used_again(
    pool: Pool, database_url: str
) -> None:
    first = await pid(pool)
    request = asyncio.create_task(fail(pool, "SELECT pg_sleep(60)"))
    await asyncio.sleep(0.2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert await pid(pool) != first
    own = await connect(database_url)
    for _ in range(500):
        alive = await own.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", first)
        if not alive:
            break
        await asyncio.sleep(0.01)
    await own.close()
    assert alive == []


async def test_cancelled_requests_do_not_use_the_pool_up(pool: Pool) -> None:
    requests = [asyncio.create_task(fail(pool, "SELECT pg_sleep(60)")) for _ in range(9)]
    await asyncio.sleep(0.1)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    assert await asyncio.gather(pid(pool), pid(pool))


async def test_a_cancelled_transaction_leaves_nothing(index: Index) -> None:
    async def insert() -> None:
        async with index.writing() as connection:
            await connection.execute("INSERT INTO tenant VALUES (2, 'two')")
            await connection.execute("SELECT pg_sleep(60)")

    request = asyncio.create_task(insert())
    await asyncio.sleep(0.2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'again')")


async def test_a_failed_opening_leaves_room_for_the_next() -> None:
    async def refuse() -> Connection:
        raise ConnectionRefusedError

    pool = Pool(refuse, size=1, seconds=5)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await pid(pool)
    await pool.close()


async def test_a_fault_in_opening_stays_a_fault() -> None:
    async def wrong() -> Connection:
        raise ZeroDivisionError

    pool = Pool(wrong, size=1, seconds=5)
    with pytest.raises(ZeroDivisionError):
        await pid(pool)


async def test_only_what_is_idle_long_enough_is_closed(pool: Pool) -> None:
    first = await pid(pool)
    pool.close_idle(60)
    assert await pid(pool) == first
    pool.close_idle(0)
    assert await pid(pool) != first


async def test_a_closed_pool_gives_nothing(pool: Pool) -> None:
    await pid(pool)
    await pool.close()
    with pytest.raises(Unavailable, match="closed"):
        await pid(pool)


async def test_a_connection_that_does_not_close_is_cut_off(database_url: str) -> None:
    pool = Pool(lambda: connect(database_url), size=1, seconds=0)
    async with pool.use() as connection:
        await connection.execute("SELECT 1")
        await connection.execute("BEGIN")
    await pool.close()
    assert connection.is_closed()
