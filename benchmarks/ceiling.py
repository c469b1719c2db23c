"""What the client itself reaches: a server that does nothing but answer."""

import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from benchmarks.client import Answer, build_get, open_connections, run_load

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FRAME_SIZE = 512 * 512 * 2
_FRAME = bytes(FRAME_SIZE)


async def answer_trivially(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once: nothing at `/`, as many zeros as a CT frame has at `/frame`."""
    if scope["type"] != "http":
        return
    body = _FRAME if scope["path"] == "/frame" else b""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Requests per second of the client against the trivial server."""

    path: str
    clients: int
    rate: float


def _check(answer: Answer) -> None:
    assert answer.status == 200, answer.head


async def measure_ceiling(port: int, seconds: float) -> list[Ceiling]:
    """Return the client's own rates, with and without a body, for 1, 8 and 16 connections."""
    command = [sys.executable, "-m", "uvicorn", "benchmarks.ceiling:answer_trivially"]
    command += ["--port", str(port), "--no-access-log", "--log-level", "error"]
    server = subprocess.Popen([*command, "--loop", "uvloop", "--http", "httptools"])  # noqa: ASYNC220
    try:
        _wait_until_open(port)
        found = []
        for path, clients in itertools.product(("/", "/frame"), (1, 8, 16)):
            connections = open_connections(port, clients)
            message = itertools.repeat(build_get(path))
            load = await run_load(connections, message, _check, seconds=seconds)
            found.append(Ceiling(path, clients, load.rate))
            for connection in connections:
                connection.close()
        return found
    finally:
        server.terminate()
        server.wait()


def _wait_until_open(port: int, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens at port {port}")
        time.sleep(0.05)
