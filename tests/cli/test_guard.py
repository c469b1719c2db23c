"""Slow, silent and endless clients, against a real server on a real socket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from app.cli.asgi_server import Server, configuration
from app.cli.guard import HEAD_BYTES
from app.cli.listening import bound_socket
from app.dicom.limits import Limits
from app.errors import UnsupportedMediaType
from app.settings import Http, Settings
from app.web.faults import Faults
from tests.cost import costs_at_most

QUICK = Settings(
    http=Http(
        header_seconds=1,
        keep_alive_seconds=2,
        drain_seconds=1,
        connections=20,
        connections_per_address=12,
    ),
    limits=Limits(body_seconds=1, body_rate=1),
)
FAST = QUICK.model_copy(update={"limits": Limits(body_seconds=1, body_rate=2**20)})
"""A mebibyte a second is little for this machine, and much for who sends a byte at a time."""
PATIENT = QUICK.model_copy(update={"http": Http(drain_seconds=1), "limits": Limits()})
"""For what is not about time: a busy machine lets a second pass by between two lines of a test."""
UNHURRIED = QUICK.model_copy(update={"limits": Limits(body_seconds=4)})
patient = pytest.mark.parametrize("port", [PATIENT], indirect=True)
OK = b"HTTP/1.1 200 OK"
ENDED = ("fileroom_connections_ended_total", {"why": "service unavailable"})
TOO_SLOW = b"HTTP/1.1 408 Request Timeout"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, then send as many bytes as the path says."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["path"] == "/refused":
        raise UnsupportedMediaType("octets")
    if scope["path"] == "/unread":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"].startswith("/early/"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if scope["path"].startswith("/late/"):
        await asyncio.sleep(0.5)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    if scope["path"].startswith("/busy/"):
        await asyncio.sleep(2.5)
    megabytes = int(scope["path"].rsplit("/", 1)[1])
    length = str(megabytes * 2**20).encode()
    headers = [(b"content-length", length)]
    if not scope["path"].startswith("/early/"):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(megabytes):
        await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    settings = getattr(request, "param", QUICK)
    with bound_socket("127.0.0.1", 0) as listening:
        ready = asyncio.Event()
        config = configuration(settings, cast("Any", Faults(application)))
        server = Server(config, settings, ready.set)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        await asyncio.wait_for(ready.wait(), 20)
        yield listening.getsockname()[1]
        server.should_exit = True
        await running


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Return all that comes until the server closes."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), 20)
        return b""


@contextlib.asynccontextmanager
async def client(port: int, address: str = "127.0.0.1") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_client_that_says_nothing_is_sent_away(port: int) -> None:
    async with client(port) as silent:
        assert (await silent.rest()).startswith(TOO_SLOW)


async def test_a_head_that_trickles_is_sent_away_though_it_never_stops(port: int) -> None:
    async with client(port) as slow:
        asked = asyncio.create_task(slow.rest())
        await slow.send(b"GET /0 HTTP/1.1\r\nHost: a\r\n")
        while not asked.done():
            await slow.send(b"X: y\r\n")
            await asyncio.sleep(0.1)
        assert asked.result().startswith(TOO_SLOW)


async def test_a_body_that_stands_still_is_sent_away(port: int) -> None:
    async with client(port) as slow:
        await slow.send(b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        assert (await slow.rest()).startswith(TOO_SLOW)


@pytest.mark.parametrize("port", [UNHURRIED], indirect=True)
async def test_a_body_that_stands_still_aborts_an_answer_that_has_begun(port: int) -> None:
    async with client(port) as slow:
        await slow.send(b"POST /early/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        answer = await slow.rest()
        assert answer.startswith(OK)
        assert b"begun" in answer
        assert not answer.endswith(b"0\r\n\r\n")


async def test_a_body_that_goes_on_slowly_is_taken(port: int) -> None:
    async with client(port) as slow:
        await slow.send(
            b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
        )
        for _ in range(8):
            await slow.send(b"a")
            await asyncio.sleep(0.4)
        assert (await slow.rest()).startswith(OK)


@pytest.mark.parametrize("port", [FAST], indirect=True)
async def test_a_body_that_trickles_is_sent_away_though_it_never_stops(port: int) -> None:
    async with client(port) as slow:
        asked = asyncio.create_task(slow.rest())
        await slow.send(b"POST /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        while not asked.done():
            await slow.send(b"a" * 100)
            await asyncio.sleep(0.1)
        assert asked.result().startswith(TOO_SLOW)


@pytest.mark.parametrize("port", [FAST], indirect=True)
async def test_an_answer_that_is_taken_in_trickles_is_aborted(port: int) -> None:
    loop, taken = asyncio.get_running_loop(), 0
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setblocking(False)
        await loop.sock_sendall(slow, b"GET /40 HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                taken += len(await loop.sock_recv(slow, 4096))
                await asyncio.sleep(0.1)
            while chunk := await asyncio.wait_for(loop.sock_recv(slow, 2**20), 10):
                taken += len(chunk)
    assert taken < 40 * 2**20


async def test_requests_under_way_are_counted_once_a_second(port: int) -> None:
    async with client(port) as patient:
        await patient.send(b"GET /busy/0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(1.5)
        assert REGISTRY.get_sample_value("fileroom_http_requests_open") == 1
        assert (await patient.rest()).startswith(OK)


async def test_work_that_takes_long_after_a_whole_body_is_waited_for(port: int) -> None:
    async with client(port) as patient:
        await patient.send(b"GET /busy/0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await patient.rest()).startswith(OK)


async def test_an_answer_that_nobody_takes_is_aborted(port: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as deaf:
        deaf.setblocking(False)
        await loop.sock_sendall(deaf, b"GET /40 HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(4)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(loop.sock_recv(deaf, 2**20), 10):
                taken += len(chunk)
        assert taken < 40 * 2**20


async def test_an_answer_that_is_taken_slowly_comes_whole(port: int) -> None:
    async with client(port) as slow:
        await slow.send(b"GET /12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        taken = 0
        while chunk := await slow.reader.read(2**20):
            taken += len(chunk)
            await asyncio.sleep(0.02)
        assert taken > 12 * 2**20


@patient
@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_a_head_without_end_is_refused(port: int, line: bytes) -> None:
    async with client(port) as endless:
        await endless.send(b"GET /0 HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(HEAD_BYTES // 1000 + 2):
            await endless.send(line)
            await asyncio.sleep(0)
        assert (await endless.rest()).startswith(b"HTTP/1.1 431")


@patient
@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_a_head_that_came_at_once_has_the_same_bound(port: int, body: bytes) -> None:
    fields = b"".join(b"X-%d: " % n + b"y" * 1000 + b"\r\n" for n in range(62))
    for more, status in ((0, b"200"), (4000, b"431")):
        async with client(port) as large:
            await large.send(
                b"POST /0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n%b"
                b"Z: %b\r\n\r\n%b" % (len(body), fields, b"z" * more, body)
            )
            assert (await large.rest()).startswith(b"HTTP/1.1 " + status)


async def test_many_requests_on_one_connection_do_not_add_up(port: int) -> None:
    async with client(port) as busy:
        for _ in range(80):
            await busy.send(b"GET /0 HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000 + b"\r\n\r\n")
            answer = await asyncio.wait_for(busy.reader.readuntil(b"\r\n\r\n"), 10)
            assert answer.startswith(OK)


BUSY = b"HTTP/1.1 503 Service Unavailable"


async def test_connections_beyond_the_bound_get_503(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for number in range(QUICK.http.connections):
            await stack.enter_async_context(client(port, f"127.0.0.{number % 2 + 2}"))
        late = await stack.enter_async_context(client(port))
        answer = await late.rest()
        assert answer.startswith(BUSY)
        assert b"\r\nretry-after: " in answer
        assert b"application/problem+json" in answer


async def test_one_address_has_so_many_connections_and_others_still_come_in(port: int) -> None:
    before = REGISTRY.get_sample_value(*ENDED) or 0
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(QUICK.http.connections_per_address):
            await stack.enter_async_context(client(port, "127.0.0.2"))
        same = await stack.enter_async_context(client(port, "127.0.0.2"))
        assert b"from this address" in await same.rest()
        other = await stack.enter_async_context(client(port, "127.0.0.3"))
        await other.send(b"GET /0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await other.rest()).startswith(OK)
    assert REGISTRY.get_sample_value(*ENDED) == before + 1


async def test_who_has_gone_makes_room(port: int) -> None:
    for _ in range(3 * QUICK.http.connections):
        async with client(port) as one:
            await one.send(b"GET /0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await one.rest()).startswith(OK)


@patient
@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not TLS"),
        (b"HELO a\r\n", 400, "A request of HTTP was expected"),
        ("GET /0?PatientName=Müller HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400, "percent-encode"),
        (b"GET /0?" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "up to 65536"),
        (b"GET /0?" + b"a" * 10 * HEAD_BYTES, 414, "up to 65536"),
    ],
)
async def test_what_is_no_request_is_refused_in_words(
    port: int, sent: bytes, status: int, detail: str
) -> None:
    async with client(port) as strange:
        await strange.send(sent)
        answer = await strange.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    head = answer.partition(b"\r\n\r\n")[0].splitlines()
    assert {b"content-type: application/problem+json", b"cache-control: no-store"} < set(head)
    assert b"x-content-type-options: nosniff" in head
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert document["status"] == status
    assert detail in document["detail"]


@patient
async def test_a_body_that_is_no_chunk_is_refused_once(port: int) -> None:
    async with client(port) as strange:
        await strange.send(
            b"POST /0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
        )
        answer = await strange.rest()
    assert answer.count(b"HTTP/1.1 ") == 1


ENDLESS = b"POST /refused HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 415 Unsupported Media Type"


async def sent_until_closed(one: Client, most: int) -> int:
    """Send a body of chunks until the server closes; return how many bytes went."""
    piece = bytes(2**20)
    for sent in range(0, most, len(piece)):
        if one.writer.is_closing() or one.reader.exception():
            return sent
        try:
            one.writer.write(b"100000\r\n" + piece + b"\r\n")
            await one.writer.drain()
        except ConnectionError:
            return sent
    return most


@patient
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_a_refused_body_without_end_is_not_read_for_ever(port: int, method: bytes) -> None:
    path = b"/refused" if method == b"POST" else b"/unread"  # G-30
    async with client(port) as endless:
        await endless.send(ENDLESS.replace(b"POST /refused", method + b" " + path))
        assert await asyncio.wait_for(sent_until_closed(endless, 2**30), 20) < 2**28


@patient
async def test_who_sends_much_after_a_refusal_sees_it_and_is_closed(port: int) -> None:
    async with client(port) as waiting:  # G-30
        await waiting.send(ENDLESS + b"3\r\nabc\r\n")
        answer = await waiting.rest()
        assert answer.startswith(REFUSED)
        assert b"connection: close" in answer.lower()
        assert b"octets" in answer


@patient
async def test_after_a_refused_short_body_the_connection_stays(port: int) -> None:
    async with client(port) as one:
        head = b"POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        await one.send(head + head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await one.rest()).count(REFUSED) == 2


@patient
async def test_chunks_of_a_byte_cost_no_more_than_their_bytes(port: int) -> None:
    large = b"%x\r\n" % 500_000 + bytes(500_000) + b"\r\n"
    head = b"POST /late/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with costs_at_most(4):
        for _ in range(4):
            async with client(port) as caller:
                await caller.send(head + large + b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n")
                assert (await caller.reader.readline()).startswith(OK)
