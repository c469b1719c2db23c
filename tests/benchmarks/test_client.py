"""The load client reads every kind of answer, however it is cut into packets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.client import Answer, BrokenAnswer, Connection, build_get, run_load

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;note=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
)
CLOSED = b"HTTP/1.1 200 OK\r\n\r\nhello"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def serve(pieces: list[bytes], *, close: bool = False) -> AsyncIterator[int]:
    """Answer every request with the pieces, each in a packet of its own."""

    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                if close:
                    break
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.create_task(answer(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*answering)


def whole(data: bytes) -> list[bytes]:
    return [data]


def by_the_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("cut", [whole, by_the_byte])
@pytest.mark.parametrize(
    ("answer", "body"),
    [(LENGTH, b"hello"), (CHUNKED, b"hello"), (CONTINUED, b"hello"), (EMPTY, b"")],
)
async def test_an_answer_is_read_and_the_connection_used_again(
    answer: bytes, body: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    async with serve(cut(answer)) as port:
        connection = Connection(port)
        for _ in range(3):
            found = await connection.request(build_get("/"), keep=True)
            assert (found.body, found.length) == (body, len(body))
        connection.close()


async def test_an_answer_without_length_ends_with_the_connection() -> None:
    async with serve([CLOSED], close=True) as port:
        connection = Connection(port)
        for _ in range(2):
            assert (await connection.request(build_get("/"), keep=True)).body == b"hello"


@pytest.mark.parametrize(
    "broken", [LENGTH[:-1], CHUNKED[:-30], b"HTTP/1.1 200", b"SMTP ready\r\n\r\n"]
)
async def test_a_broken_answer_is_an_error(broken: bytes) -> None:
    async with serve([broken], close=True) as port:
        with pytest.raises(BrokenAnswer):
            await Connection(port).request(build_get("/"))


async def test_a_load_counts_answers_and_stops_at_a_wrong_one() -> None:
    async with serve([LENGTH]) as port:
        connections = [Connection(port), Connection(port)]
        load = await run_load(connections, iter([build_get("/")] * 10), lambda _: None)
        assert (len(load.latencies), load.received) == (10, 50)

        def refuse(answer: Answer) -> None:
            raise ValueError(answer.status)

        with pytest.raises(ExceptionGroup):
            await run_load(connections, iter([build_get("/")]), refuse)
        for connection in connections:
            connection.close()


def test_headers_are_found_without_case() -> None:
    answer = Answer(200, b"HTTP/1.1 200 OK\r\nContent-TYPE: a/b\r\n", 0, b"", 0.0)
    assert (answer.header("content-type"), answer.header("etag")) == ("a/b", None)
