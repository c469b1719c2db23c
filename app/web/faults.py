"""The outermost plumbing: a request id, and a clean end for what we did not foresee."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from fastapi import Response
from starlette.requests import ClientDisconnect

from app.errors import ArchiveError
from app.web.problems import fault, problem_of
from app.web.said import said_path

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger()
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_DRAINED_BYTES = 4 * 2**20
_DRAINED_SECONDS = 2.0


class NothingMore(OSError):
    """The rest of an answer is not wanted: it was a HEAD. No fault of anybody's."""


class BrokenOff(Exception):
    """An answer could not be ended. It was logged; the server aborts the connection."""


class Faults:
    """Answers a fault with 500 and a request id, and logs it under that id.

    A fault after the first byte aborts the connection instead: a body that ends cleanly always is
    complete. Of paths words and UIDs are logged, query strings never (they carry names).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        if _waits_for_go(scope):
            receive, send = _closing_unless_read(receive, send)
        elif scope["method"] not in _BODILESS:
            receive, send = _read_or_closed(receive, send)

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except (NothingMore, ClientDisconnect):
            raise  # nobody listens any more
        except Exception as error:
            if begun:
                _break_off(error, said_path(scope))
                raise
            response = _answer(error, said_path(scope))
            await response(scope, receive, send)


def _break_off(error: Exception, path: str) -> None:
    """Log why an answer cannot be ended; what is wrong with the data takes a line.

    Raises:
        BrokenOff: that was all there is to say.
    """
    ours = error if isinstance(error, ArchiveError) else error.__cause__
    if isinstance(ours, ArchiveError):
        log.error("answer broken off", path=path, reason=str(ours))
        raise BrokenOff from None
    log.error("request failed", path=path, exc_info=error)


def _answer(error: Exception, path: str) -> Response:
    if isinstance(error, ArchiveError):
        return problem_of(error)
    request_id = secrets.token_hex(8)
    log.error("request failed", request_id=request_id, path=path, exc_info=error)
    return fault(request_id)


def _waits_for_go(scope: Scope) -> bool:
    """Say whether a client sends its body only when it is told to (RFC 9110 §10.1.1)."""
    return scope["method"] == "POST" and any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )


def _closing_unless_read(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Close the connection after an answer if the body was never asked for (G-30).

    Whether the client still sends it is not known, so no other request can follow.
    """
    asked = False

    async def receiving() -> Message:
        nonlocal asked
        asked = True
        return await receive()

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and not asked:
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return receiving, sending


def _read_or_closed(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Read what an early answer left of a body, up to a bound; if more comes, close after it.

    A client that is still sending then sees the answer, and nobody is read for ever (G-30).
    """
    ended = False

    async def receiving() -> Message:
        nonlocal ended
        message = await receive()
        ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drained() -> bool:
        size = 0
        try:
            async with asyncio.timeout(_DRAINED_SECONDS):
                while not ended and size < _DRAINED_BYTES:
                    size += len((await receiving()).get("body", b""))
        except TimeoutError:
            return False
        return ended

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and not ended:
            closes = any(name.lower() == b"connection" for name, _ in message["headers"])
            if not closes and not await drained():
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return receiving, sending
