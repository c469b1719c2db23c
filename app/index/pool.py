"""Connections of asyncpg's own, kept for the hottest statements.

Made for statements that take a quarter of a millisecond: `asyncpg.Pool` makes a task to take a
connection and one to give it back, and asks the server to reset it, which costs as much again.
Here a connection is popped off a list and put back. What keeps that right:

* whoever uses a connection leaves nothing on it but a transaction that is over: no SET, no LISTEN,
  no session's lock;
* a connection is used again only if no statement can still be under way on it: after a cancelled
  request, or an error of the connection itself, it is closed.

What is read, stored and done by jobs has connections of its own, and those who ask get them in turn
(`app.turns`): so nobody keeps all others waiting. Any of them may use what lies in the list.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from app.errors import Unavailable
from app.index.faults import translate
from app.turns import Key, Shares, Turns

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # generic for the type checker alone
    Connection = asyncpg.Connection


class Pool:
    """Up to `size` connections for reads and fewer for other work, opened when needed."""

    def __init__(
        self,
        opening: Callable[[], Awaitable[Connection]],
        size: int,
        seconds: float,
        name: str = "connections",
    ) -> None:
        self._open = opening
        self._seconds = seconds
        self.shares = Shares(name, size, seconds)
        self._idle: list[tuple[Connection, float]] = []
        self._used: dict[Connection, tuple[Turns, Key]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def use(self) -> "Use":
        """Give a connection for a block.

        Raises:
            Unavailable: the database does not answer, or no connection came free in time.
            StorageFull: its disk is full.
        """
        return Use(self)

    async def take(self) -> Connection:
        """Return a connection that `give_back` must get."""
        turns = self.shares.mine()
        key = await turns.take()
        try:
            connection = self._pop() or await self._open()
        except BaseException:
            turns.give_back(key)
            raise
        self._used[connection] = turns, key
        return connection

    def give_back(self, connection: Connection, *, sound: bool) -> None:
        """Take a connection back; one that is not sound is closed."""
        turns, key = self._used.pop(connection)
        turns.give_back(key)
        usable = sound and not (self._closed or connection.is_closed())
        if usable and not connection.is_in_transaction():
            self._idle.append((connection, monotonic()))
        else:
            self._end(connection)

    def close_idle(self, seconds: float) -> None:
        """Close what nobody has used for so long."""
        now = monotonic()
        while self._idle and now - self._idle[0][1] >= seconds:
            self._end(self._idle.pop(0)[0])

    async def close(self) -> None:
        """Close all connections; those in use are ended where they are."""
        self._closed = True
        self.close_idle(0)
        for connection in self._used:
            connection.terminate()
        if self._ending:
            await asyncio.wait(self._ending)

    def _pop(self) -> Connection | None:
        if self._closed:
            raise Unavailable("the index is closed")
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _end(self, connection: Connection) -> None:
        """Close a connection in the background: its server may have to be told to stop first."""
        task = asyncio.create_task(_close(connection, self._seconds))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class Use:
    """A block with a connection of a `Pool`; its errors leave as ours."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._pool.take()
        except Exception as error:
            ours = translate(error, connecting=True)
            if ours is None:
                raise
            raise ours from error
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._pool.give_back(self._connection, sound=True)
            return
        self._pool.give_back(self._connection, sound=_is_harmless(error))
        ours = translate(error)
        if ours is not None:
            raise ours from error


def _is_harmless(error: BaseException) -> bool:
    """Say whether a connection is as good after an error as before."""
    if isinstance(error, asyncpg.DataError):
        return True  # a value that could not even be sent
    return isinstance(error, Exception) and not isinstance(error, asyncpg.InterfaceError | OSError)


async def _close(connection: Connection, seconds: float) -> None:
    try:
        await connection.close(timeout=seconds)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
