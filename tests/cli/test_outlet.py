"""Answers that are ranges of files: a real server, a real socket, clients of all kinds."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from app.cli.asgi_server import Server, configuration
from app.cli.listening import bound_socket
from app.dicom.limits import Limits
from app.objects.extents import FILES, Extent
from app.settings import Http, Settings

SETTINGS = Settings(
    http=Http(keep_alive_seconds=2, drain_seconds=1, connections=20), limits=Limits(body_seconds=1)
)
SIZE = 16 * 2**20
BEFORE, BEHIND = b"before\n", b"\nbehind"


class _File:
    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.fd)


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "object").write_bytes(content)
    return tmp_path / "object"


class _Application:
    """Answers /offset/length with that range of a file between some bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        assert FILES in scope["extensions"]
        offset, length = map(int, scope["path"].strip("/").split("/"))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % (length + len(BEFORE + BEHIND)))],
            }
        )
        extent = Extent(_File(self.path), offset, length)
        for body in (BEFORE, extent, BEHIND):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.files += 1


@pytest.fixture
def application(path: Path) -> _Application:
    return _Application(path)


@pytest.fixture
def port(application: _Application) -> Iterator[int]:
    """Serve in a thread that has the event loop of `serve`."""
    with bound_socket("127.0.0.1", 0) as listening:
        ready = threading.Event()
        server = Server(configuration(SETTINGS, application), SETTINGS, ready.set)
        thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listening])))
        thread.start()
        assert ready.wait(20)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(offset: int, length: int, *fields: str) -> bytes:
    lines = [f"GET /{offset}/{length} HTTP/1.1", "Host: a", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def answer(reader: asyncio.StreamReader, length: int) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert head.startswith(b"HTTP/1.1 200 OK")
    body = await asyncio.wait_for(reader.readexactly(length + len(BEFORE + BEHIND)), 20)
    assert body.startswith(BEFORE)
    assert body.endswith(BEHIND)
    return body.removeprefix(BEFORE).removesuffix(BEHIND)


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (7, 70_000), (4097, SIZE - 4097)])
async def test_a_range_arrives_between_what_was_written_around_it(
    port: int, content: bytes, offset: int, length: int
) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(request(offset, length))
            assert await answer(reader, length) == content[offset : offset + length]


async def test_answers_to_requests_sent_at_once_come_in_their_order(
    port: int, content: bytes
) -> None:
    ranges = [(number, 3 * 2**20 + number) for number in range(5)]
    async with connected(port) as (reader, writer):
        writer.write(b"".join(request(*one) for one in ranges))
        for offset, length in ranges:
            assert await answer(reader, length) == content[offset : offset + length]


async def test_the_last_answer_is_whole_before_the_connection_closes(
    port: int, content: bytes
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(request(0, SIZE, "Connection: close"))
        assert await answer(reader, SIZE) == content
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_a_slow_client_is_waited_for_and_the_application_with_it(
    port: int, content: bytes, application: _Application
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(request(0, SIZE))
        await asyncio.sleep(0.3)
        assert application.files == 0  # it has not written what comes behind
        assert await answer(reader, SIZE) == content
    assert application.files == 1


async def test_a_client_that_takes_nothing_is_sent_away(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(request(0, SIZE))
        await asyncio.sleep(4)
        with pytest.raises(asyncio.IncompleteReadError):
            await answer(reader, SIZE)


async def test_a_file_that_ends_early_aborts_the_connection(port: int, path: Path) -> None:
    os.truncate(path, 2**20)
    async with connected(port) as (reader, writer):
        writer.write(request(0, SIZE))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await answer(reader, SIZE)


async def test_a_client_that_goes_away_leaves_no_file_open(port: int, path: Path) -> None:
    async with connected(port) as (_, writer):
        writer.write(request(0, SIZE))
        await asyncio.sleep(0.2)
        assert str(path) in _open_files()
    for _ in range(50):
        if str(path) not in _open_files():
            return
        await asyncio.sleep(0.1)
    pytest.fail("the file is still open")


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(entry.readlink()))
    return found
