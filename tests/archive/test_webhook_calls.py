"""How webhooks are called: signatures, secrets, certificates; the receiver of the documentation."""

import asyncio
import base64
import re
import shutil
import ssl
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.archive import webhooks
from app.archive.context import Archive
from app.archive.webhook_calls import check_url, make_secret, read_secret, sign
from app.errors import InvalidRequest, Unavailable
from app.rights import Principal
from benchmarks.server import free_port
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/webhooks.md"


def test_the_signature_is_that_of_the_published_example() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_made_is_random_and_can_be_read() -> None:
    secret = make_secret()
    assert secret != make_secret()
    assert read_secret(f"{secret}\n") == secret
    assert read_secret(secret.removeprefix("whsec_")) == secret
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_short", "whsec_" + "A" * 28, "whsec_" + "ä" * 32, "A" * 200]
)
def test_what_is_no_secret_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_secret(text)
    assert "openssl rand -base64 32" in str(refused.value)
    assert len(text) < 8 or text not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ris",
        "ftp://ris/",
        "https://",
        "https://a:b@ris/",
        "https://ris/#x",
        "http://x:y/",
        "http://x:0/",
        "http://x:99999/",
    ],
)
def test_what_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        check_url(url)


@contextmanager
def https(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """Run a server whose certificate it has signed itself; yield its URL, and what it was asked."""
    subprocess.run([ROOT / "deploy/make-certificate", directory, "localhost"], check=True)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """Be silent about a caller who went away."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    archive: Archive, tmp_path: Path
) -> None:
    operator = Principal("operator")
    with https(tmp_path) as (url, asked):
        made = await webhooks.add(archive, operator, url, [])
        with pytest.raises(Unavailable, match=r"could not be called: .*CERTIFICATE_VERIFY_FAILED"):
            await webhooks.try_out(archive, operator, made.id)
    assert asked == []


async def test_the_receiver_of_the_documentation_verifies(
    archive: Archive, principal: Principal
) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace("9000", str(port)), stdout=PIPE, stderr=DEVNULL
    )
    try:
        secret = re.search(r"whsec_[^\"]+", program)
        assert secret is not None
        url = f"http://127.0.0.1:{port}/"
        right = await webhooks.add(archive, principal, url, [], secret[0])
        wrong = await webhooks.add(archive, principal, f"{url}?wrong", [])

        async def is_up() -> bool:
            with suppress(Unavailable):
                return await webhooks.try_out(archive, principal, right.id) == 204
            return False

        await until(is_up)
        assert await webhooks.try_out(archive, principal, wrong.id) == 401
        assert process.stdout is not None
        assert re.fullmatch(
            rb'msg_[0-9a-f]{32} \{"type":"test",.*\}\n', await process.stdout.readline()
        )
    finally:
        process.kill()
        await process.wait()
