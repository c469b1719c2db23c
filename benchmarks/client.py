"""A raw HTTP/1.1 client that is not the bottleneck.

One asyncio protocol per connection. Requests are buffers made beforehand and written as they
are; answers are read into one buffer that is used again and again, and thrown away unless the
caller wants them. Bodies end by Content-Length, by chunks or by the end of the connection.
Nothing is inflated. The answer's length is that of the body on the wire, without chunk framing.

`measure_ceiling` in `benchmarks.ceiling` shows what this client reaches against a server that
does nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

Buffer = bytes | bytearray | memoryview
Message = Sequence[Buffer]

RECEIVE_SIZE = 256 << 10
HEAD_LIMIT = 1 << 16


class BrokenAnswer(Exception):
    """The server closed the connection in mid-answer or sent what is not HTTP/1.1."""


@dataclass(slots=True)
class Answer:
    """One answer: `head` with the status line, `body` empty unless it was asked for."""

    status: int
    head: bytes
    length: int
    body: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        """Return a header's value; names are compared without case."""
        wanted = name.lower().encode() + b":"
        for line in self.head.split(b"\r\n")[1:]:
            if line.lower().startswith(wanted):
                return line[len(wanted) :].strip().decode("latin-1")
        return None


@dataclass(slots=True)
class _Reading:
    """The state of the answer that is being read."""

    started: float
    done: "asyncio.Future[Answer]"
    keep: bool
    head: bytearray = field(default_factory=bytearray)
    line: bytearray = field(default_factory=bytearray)
    status: int = 0
    remaining: int = -1
    """Bytes still to come of the body or chunk; -1 while a head or chunk size is read."""
    chunked: bool = False
    until_close: bool = False
    last_chunk: bool = False
    length: int = 0
    body: bytearray = field(default_factory=bytearray)


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection, from some address of this machine; one request at a time."""

    def __init__(self, port: int, host: str = "127.0.0.1", source: str | None = None) -> None:
        self.address = (host, port)
        self._source = (source, 0) if source else None
        self._buffer = bytearray(RECEIVE_SIZE)
        self._view = memoryview(self._buffer)
        self._transport: asyncio.Transport | None = None
        self._reading: _Reading | None = None
        self._closing = False

    async def request(self, message: Message, *, keep: bool = False) -> Answer:
        """Send a request and return its answer; `keep` keeps the body."""
        if self._transport is None or self._transport.is_closing():
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self, *self.address, local_addr=self._source)
        assert self._transport is not None
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._closing = False
        self._reading = _Reading(time.perf_counter(), done, keep)
        if len(message) == 1:
            self._transport.write(message[0])
        else:
            self._transport.writelines(message)
        answer = await done
        if self._closing:
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # asyncio calls what follows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        reading = self._reading
        if reading is None:
            return
        if reading.until_close and exc is None:
            self._finish(reading)
        elif not reading.done.done():
            reading.done.set_exception(BrokenAnswer(f"connection closed: {exc!r}"))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        reading = self._reading
        if reading is None:
            self.close()
            return
        at = 0
        while at < nbytes and not reading.done.done():
            at = self._step(reading, at, nbytes)

    def _step(self, reading: _Reading, at: int, end: int) -> int:
        """Use some of the buffer from `at` on; return where it went on to."""
        if not reading.status:
            return self._read_head(reading, at, end)
        if reading.until_close:
            return self._take(reading, at, end)
        if reading.remaining >= 0:
            return self._read_body(reading, at, end)
        return self._read_chunk_size(reading, at, end)

    def _read_head(self, reading: _Reading, at: int, end: int) -> int:
        before = len(reading.head)
        reading.head += self._view[at : min(end, at + HEAD_LIMIT)]
        found = reading.head.find(b"\r\n\r\n")
        if found < 0:
            if len(reading.head) >= HEAD_LIMIT:
                self._fail(reading, "the head does not end")
            return min(end, at + HEAD_LIMIT)
        del reading.head[found + 2 :]
        if reading.head[9:12] == b"100":
            reading.head.clear()
        else:
            self._begin_body(reading)
        return at + found + 4 - before

    def _begin_body(self, reading: _Reading) -> None:
        lower = bytes(reading.head).lower()
        if not lower.startswith(b"http/1.1 "):
            self._fail(reading, "not HTTP/1.1")
            return
        reading.status = int(lower[9:12])
        self._closing = b"\r\nconnection: close" in lower
        place = lower.find(b"\r\ncontent-length:")
        if place >= 0:
            reading.remaining = int(lower[place + 17 : lower.index(b"\r\n", place + 2)])
        elif b"\r\ntransfer-encoding: chunked" in lower:
            reading.chunked = True
        elif reading.status in {204, 304}:
            reading.remaining = 0
        else:
            reading.until_close = True
        if reading.remaining == 0:
            self._finish(reading)

    def _take(self, reading: _Reading, at: int, end: int) -> int:
        if reading.keep:
            reading.body += self._view[at:end]
        reading.length += end - at
        return end

    def _read_body(self, reading: _Reading, at: int, end: int) -> int:
        stop = min(end, at + reading.remaining)
        self._take(reading, at, stop)
        reading.remaining -= stop - at
        if reading.remaining == 0:
            if reading.chunked:
                reading.remaining = -1
            else:
                self._finish(reading)
        return stop

    def _read_chunk_size(self, reading: _Reading, at: int, end: int) -> int:
        """Read one line: a chunk's size, the empty line after a chunk, or a trailer."""
        place = self._buffer.find(b"\n", at, end)
        stop = end if place < 0 else place + 1
        reading.line += self._view[at:stop]
        if place < 0:
            return stop
        line = bytes(reading.line).strip()
        reading.line.clear()
        if reading.last_chunk:
            if not line:
                self._finish(reading)
        elif line:
            reading.remaining = int(line.split(b";")[0], 16) or -1
            reading.last_chunk = reading.remaining == -1
        return stop

    def _fail(self, reading: _Reading, reason: str) -> None:
        reading.done.set_exception(BrokenAnswer(reason))
        self.close()

    def _finish(self, reading: _Reading) -> None:
        seconds = time.perf_counter() - reading.started
        head, body = bytes(reading.head), bytes(reading.body)
        if not reading.done.done():
            answer = Answer(reading.status, head, reading.length, body, seconds)
            reading.done.set_result(answer)


