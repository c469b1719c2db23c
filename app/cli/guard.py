"""What uvicorn lacks: time-outs for reading and writing, and bounds for heads and connections.

A sweep once a second looks at every open connection, so a request pays next to nothing:

    more connections than the door takes 503 at once, and closed
    nothing sent, or a head not whole    408 and closed after `header_seconds`
    a body that stands still             408 (aborted if the answer has begun) after `body_seconds`
    a body that trickles                 the same, below `body_rate` on average over that time
    an answer that nobody takes          aborted after `body_seconds`
    an answer that is taken in trickles  the same, below that rate
    a body that goes on after the answer thrown away for a while, then aborted
    a head over `HEAD_BYTES`             414 or 431, and closed
    what is no HTTP                      400 and closed
"""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.admin.metrics import ENDED
from app.cli.door import LINGERING, Door
from app.cli.outlet import Outlet
from app.objects.extents import FILES
from app.web.shielded import PROBLEM

HEAD_BYTES = 64 * 2**10
LINGER_SECONDS = 1.0
LEFT_BYTES = 4 * 2**20
"""Bytes that are read and thrown away after the answer."""
AHEAD_BYTES = 512 * 2**10
"""Bytes of a body that may wait to be taken. uvicorn's own 64 kB are less than what is read at
once, so that a body would stop the connection after each piece of it."""

