"""The way to PostgreSQL: SQLAlchemy for nearly all, asyncpg itself for the hottest single SELECTs.

Both libraries get their connections from `connect`, so URLs and session settings are the same for
both. Connections are opened when needed and closed when nothing has used them for a while: an
archive at rest holds none. An error that means "the database does not answer" leaves this package
as `Unavailable`, a full disk as `StorageFull`; all others are faults and stay as they are.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import asyncpg
import orjson
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import StorageFull, Unavailable

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:  # generic for the type checker alone
    Connection = asyncpg.Connection

Session: TypeAlias = AsyncConnection

STATEMENT_SECONDS = 30
CONNECT_SECONDS = 10
IDLE_SECONDS = 60
ATTEMPTS = 8

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_NOT_ANSWERING = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting, or over the statement's time
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, after a failover
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,  # the connection is closed
    PoolTimeout,
)


class TransactionFailed(Exception):
    """The database gave up a transaction that its user took for whole: a fault of ours."""


class TryAgain(Exception):
    """Another transaction was in between; the same work in a new one will do."""


_TRY_AGAIN = (TryAgain, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class _PoolConnection(Connection):
    """A connection for single SELECTs: it leaves no session state, so nothing is reset after it."""

    def get_reset_query(self) -> str:
        return ""


BY_KEY = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
}
"""Settings for statements that look rows up by key. They are planned once for each connection, and
so that the plan is right for a table that was empty then: planning them anew takes longer than
running them, and a plan for an empty table reads all of a grown one until its statistics come."""


class Index:
    """The archive's index. Made by `open_index`, closed by `close`."""

    def __init__(self, engine: AsyncEngine, pool: "Pool", searches: "Pool") -> None:
        self.engine = engine
        self.pool = pool
        self.searches = searches
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
            async with _opened(self.engine) as session, session.begin():
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """Give a connection of asyncpg's own in a transaction, for what must cost little.

        Nothing but the transaction may be left on it: no SET, no LISTEN, no session's lock.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        with index_errors():
            async with self._acquired(self.pool) as connection:
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                try:
                    yield connection
                except BaseException:
                    await _roll_back(connection)
                    raise
                if await connection.execute("COMMIT") != "COMMIT":
                    raise TransactionFailed("an error inside the transaction was passed over")

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[Connection]:
        """Give the same kind of connection without a transaction: each statement is one.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        with index_errors():
            async with self._acquired(self.pool) as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        """Give a Session for SELECTs that need not see the same moment: no BEGIN, no COMMIT.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        self._used = monotonic()
        with index_errors():
            async with _opened(self._reading) as session:
                yield session

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one SELECT by key, in asyncpg's own form (`$1`).

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
        """
        async with self.at_once() as connection:
            return await connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row of one SELECT, as `fetch` does."""
        async with self.at_once() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def search(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one SELECT that is planned for its values, each time anew.

        A pattern that fits half of all rows and one that fits none need different plans. These
        SELECTs have connections of their own, so that slow ones do not keep frames waiting.

        Raises:
            Unavailable: the database does not answer in time.
        """
        with index_errors():
            async with self._acquired(self.searches) as connection:
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
                if not isinstance(cause_of(error), _TRY_AGAIN):
                    raise
                _log.info("transaction is tried again: %s", type(cause_of(error)).__name__)
            await asyncio.sleep(0.01 * attempt)
        raise Unavailable("the index is busy: too many writers change the same Study at once")

    async def close(self) -> None:
        """Close all connections; those in use are ended."""
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        await self.engine.dispose()
        for pool in (self.pool, self.searches):
            try:
                await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def _acquired(self, pool: "Pool") -> AsyncIterator[Connection]:
        with index_errors(connecting=True):
            connection = await pool.acquire(timeout=CONNECT_SECONDS)
        try:
            yield cast("Connection", connection)
        finally:
            await pool.release(connection)

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 2)
            if monotonic() - self._used > IDLE_SECONDS:
                await self.engine.dispose()


async def open_index(url: str, *, pool_size: int = 4) -> Index:
    """Return the index behind a `postgresql://` URL; connections are opened when needed.

    `pool_size` is the most connections that each of the pools holds.
    """
    engine = make_engine(url, pool_size=pool_size)
    settings = _session_settings(STATEMENT_SECONDS)
    pool = await _make_pool(url, pool_size, {**settings, **BY_KEY})
    planned = {**settings, "plan_cache_mode": "force_custom_plan"}
    return Index(engine, pool, await _make_pool(url, pool_size, planned))


async def _make_pool(url: str, size: int, settings: dict[str, str]) -> "Pool":
    return await asyncpg.create_pool(
        _plain(url),
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=IDLE_SECONDS,
        connection_class=_PoolConnection,
        timeout=CONNECT_SECONDS,
        server_settings=settings,
    )


def make_engine(
    url: str, *, pool_size: int, statement_seconds: int = STATEMENT_SECONDS
) -> AsyncEngine:
    """Return a SQLAlchemy engine over `connect`; 0 seconds means no limit for a statement."""

    async def creator() -> Connection:
        return await connect(url, statement_seconds=statement_seconds)

    made = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_use_lifo=True,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(made.sync_engine, "checkout", _renew_if_closed)
    return made


def _renew_if_closed(connection: Any, *_: object) -> None:
    """Have the pool replace a connection that the server has closed while nobody used it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def connect(url: str, *, statement_seconds: int = STATEMENT_SECONDS) -> Connection:
    """Open one connection; the caller closes it."""
    return await asyncpg.connect(
        _plain(url),
        timeout=CONNECT_SECONDS,
        server_settings=_session_settings(statement_seconds),
    )


@contextmanager
def index_errors(*, connecting: bool = False) -> Iterator[None]:
    """Turn the errors of both libraries into ours.

    While `connecting`, every OSError and time-out is the database's; elsewhere it may be that of
    the code which uses the Session.

    Raises:
        Unavailable: the database does not answer.
        StorageFull: its disk is full.
    """
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        if isinstance(cause, asyncpg.DiskFullError):
            raise StorageFull("the index has no room left") from error
        if is_unavailable(cause) or (connecting and isinstance(cause, OSError | TimeoutError)):
            raise Unavailable("the index does not answer") from error
        raise


def is_unavailable(error: BaseException) -> bool:
    """Say whether an error means that the database does not answer, not that it was misused."""
    return isinstance(error, _NOT_ANSWERING) and not isinstance(error, asyncpg.DataError)


def cause_of(error: BaseException) -> BaseException:
    """Return asyncpg's own error behind SQLAlchemy's wrapping of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


async def _roll_back(connection: Connection) -> None:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await asyncio.shield(connection.execute("ROLLBACK"))


@asynccontextmanager
async def _opened(engine: AsyncEngine) -> AsyncIterator[Session]:
    session = engine.connect()
    with index_errors(connecting=True):
        await session.start()
    try:
        yield session
    finally:
        await session.close()


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
