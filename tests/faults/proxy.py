"""A proxy before a real S3 server that does to some requests what networks do."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Does(Enum):
    """What is done to a request."""

    PASS = auto()
    LATE = auto()
    """It is answered after `Plan.seconds`."""
    TWICE = auto()
    """It is sent twice, and the second answer is given."""
    BUSY = auto()
    """It is answered with 503 and goes nowhere."""
    CUT = auto()
    """The connection is closed, and it goes nowhere."""
    LOSE_ANSWER = auto()
    """It is sent, and the connection is closed instead of an answer."""


@dataclass(slots=True)
class Plan:
    """What happens to requests of one method, and for how many of them."""

    method: str = "PUT"
    does: Does = Does.PASS
    times: int = 0
    seconds: float = 0.5
    met: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, method: str, does: Does, times: int = 1, seconds: float = 0.5) -> None:
        """Do something from now on."""
        self.method, self.does, self.times, self.seconds = method, does, times, seconds
        self.met = 0

    def next(self, method: str) -> Does:
        """Say what is done to a request."""
        with self._lock:
            if method != self.method or self.met >= self.times:
                return Does.PASS
            self.met += 1
            return self.does


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens, and what it does."""

    endpoint: str
    plan: Plan


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: Plan
    behind: str

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # a client that waits no more
            self.close_connection = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        does = self.plan.next(self.command)
        if does is Does.CUT:
            self._cut()
            return
        if does is Does.BUSY:
            self._answer(503, [("Retry-After", "0")], b"")
            return
        status, fields, content = self._forward(body)
        if does is Does.TWICE:
            status, fields, content = self._forward(body)
        if does is Does.LOSE_ANSWER:
            self._cut()
            return
        if does is Does.LATE:
            time.sleep(self.plan.seconds)
        self._answer(status, fields, content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection(self.behind, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer: HTTPResponse = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _answer(self, status: int, fields: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in fields:
            if name.lower() == "content-length":
                length = value if self.command == "HEAD" else length
            elif name.lower() not in {"transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy_before(endpoint: str) -> Iterator[Proxy]:
    """Run a proxy before a server until the block ends."""
    plan = Plan()
    handler = type("Handler", (_Handler,), {"plan": plan, "behind": urlsplit(endpoint).netloc})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Proxy(f"http://127.0.0.1:{server.server_address[1]}", plan)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
