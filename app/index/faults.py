"""Errors of SQLAlchemy and asyncpg, as ours.

One that means "the database does not answer" leaves this package as `Unavailable`, a full disk as
`StorageFull`, text that it cannot hold as `InvalidRequest`; all others are faults of ours and stay
as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import ArchiveError, InvalidRequest, StorageFull, Unavailable

NOT_ANSWERING = (
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

NOT_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


class TransactionFailed(Exception):
    """The database gave up a transaction that its user took for whole: a fault of ours."""


class TryAgain(Exception):
    """Another transaction was in between; the same work in a new one will do."""


TRY_AGAIN = (TryAgain, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


def translate(error: BaseException, *, connecting: bool = False) -> ArchiveError | None:
    """Return our error for one of the libraries', None for what is a fault.

    While `connecting`, every OSError and time-out is the database's; elsewhere it may be that of
    the code which uses the connection.
    """
    cause = cause_of(error)
    if isinstance(cause, asyncpg.DiskFullError):
        return StorageFull("the index has no room left")
    if isinstance(cause, NOT_ANSWERING) and not isinstance(cause, asyncpg.DataError):
        return Unavailable("the index does not answer")
    if isinstance(cause, NOT_TEXT):
        return InvalidRequest("There is a character that no text has, such as NUL")
    if connecting and isinstance(cause, OSError | TimeoutError):
        return Unavailable("the index does not answer")
    return None


@contextmanager
def index_errors(*, connecting: bool = False) -> Iterator[None]:
    """Turn the errors of both libraries into ours, as `translate` does.

    Raises:
        Unavailable: the database does not answer.
        StorageFull: its disk is full.
        InvalidRequest: a value has a character that no text has.
    """
    try:
        yield
    except Exception as error:
        ours = translate(error, connecting=connecting)
        if ours is None:
            raise
        raise ours from error


def cause_of(error: BaseException) -> BaseException:
    """Return asyncpg's own error behind SQLAlchemy's wrapping of it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error
