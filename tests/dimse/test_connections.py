"""Connections to the archive: kept, found closed, broken off, refused early; by raw servers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from app.dimse.connections import Connections, NoAnswer, Response

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[socket.socket, int], None]


@contextmanager
def _server(serve: Serve) -> Iterator[Connections]:
    """Serve each connection by its number, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            number = 0
            while True:
                try:
                    connected, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=_served, args=(serve, connected, number)).start()
                number += 1

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/base"
        with closing(Connections(url, 2)) as connections:
            yield connections
        listening.shutdown(socket.SHUT_RDWR)


def _served(serve: Serve, connected: socket.socket, number: int) -> None:
    with connected:
        connected.settimeout(30)
        with suppress(ConnectionError):
            serve(connected, number)


def _head(connected: socket.socket) -> bytes:
    """Return a request's head, b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connected.recv(1)
        if not more:
            return b""
        data += more
    return data


def test_one_connection_serves_one_request_after_the_other() -> None:
    seen: list[tuple[int, bytes]] = []

    def serve(connected: socket.socket, number: int) -> None:
        while head := _head(connected):
            seen.append((number, head.split(b"\r\n")[0]))
            connected.sendall(_OK)

    with _server(serve) as connections:
        for path in ("/one", "/two"):
            assert connections.send("GET", path, {"X": "y"}) == Response(200, "text/plain", b"ok")
    assert seen == [(0, b"GET /base/one HTTP/1.1"), (0, b"GET /base/two HTTP/1.1")]


def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    ended = threading.Event()

    def serve(connected: socket.socket, number: int) -> None:
        _head(connected)
        connected.sendall(_OK)
        if number == 0:
            connected.close()
            ended.set()
        else:
            _head(connected)

    with _server(serve) as connections:
        assert connections.send("GET", "/", {}).content == b"ok"
        assert ended.wait(30)
        assert connections.send("GET", "/", {}).content == b"ok"


def test_who_is_refused_before_the_end_gets_the_refusal() -> None:
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def serve(connected: socket.socket, _: int) -> None:
        _head(connected)
        connected.sendall(refusal)
        connected.shutdown(socket.SHUT_WR)
        while connected.recv(2**16):
            pass

    pieces = [bytes(2**16)] * 64
    with _server(serve) as connections:
        headers = {"Content-Length": str(2**22)}
        assert connections.send("POST", "/", headers, pieces).status_code == 413


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsho",
        b"no HTTP at all\r\n\r\n",
    ],
)
def test_what_breaks_off_is_no_answer(answer: bytes) -> None:
    def serve(connected: socket.socket, _: int) -> None:
        _head(connected)
        connected.sendall(answer)

    with _server(serve) as connections:
        with pytest.raises(NoAnswer):
            connections.send("GET", "/", {})
        with pytest.raises(NoAnswer):
            connections.receive("/", {}, lambda _: True)


def test_a_body_is_taken_until_somebody_has_enough() -> None:
    def serve(connected: socket.socket, _: int) -> None:
        while _head(connected):
            connected.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3000000)
            )

    taken: list[int] = []

    def take(piece: memoryview) -> bool:
        taken.append(len(piece))
        return sum(taken) < 500_000

    with _server(serve) as connections:
        assert connections.receive("/", {}, take) == 200
        assert 500_000 <= sum(taken) < 3_000_000
        taken[:] = [-3_000_000]
        assert connections.receive("/", {}, take) == 200
        assert sum(taken) == 0


def test_what_cannot_be_sent_is_no_answer_and_what_cannot_be_had_comes_through() -> None:
    def serve(connected: socket.socket, _: int) -> None:
        _head(connected)

    def broken() -> Iterator[bytes]:
        yield b"piece"
        raise OSError("the disk")

    with _server(serve) as connections:
        with pytest.raises(NoAnswer):
            connections.send("GET", "/", {"X": "a\r\nY: b"})
        with pytest.raises(OSError, match="the disk"):
            connections.send("POST", "/", {"Content-Length": "9"}, broken())


def test_where_nobody_listens_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(NoAnswer, match="Refused"):
        Connections(f"http://127.0.0.1:{port}", 1).send("GET", "/", {})
