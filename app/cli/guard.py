"""What uvicorn lacks: time-outs for reading and writing, and a bound for the head of a request.

A sweep once a second looks at every open connection, so a request pays next to nothing:

    nothing sent, or a head not whole    408 and closed after `header_seconds`
    a body that stands still             408 (aborted if the answer has begun) after `body_seconds`
    an answer that nobody takes          aborted after `body_seconds`
    a head over `HEAD_BYTES`             431 and closed
"""

import time
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 2**10
LINGER_SECONDS = 1.0


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's connection, which also knows since when it waits and for what."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.heard = time.monotonic()
        self.head_bytes = 0
        self.refused = False
        self._waiting_for: tuple[str, int] = ("", 0)
        self._since = self.heard

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is too long is refused, however it is cut in pieces."""
        if self.refused:
            return
        self.heard = time.monotonic()
        super().data_received(data)
        if self._in_head():
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_BYTES:
                self.refuse(431, "Request Header Fields Too Large")
        else:
            self.head_bytes = 0

    def look(self, header_seconds: float, body_seconds: float) -> None:
        """Close the connection if what it waits for has not come for too long."""
        now = time.monotonic()
        state = self._state()
        if state != self._waiting_for:
            self._waiting_for, self._since = state, now
        still = now - self._since
        match state[0]:
            case "head" if still > header_seconds:
                self.refuse(408, "Request Timeout")
            case "body" if min(still, now - self.heard) > body_seconds:
                self.refuse(408, "Request Timeout")
            case "taking" if still > body_seconds:
                self.transport.abort()

    def refuse(self, status: int, reason: str) -> None:
        """Answer in one line and close; abort where an answer has begun.

        What still comes is read for a while and thrown away: closing at once would make the
        kernel reset the connection, and the client would not see the answer.
        """
        if self.refused or self.transport.is_closing():
            return
        cycle = self._current()
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True  # what the application may still answer goes nowhere
            cycle.message_event.set()
        head = f"HTTP/1.1 {status} {reason}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        self.refused = True
        self.transport.write(head.encode())
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

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
