"""The way to PostgreSQL: SQLAlchemy for nearly all, asyncpg itself for the hottest single SELECTs.

Both libraries get their connections from `connect`, so URLs and session settings are the same for
both. Connections are opened when needed and closed when nothing has used them for a while: an
archive at rest holds none.
"""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import Unavailable
from app.index.faults import TRY_AGAIN, TransactionFailed, cause_of, index_errors
from app.index.pool import Connection, Pool, Use
from app.turns import Shares

Session: TypeAlias = AsyncConnection

STATEMENT_SECONDS = 30
CONNECT_SECONDS = 10
IDLE_SECONDS = 60
ATTEMPTS = 24
LONGEST_PAUSE = 0.25

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

BY_KEY = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
}
"""Settings for statements that look rows up by key. They are planned once for each connection, and
so that the plan is right for a table that was empty then: planning them anew takes longer than
running them, and a plan for an empty table reads all of a grown one until its statistics come."""

FOR_ITS_VALUES = {"plan_cache_mode": "force_custom_plan"}
"""Settings for searches."""


class Index:
    """The archive's index. Made by `open_index`, closed by `close`."""

    def __init__(
        self, url: str, engine: AsyncEngine, sessions: Shares, pool: Pool, searches: Pool
    ) -> None:
        self.url = url
        self.engine = engine
        self.pool = pool
        self.searches = searches
        self.sessions = sessions
        self.known: OrderedDict[object, object] = OrderedDict()
        """What `instances` remembers of Series between batches."""
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._used = monotonic()
        self._keeper = asyncio.create_task(self._close_idle())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Give a Session whose statements are committed together at the end, or not at all.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        self._used = monotonic()
        with index_errors():
            async with self._opened(self.engine) as session, session.begin():
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """Give a connection of asyncpg's own in a transaction, for what must cost little.

        Nothing but the transaction may be left on it: no SET, no LISTEN, no session's lock.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        with index_errors():
            async with self.pool.use() as connection:
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                try:
                    yield connection
                except BaseException:
                    await _roll_back(connection)
                    raise
                if await connection.execute("COMMIT") != "COMMIT":
                    raise TransactionFailed("an error inside the transaction was passed over")

    def at_once(self) -> Use:
        """Give the same kind of connection without a transaction: each statement is one.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        return self.pool.use()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        """Give a Session for SELECTs that need not see the same moment: no BEGIN, no COMMIT.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        self._used = monotonic()
        with index_errors():
            async with self._opened(self._reading) as session:
                yield session

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one SELECT by key, in asyncpg's own form (`$1`).

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        async with self.pool.use() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row of one SELECT, as `fetch` does."""
        async with self.pool.use() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def search(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one SELECT that is planned for its values, each time anew.

        A pattern that fits half of all rows and one that fits none need different plans. These
        SELECTs have connections of their own, so that slow ones do not keep frames waiting.

        Raises:
            Unavailable: the database does not answer in time.
        """
        async with self.searches.use() as connection:
            return await connection.fetch(sql, *arguments)

    async def retrying(self, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """Run `work` in a `writing` of its own, again after a deadlock or serialisation fault.

        Raises:
            Unavailable: the database does not answer, or the fault returned each time.
        """
        for attempt in range(ATTEMPTS):
            try:
                async with self.writing() as connection:
                    return await work(connection)
            except Exception as error:
                if not isinstance(cause_of(error), TRY_AGAIN):
                    raise
                _log.info("transaction is tried again: %s", type(cause_of(error)).__name__)
            # writers that met once must not meet again: each waits for a time of its own
            await asyncio.sleep(random.uniform(0, min(0.01 * 2**attempt, LONGEST_PAUSE)))  # noqa: S311
        raise Unavailable("the index is busy: too many writers change the same Study at once")

    @property
    def shares(self) -> Sequence[Shares]:
        """What all connections are shared out by."""
        return self.sessions, self.pool.shares, self.searches.shares

    async def close(self) -> None:
        """Close all connections; those in use are ended."""
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        await self.engine.dispose()
        await self.pool.close()
        await self.searches.close()

    @asynccontextmanager
    async def _opened(self, engine: AsyncEngine) -> AsyncIterator[Session]:
        async with self.sessions.mine().turn():
            session = engine.connect()
            with index_errors(connecting=True):
                await session.start()
            try:
                yield session
            finally:
                await session.close()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 2)
            self.pool.close_idle(IDLE_SECONDS)
            self.searches.close_idle(IDLE_SECONDS)
            if monotonic() - self._used > IDLE_SECONDS:
                await self.engine.dispose()


async def open_index(url: str, *, pool_size: int = 4, copies: Sequence[str] = ()) -> Index:
    """Return the index behind a `postgresql://` URL; connections are opened when needed.

    `pool_size` is the most connections that each of the pools holds for what is read (`app.turns`).
    What is stored is queued for the stores that `copies` names (`copies_tables`).
    """
    queued = {"fileroom.copies": ",".join(copies)} if copies else {}
    sessions = Shares("sessions", pool_size, CONNECT_SECONDS)
    engine = make_engine(url, pool_size=sessions.size, settings=queued)
    pool = _make_pool("look-ups", url, pool_size, {**BY_KEY, **queued})
    searches = _make_pool("searches in the index", url, pool_size, FOR_ITS_VALUES)
    return Index(url, engine, sessions, pool, searches)


def _make_pool(name: str, url: str, size: int, settings: Mapping[str, str]) -> Pool:
    def opening() -> Awaitable[Connection]:
        return connect(url, statement_seconds=STATEMENT_SECONDS, **settings)

    return Pool(opening, size, CONNECT_SECONDS, name)


def make_engine(
    url: str,
    *,
    pool_size: int,
    statement_seconds: int = STATEMENT_SECONDS,
    settings: Mapping[str, str] = {},
) -> AsyncEngine:
    """Return a SQLAlchemy engine over `connect`; 0 seconds means no limit for a statement."""

    async def creator() -> Connection:
        return await connect(url, statement_seconds=statement_seconds, **settings)

    made = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(made.sync_engine, "checkout", _renew_if_closed)
    return made


def _renew_if_closed(connection: Any, *_: object) -> None:
    """Have the pool replace a connection that the server has closed while nobody used it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def fetch_at(url: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Return the rows of one SELECT by a connection of its own, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """

    async def run() -> list[asyncpg.Record]:
        with index_errors(connecting=True):
            connection = await connect(url)
            try:
                return await connection.fetch(sql, *arguments)
            finally:
                await connection.close()

    return asyncio.run(run())


async def connect(
    url: str, *, statement_seconds: int = STATEMENT_SECONDS, **settings: str
) -> Connection:
    """Open one connection with settings of PostgreSQL's; the caller closes it."""
    return await asyncpg.connect(
        _plain(url),
        timeout=CONNECT_SECONDS,
        server_settings={**_session_settings(statement_seconds), **settings},
    )


async def _roll_back(connection: Connection) -> None:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await asyncio.shield(connection.execute("ROLLBACK"))


def _session_settings(statement_seconds: int) -> dict[str, str]:
    return {
        "application_name": "fileroom",
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{statement_seconds}s",
        "lock_timeout": f"{statement_seconds}s",
        "idle_in_transaction_session_timeout": f"{2 * statement_seconds}s",
        "jit": "off",
    }


def _plain(url: str) -> str:
    """Return the URL as asyncpg reads it; SQLAlchemy's form is let through too."""
    return url.replace("+asyncpg", "", 1)
