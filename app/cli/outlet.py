"""The writing side of a connection, where a piece may be an `Extent` of a file.

uvicorn writes an answer in pieces to what it takes for its transport: head, part header, frame,
boundary. They are sent together when the event loop comes round, bytes in one system call. A file's
go from the kernel's page cache to the socket; what comes behind them waits here, and the
application with it, until the client has taken them. Measured for frames of 512 kB: half the
processor time of reading and writing them.
"""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from app.objects.extents import Extent

TOGETHER = 64 * 2**10
"""Bytes that are kept at most to be sent with what follows them."""


class Outlet:
    """A transport whose `write` takes extents too; what it does not have is the transport's."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        lingers: Callable[[], bool] = lambda: False,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._lingers = lingers
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | memoryview | Extent] = deque()
        self._queued = 0
        self._written = 0
        self._extents = False
        """Whether there is one in the queue, or bytes that come after it."""
        self._then: list[Callable[[], None]] = []
        self._socket: socket.socket | None = None
        self._watching = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | Extent) -> None:
        """Send bytes or an extent after all that was written before."""
        if not data:
            return
        if not self._queue:
            self._loop.call_soon(self._send)
        self._queue.append(data)
        self._queued += len(data)
        self._written += len(data)
        if isinstance(data, Extent):
            self._extents = True
            self._protocol.pause_writing()
        elif self._queued > TOGETHER and not self._extents:
            self._send()

    @property
    def taken(self) -> int:
        """Bytes that went to the client, as far as the kernel tells."""
        return self._written - self.get_write_buffer_size()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._transport.get_write_buffer_size() + self._queued

    def is_closing(self) -> bool:
        """Say whether it is closed, or will be once all is sent."""
        return bool(self._then) or self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once all is sent, and no longer is much to be read."""
        if not self._lingers():
            self._after(self._transport.close)

    def write_eof(self) -> None:
        """Close the writing side once all is sent; TLS cannot do that alone."""
        if self._transport.can_write_eof():
            self._after(self._transport.write_eof)

    def abort(self) -> None:
        """Close the connection now."""
        self.forget()
        self._transport.abort()

    def forget(self) -> None:
        """Throw away what waits: the connection is lost."""
        self._queue.clear()
        self._queued = 0
        self._extents = False
        self._then.clear()
        if self._socket is not None:
            self._unwatch(self._socket)
            self._socket.close()
            self._socket = None

    def _after(self, step: Callable[[], None]) -> None:
        self._send()
        if self._queue:
            self._then.append(step)
        else:
            step()

    def _send(self) -> None:
        """Send what waits. Bytes alone are uvloop's to keep; of extents, what the socket takes."""
        if self._extents:
            self._send_extents(self._own_socket())
        elif self._queue:
            self._transport.writelines(cast("Iterable[bytes]", self._queue))
            self._queue.clear()
            self._queued = 0

    def _send_extents(self, to: socket.socket) -> None:
        if self._transport.get_write_buffer_size():
            self._watch(to)  # until uvloop has sent what it was given before
            return
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        try:
            while self._queue:
                self._send_some(to, self._queue[0])
        except BlockingIOError:
            self._watch(to)
            return
        except OSError:
            self.abort()
            return
        self._extents = False
        to.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        self._unwatch(to)
        self._protocol.resume_writing()
        for step in self._then:
            step()
        self._then.clear()

    def _send_some(self, to: socket.socket, piece: bytes | memoryview | Extent) -> None:
        if isinstance(piece, Extent):
            sent = os.sendfile(to.fileno(), piece.file.fd, piece.offset, piece.length)
            if sent == 0:
                raise OSError(errno.EIO, "the file is shorter than it was")
        else:
            sent = to.send(piece)
        self._queued -= sent
        self._queue.popleft()
        if sent < len(piece):
            self._queue.appendleft(_rest(piece, sent))

    def _own_socket(self) -> socket.socket:
        """Return a second descriptor of the socket: uvloop's own is watched by uvloop alone."""
        if self._socket is None:
            number = self._transport.get_extra_info("socket").fileno()
            self._socket = socket.socket(fileno=os.dup(number))
            self._socket.setblocking(False)
        return self._socket

    def _watch(self, to: socket.socket) -> None:
        if not self._watching:
            self._loop.add_writer(to, self._send)
            self._watching = True

    def _unwatch(self, to: socket.socket) -> None:
        if self._watching:
            self._loop.remove_writer(to)
            self._watching = False


def _rest(piece: bytes | memoryview | Extent, sent: int) -> memoryview | Extent:
    if isinstance(piece, Extent):
        return Extent(piece.file, piece.offset + sent, piece.length - sent)
    return memoryview(piece)[sent:]
