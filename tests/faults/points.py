"""Where a fault is put: a call that a step consists of, in this process, with no change to it."""

import errno
import os
import signal
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any, NoReturn

import asyncpg

from app.index.pool import Connection
from app.objects.remote import RemoteStore


class Point(Enum):
    """A call of ours, told from others of its name by what it is about."""

    WRITE = auto()
    FSYNC = auto()
    LINK = auto()
    MKDIR = auto()
    DIRECTORY_FSYNC = auto()
    UNSTAGE = auto()
    UNLINK = auto()
    PUT = auto()
    COMMIT = auto()
    STATEMENT = auto()


class When(StrEnum):
    """Whether the call is made."""

    BEFORE = "before"
    AFTER = "after"


Act = Callable[[tuple[Any, ...]], Awaitable[None] | None]
"""What happens there; it gets the arguments of the call. Awaited where the call is."""


@dataclass(frozen=True, slots=True)
class _Call:
    owner: Any
    name: str
    is_it: Callable[[tuple[Any, ...]], bool]
    awaited: bool = False


def _is_directory(arguments: tuple[Any, ...]) -> bool:
    return stat.S_ISDIR(os.fstat(arguments[0]).st_mode)


def _ends(suffix: str) -> Callable[[tuple[Any, ...]], bool]:
    return lambda arguments: os.fspath(arguments[0]).endswith(suffix)


def _is_alone(arguments: tuple[Any, ...]) -> bool:
    connection, statement = arguments[:2]
    return "WITH added AS" in statement and not connection.is_in_transaction()


CALLS = {
    Point.WRITE: _Call(os, "writev", lambda _: True),
    Point.FSYNC: _Call(os, "fsync", lambda arguments: not _is_directory(arguments)),
    Point.LINK: _Call(os, "link", lambda _: True),
    Point.MKDIR: _Call(os, "mkdir", lambda _: True),
    Point.DIRECTORY_FSYNC: _Call(os, "fsync", _is_directory),
    Point.UNSTAGE: _Call(os, "unlink", _ends(".part")),
    Point.UNLINK: _Call(os, "unlink", _ends(".dcm")),
    Point.PUT: _Call(RemoteStore, "put", lambda _: True, awaited=True),
    Point.COMMIT: _Call(
        asyncpg.Connection, "execute", lambda arguments: arguments[1] == "COMMIT", awaited=True
    ),
    Point.STATEMENT: _Call(asyncpg.Connection, "fetch", _is_alone, awaited=True),
}


@contextmanager
def fault(point: Point, when: When, act: Act, times: int = 1) -> Iterator[list[Point]]:
    """Let `act` happen at the first calls of the block; gives a list of those it happened at."""
    call = CALLS[point]
    original = getattr(call.owner, call.name)
    met: list[Point] = []

    def is_it(arguments: tuple[Any, ...]) -> bool:
        return len(met) < times and call.is_it(arguments)

    def called(*arguments: Any, **named: Any) -> Any:
        if not is_it(arguments):
            return original(*arguments, **named)
        if when is When.BEFORE:
            met.append(point)
            act(arguments)
            return original(*arguments, **named)
        result = original(*arguments, **named)
        met.append(point)
        act(arguments)
        return result

    async def awaited(*arguments: Any, **named: Any) -> Any:
        if not is_it(arguments):
            return await original(*arguments, **named)
        if when is When.BEFORE:
            met.append(point)
            await _happen(act, arguments)
            return await original(*arguments, **named)
        result = await original(*arguments, **named)
        met.append(point)
        await _happen(act, arguments)
        return result

    setattr(call.owner, call.name, awaited if call.awaited else called)
    try:
        yield met
    finally:
        setattr(call.owner, call.name, original)


async def _happen(act: Act, arguments: tuple[Any, ...]) -> None:
    happening = act(arguments)
    if happening is not None:
        await happening


def die(_: tuple[Any, ...]) -> None:
    """End this process as a lost machine would: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def fails(number: int) -> Act:
    """Return what raises an error of the operating system."""

    def act(_: tuple[Any, ...]) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return act


EIO, ENOSPC = fails(errno.EIO), fails(errno.ENOSPC)


def index_is_full(_: tuple[Any, ...]) -> NoReturn:
    """Say what PostgreSQL says when its disk is full."""
    raise asyncpg.DiskFullError("could not extend file: No space left on device")


def lose_answer(arguments: tuple[Any, ...]) -> NoReturn:
    """Cut the connection after the server has done its work."""
    connection: Connection = arguments[0]
    connection.terminate()
    raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


def lose_connection(url: str) -> Act:
    """Return what lets the server end its side of the connection."""

    async def act(arguments: tuple[Any, ...]) -> None:
        other = await asyncpg.connect(url)
        pid = arguments[0].get_server_pid()
        await other.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
        await other.close()

    return act