_EXTENSIONS: dict[str, dict[object, object]] = {FILES: {}}
_TOO_SLOW = "Nothing, or not enough, came for too long"
_TLS = b"\x16\x03"
_PLAIN = "Plain HTTP was expected here, not TLS: use http://, or a proxy that has a certificate"
_ENCODE = "A URL of ASCII was expected; percent-encode other characters as UTF-8"
_NO_HTTP = "A request of HTTP was expected; this is none, or a malformed one"
_SAID_TO_BROWSERS = tuple(f"{name.decode()}: {value.decode()}" for name, value in PROBLEM)
_TOO_LONG = f"Request line and header fields of up to {HEAD_BYTES} bytes were expected"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a head may take, a body or an answer stand still, and how slow they may be."""

    header_seconds: float
    body_seconds: float
    body_rate: float


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's connection, which also knows since when it waits and for what."""

    door: Door
    """Of the class that `guarded_by` makes: uvicorn makes connections without it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._let_in: str | None = None
        self._told = 0
        self.heard = time.monotonic()
        self.received = 0
        self.head_bytes = 0
        self.refused = False
        self.left = 0
        self._pieces: list[bytes] = []
        self._parsed = b""
        self._waiting_for: tuple[str, int] = ("", 0)
        self._since = self._window = self.heard
        self._moved = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; what is written goes through an outlet, which takes ranges of files too."""
        super().connection_made(cast("asyncio.Transport", Outlet(transport, self, self.lingers)))
        address = self.client[0] if self.client else ""
        why = self.door.enter(address)
        if why is None:
            self._let_in = address
        elif self.door.told < LINGERING:
            self._told = 1
            self.door.told += 1
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, why)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._let_in is None:
            self.door.told -= self._told
        else:
            self.door.leave(self._let_in)
        cast("Outlet", self.transport).forget()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin a request, which is told that its answer's body may be a range of a file.

        Not so over TLS: what the kernel sends by itself would go past the encryption.
        """
        super().on_message_begin()
        if self.scheme == "http":
            self.scope["extensions"] = _EXTENSIONS

    def on_headers_complete(self) -> None:
        """Begin to answer; a head that came at once is bounded as one that came in pieces."""
        if self.head_bytes + len(self._parsed) > HEAD_BYTES and self._head_length() > HEAD_BYTES:
            self.refuse(self._too_long(), _TOO_LONG)
        else:
            super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is too long is refused, however it is cut in pieces."""
        if self.refused:
            self._throw_away(data)
            return
        self.heard = time.monotonic()
        self.received += len(data)
        self._parsed = data
        super().data_received(data)
        self._parsed = b""
        self._hand_on()
        if self._in_head():
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_BYTES:
                self.refuse(self._too_long(), _TOO_LONG)
        else:
            self.head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; what came at once, in chunks of a byte maybe, goes on as one."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._hand_on()
        if not self.refused:
            super().on_message_complete()

    def _hand_on(self) -> None:
        """Hand on what came of a body: uvicorn copies each piece twice, and lets fewer wait."""
        if self.refused:
            self._pieces.clear()
        if not self._pieces:
            return
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        cycle: Any = self.cycle  # whose `body` is a bytearray; bytes do as well
        if cycle.response_complete:
            self._throw_away(body)
            return
        cycle.body = cycle.body + body if cycle.body else body
        if len(cycle.body) > AHEAD_BYTES:
            self.flow.pause_reading()
        cycle.message_event.set()

    def look(self, patience: Patience) -> None:
        """Close the connection if what it waits for has not come, or too slowly, for too long."""
        now = time.monotonic()
        state = self._state()
        if state[0] != self._waiting_for[0] or state[0] == "head":
            self._begin_window(now)
        if state != self._waiting_for:
            self._waiting_for, self._since = state, now
        still = now - self._since
        match state[0]:
            case "head" if still > patience.header_seconds:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, _TOO_SLOW)
            case "body" if min(still, now - self.heard) > patience.body_seconds or self._trickles(
                now, patience
            ):
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, _TOO_SLOW)
            case "taking" if still > patience.body_seconds or self._trickles(now, patience):
                ENDED.labels("slow answer").inc()
                self.transport.abort()

    def _trickles(self, now: float, patience: Patience) -> bool:
        """Say whether too little went over the connection in a window that is over."""
        seconds = now - self._window
        if seconds <= patience.body_seconds:
            return False
        moved = self._bytes_moved() - self._moved
        self._begin_window(now)
        return moved < patience.body_rate * seconds

    def _begin_window(self, now: float) -> None:
        self._window, self._moved = now, self._bytes_moved()

    def _bytes_moved(self) -> int:
        """Return how many bytes came from the client and went to it."""
        return self.received + cast("Outlet", self.transport).taken

    def send_400_response(self, _msg: str) -> None:
        """Answer what is no HTTP, in the form of all our errors; uvicorn calls this."""
        if self._parsed.startswith(_TLS):
            self.refuse(HTTPStatus.BAD_REQUEST, _PLAIN)
        elif len(self.url) >= HEAD_BYTES:
            self.refuse(self._too_long(), _TOO_LONG)
        elif not self._parsed.partition(b"\r\n")[0].isascii():
            self.refuse(HTTPStatus.BAD_REQUEST, _ENCODE)
        else:
            self.refuse(HTTPStatus.BAD_REQUEST, _NO_HTTP)

    def refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer with a problem document and close; abort where an answer has begun.

        What still comes is read for a while and thrown away: closing at once would make the
        kernel reset the connection, and the client would not see the answer.
        """
        if self.refused or self.transport.is_closing():
            return
        cycle = self._current()
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                ENDED.labels(status.phrase.lower()).inc()
                self.transport.abort()
                return
            cycle.disconnected = True  # what the application may still answer goes nowhere
            cycle.message_event.set()
        self.refused = True
        ENDED.labels(status.phrase.lower()).inc()
        self.transport.write(_answer(status, detail))
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def lingers(self) -> bool:
        """Say whether the body of an answered request still comes: it is closed a little later."""
        cycle = self._current()
        answered = cycle is not None and cycle.response_complete and cycle.more_body
        if self.refused or not answered:
            return False
        self.refused = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
        return True

    def _throw_away(self, data: bytes) -> None:
        self.left += len(data)
        if self.left > LEFT_BYTES:
            self.transport.abort()

    def _head_length(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_long(self) -> HTTPStatus:
        if len(self.url) >= HEAD_BYTES:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def _current(self) -> RequestResponseCycle | None:
        """Return the newest request whose head is whole; uvicorn's annotation leaves None out."""
        return cast("RequestResponseCycle | None", self.cycle)

    def _in_head(self) -> bool:
        cycle = self._current()
        return bool(self.scope) and (cycle is None or cycle.scope is not self.scope)

    def _state(self) -> tuple[str, int]:
        """Return what this connection waits for, and a number that changes when it gets some."""
        cycle = self._current()
        if cycle is None or cycle.scope is not self.scope:
            return "head", id(self.scope)
        if cycle.response_complete:
            return "", 0  # kept alive; uvicorn's own timer ends it
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            return "taking", unsent
        if cycle.more_body and not self.flow.read_paused:
            return "body", id(cycle)
        return "", 0


def guarded_by(door: Door) -> type[GuardedProtocol]:
    """Return the class of connections that come in by a door."""
    return type("GuardedByDoor", (GuardedProtocol,), {"door": door})


def _answer(status: HTTPStatus, detail: str) -> bytes:
    body = orjson.dumps({"title": status.phrase, "status": int(status), "detail": detail})
    lines = (
        f"HTTP/1.1 {int(status)} {status.phrase}",
        "connection: close",
        *(("retry-after: 5",) if status is HTTPStatus.SERVICE_UNAVAILABLE else ()),
        "content-type: application/problem+json",
        *_SAID_TO_BROWSERS,
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
