"""HTTP/1.1 to the archive by the standard library's client, on connections that stay open.

A bridge asks once for each Instance, and for that httpx takes a third of its processor time
(decision 49). Threads share the connections; each is one thread's at a time.
"""

import select
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 300.0
_PIECE = 2**18
_AT_ONCE = 2**20
"""Bytes of a request that are gathered, so that one system call takes the most of them."""
_T = TypeVar("_T")


class NoAnswer(Exception):
    """The archive does not answer, or breaks off; the message says how."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the archive, whole."""

    status_code: int
    content_type: str
    content: bytes
    warning: str = ""

    @property
    def is_success(self) -> bool:
        """Say whether what was asked is done."""
        return self.status_code // 100 == 2


class Connections:
    """Connections to the server at `url`; so many are `kept` open while nobody uses them."""

    def __init__(self, url: str, kept: int, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._prefix = parts.hostname or "", parts.port, parts.path
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self._kept, self._free = kept, list[_Connection]()
        self._lock = Lock()

    def send(
        self, method: str, target: str, headers: Mapping[str, str], pieces: Iterable[bytes] = ()
    ) -> Response:
        """Ask, and return the whole answer.

        Raises:
            NoAnswer: there is none.
        """
        return self._exchanged(method, target, headers, pieces, _whole)

    def receive(
        self, target: str, headers: Mapping[str, str], take: Callable[[memoryview], bool]
    ) -> int:
        """Have the body of a good answer taken in pieces, until one is not; return its status.

        Raises:
            NoAnswer: there is none, or not all of it.
        """

        def taken(response: HTTPResponse) -> int:
            if response.status == 200:
                buffer = memoryview(bytearray(_PIECE))
                while count := response.readinto(buffer):
                    if not take(buffer[:count]):
                        return response.status
                if response.length:
                    raise HTTPException("the answer breaks off")
            return response.status

        return self._exchanged("GET", target, headers, (), taken)

    def close(self) -> None:
        """Close what nobody uses."""
        with self._lock:
            for connection in self._free:
                connection.close()
            self._free.clear()

    def _exchanged(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        pieces: Iterable[bytes],
        read: Callable[[HTTPResponse], _T],
    ) -> _T:
        connection = self._connection()
        response: HTTPResponse | None = None
        try:
            _ask(connection, method, self._prefix + target, headers, pieces)
            with _connection_faults():
                response = connection.getresponse()
                if response.length is None and not response.chunked:
                    raise HTTPException("an answer whose end nobody can tell")
                return read(response)
        finally:
            self._give_back(connection, response)

    def _connection(self) -> "_Connection":
        """Return one that is open, else a new one."""
        while True:
            with self._lock:
                connection = self._free.pop() if self._free else None
            if connection is None:
                return self._new()
            if connection.sock is not None and not _is_readable(connection.sock.fileno()):
                return connection
            connection.close()  # at the other end, too

    def _new(self) -> "_Connection":
        timeout = _CONNECT_SECONDS
        if self._tls is None:
            return _Connection(self._host, self._port, timeout=timeout)
        return _TlsConnection(self._host, self._port, timeout=timeout, context=self._tls)

    def _give_back(self, connection: "_Connection", response: HTTPResponse | None) -> None:
        """Keep a connection whose answer has been read to its end."""
        if response is not None and response.isclosed() and not response.will_close:
            with self._lock:
                if len(self._free) < self._kept:
                    self._free.append(connection)
                    return
        connection.close()


class _Connection(HTTPConnection):
    """A connection whose pieces go to the kernel many at a time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: list[bytes] = []
        self._bytes = 0

    def connect(self) -> None:
        """Connect; answers may be waited for longer."""
        super().connect()
        self.stream.settimeout(_ANSWER_SECONDS)

    @property
    def stream(self) -> socket.socket:
        """The socket of a connection that is open."""
        return cast("socket.socket", self.sock)

    def send(self, data: Any) -> None:
        """Take a piece of a request."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Send what was taken."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self._write(waiting)

    def _write(self, pieces: list[bytes]) -> None:
        sent = self.stream.sendmsg(pieces)
        for piece in pieces:
            if sent < len(piece):
                self.stream.sendall(memoryview(piece)[sent:])
            sent = max(0, sent - len(piece))


class _TlsConnection(_Connection, HTTPSConnection):
    """The same in TLS, which takes one piece at a time."""

    def _write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.stream.sendall(piece)


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def _connection_faults() -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(f"{type(error).__name__} {error}".strip()) from error


def _ask(
    connection: _Connection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    pieces: Iterable[bytes],
) -> None:
    """Send a request; one that is refused before its end need not be sent to it.

    What is raised where a piece cannot be had comes through as it is.
    """
    with _connection_faults():
        if connection.sock is None:
            connection.connect()
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
    for piece in pieces:
        with _connection_faults():
            if not _goes_on(connection.send, piece):
                return
    with _connection_faults():
        _goes_on(connection.flush)


def _goes_on(send: Callable[..., None], *piece: bytes) -> bool:
    """Send; say whether the other end still reads."""
    try:
        send(*piece)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _whole(response: HTTPResponse) -> Response:
    kind, warning = response.getheader("Content-Type", ""), response.getheader("Warning", "")
    return Response(response.status, kind, response.read(), warning)
