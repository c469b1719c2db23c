"""Browser sessions: begun at a login, and over when idle, at their end, or by a logout."""

import asyncio
import hashlib
import secrets

from app.archive.context import Archive
from app.archive.remembered import LEASE_SECONDS
from app.index import web_sessions
from app.rights import Principal


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


async def begin_session(archive: Archive, principal: Principal, seconds: float) -> str:
    """Return the secret of a new session of `principal`, which lasts for so long at most.

    Raises:
        Unavailable: the index does not answer.
    """
    value = secrets.token_urlsafe(32)
    await web_sessions.add_session(archive.index, _digest(value), principal, seconds)
    return value


async def find_session(archive: Archive, value: str, idle_seconds: float) -> Principal | None:
    """Return whose session a secret is of, None if it is over, or idle for longer.

    Raises:
        Unavailable: the index does not answer.
    """
    return await web_sessions.find_session(archive.index, _digest(value), idle_seconds)


async def end_session(archive: Archive, value: str) -> Principal | None:
    """End a session, and return whose it was, None if there was none.

    When this returns no process takes it any more.

    Raises:
        Unavailable: the index does not answer.
    """
    principal = await web_sessions.end_session(archive.index, _digest(value))
    if principal is not None:
        await asyncio.sleep(LEASE_SECONDS)
    return principal