@dataclass(frozen=True, slots=True)
class Load:
    """What a number of connections did together: seconds of each answer, in order of arrival."""

    seconds: float
    latencies: list[float]
    received: int

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds


def build_get(path: str, headers: Iterable[tuple[str, str]] = (), *, host: str = "") -> Message:
    """Return a GET request as one buffer."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or '127.0.0.1'}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return [("\r\n".join(lines) + "\r\n\r\n").encode("ascii")]


async def run_load(
    connections: Sequence[Connection],
    messages: Iterator[Message],
    check: Callable[[Answer], object],
    *,
    seconds: float = float("inf"),
) -> Load:
    """Keep every connection busy until the messages end or the seconds are over.

    A request that was begun is finished; time runs from the first request to the last answer.
    `check` raises when an answer is not the one expected: a wrong answer is no speed.
    """
    latencies: list[float] = []
    received = 0
    started = time.perf_counter()
    deadline = started + seconds

    async def work(connection: Connection) -> None:
        nonlocal received
        for message in messages:
            answer = await connection.request(message)
            check(answer)
            latencies.append(answer.seconds)
            received += answer.length
            if time.perf_counter() >= deadline:
                return

    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(work(connection))
    return Load(time.perf_counter() - started, latencies, received)


def open_connections(port: int, clients: int) -> list[Connection]:
    """Return connections that open themselves with their first request."""
    return [Connection(port) for _ in range(clients)]
