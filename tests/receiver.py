"""A receiver of webhooks on loopback, as somebody else's program is one: it verifies, and fails."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One message: its id, its body, and whether the signature is that of the secret."""

    id: str
    body: dict[str, Any]
    genuine: bool
    headers: dict[str, str]

    @property
    def positions(self) -> list[str]:
        return [change["position"] for change in self.body["data"]["changes"]]


@dataclass
class Receiver:
    """What was received, and what is answered: a status, after so many seconds."""

    url: str = ""
    secret: str = "whsec_" + base64.b64encode(bytes(32)).decode()
    answer: Callable[[int], tuple[int, float]] = lambda _: (204, 0.0)
    calls: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    location: str = ""

    def positions(self) -> list[str]:
        """Return the positions of all changes, in the order in which they were accepted."""
        return [position for call in self.calls for position in call.positions]

    def verify(self, headers: dict[str, str], body: bytes) -> bool:
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = b".".join(
            [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body]
        )
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 60
        return fresh and f"v1,{mac}" in headers["webhook-signature"].split()


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Run a receiver for the block."""
    receiver = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            genuine = receiver.verify(headers, body)
            with lock:
                call = Received(headers["webhook-id"], json.loads(body), genuine, headers)
                receiver.calls.append(call)
                number = len(receiver.calls)
                receiver.at_once += 1
                receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
            status, seconds = receiver.answer(number)
            time.sleep(seconds)
            with lock:
                receiver.at_once -= 1
            self.send_response(status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Be silent about a caller who went away."""

    server = Server(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/fileroom?token=hidden"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
