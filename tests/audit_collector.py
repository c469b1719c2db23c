"""An audit repository for tests: syslog over TLS in a process of its own, which can be killed.

It writes each message that it has read to a file, one on a line, and answers a close_notify after
that, as RFC 5425 says.
"""

import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WAIT_SECONDS = 20


def make_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a certificate for 127.0.0.1 that signs itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / f"{name}.pem", directory / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(encoding, form, none))
    return certificate, secret


class Collector:
    """A repository on a port that stays the same over its deaths."""

    def __init__(self, directory: Path, clients: Path | None = None) -> None:
        self.certificate, self._key = make_certificate(directory, "collector")
        self._told = directory / "told"
        self._clients = clients
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    @property
    def address(self) -> str:
        """What it is told by."""
        return f"tls://127.0.0.1:{self.port}"

    def start(self, dies_after: int = 0) -> None:
        """Listen; die, if that is above 0, in the middle of the message after so many."""
        files = (self.certificate, self._key, self._told, self._clients or "")
        command = [sys.executable, __file__, *map(str, (self.port, dies_after, *files))]
        self._process = subprocess.Popen(command)
        for _ in range(WAIT_SECONDS * 50):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("the collector does not listen")

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def messages(self) -> list[bytes]:
        """What it has read."""
        return self._told.read_bytes().split(b"\n")[:-1] if self._told.exists() else []


def _serve(arguments: list[str]) -> None:
    port, dies_after, certificate, key, told, clients = arguments
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    server = socket.create_server(("127.0.0.1", int(port)))
    left = int(dies_after)
    while True:
        plain, _ = server.accept()
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as tls:
            while message := _read(tls):
                left -= 1
                with Path(told).open("ab") as file:
                    file.write(message.replace(b"\n", b" ") + b"\n")
                if left == 0:
                    sys.exit(1)
            tls.unwrap()


def _read(tls: ssl.SSLSocket) -> bytes:
    """Return the next message, nothing at the end."""
    length = b""
    while (digit := tls.recv(1)) not in {b" ", b""}:
        length += digit
    message = b""
    while length and len(message) < int(length):
        message += tls.recv(int(length) - len(message))
    return message


if __name__ == "__main__":
    _serve(sys.argv[1:])
