"""Audit messages as syslog (RFC 5424) over TLS (RFC 5425), as PS3.15 §A.6 says.

Syslog has no acknowledgement: what was written into a socket may never be read. So each batch has a
connection of its own, and counts as taken when the collector has closed its side after ours: it
answers our close_notify (RFC 5425 §4.4), and reads what came before it first. A collector that
dies in the middle resets the connection; the batch is sent again, and some of it comes twice.
"""

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from app.dicom.audit_message import AuditFact, moment, write_audit_message
from app.errors import Unavailable

PORT = 6514
_BLOCK = 2**16
SECONDS = 15.0
"""For each step of a conversation."""
_SECURITY, _NOTICE, _WARNING = 10, 5, 4
"""Facility and severities of RFC 5424 §6.2.1."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What proves the collector, the system's roots if None, and what proves us to it."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return how connections are made: TLS 1.2 or later, the collector's name checked.

        Raises:
            Unavailable: a file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # SSLError is one
            why = error.strerror or type(error).__name__
            raise Unavailable(f"the files of TLS for audit cannot be used: {why}") from None
        return context


def syslog_message(fact: AuditFact, source: str) -> bytes:
    """Return a message in the frame that it is sent in: its length, a space, itself."""
    severity = _WARNING if fact.outcome else _NOTICE
    head = (
        f"<{8 * _SECURITY + severity}>1 {moment(fact.at)} {source} fileroom {os.getpid()} "
        "DICOM+RFC3881 - "
    )
    message = head.encode() + b"\xef\xbb\xbf" + write_audit_message(fact, source)
    return b"%d %b" % (len(message), message)


def send_syslog(address: str, files: TlsFiles, messages: Sequence[bytes]) -> None:
    """Send messages to `tls://host:port`, and return when they were taken.

    Raises:
        Unavailable: they may not all have been.
    """
    parts = urlsplit(address)
    host, context = parts.hostname or "", files.context()
    try:
        with socket.create_connection((host, parts.port or PORT), SECONDS) as plain:
            conversation = _Conversation(plain, context, host)
            conversation.say(b"".join(messages))
            conversation.end()
    except OSError as error:
        raise Unavailable(f"{address}: {error.strerror or type(error).__name__}") from None


class _Conversation:
    """TLS over a socket, by hand: what comes is looked at where an alert is an error.

    With TLS 1.3 a collector refuses our certificate after the handshake, when messages are on
    their way already; and `SSLSocket.unwrap` takes its alert for the close that it waits for.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._plain = plain
        self._heard, self._said = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._heard, self._said, server_hostname=host)
        while not self._is_done(self._tls.do_handshake):
            self._hear()

    def say(self, data: bytes) -> None:
        """Send some bytes."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
            self._send()

    def end(self) -> None:
        """Say that nothing more comes, and wait until the collector says so, too.

        One that closes without a word has read all: else its kernel had sent a reset.
        """
        if self._is_closed():
            raise ConnectionAbortedError
        self._is_done(self._tls.unwrap)
        while not self._is_closed():
            self._hear()

    def _is_closed(self) -> bool:
        try:
            self._is_done(partial(self._tls.read, 1))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return True
        return False

    def _is_done(self, step: Callable[[], object]) -> bool:
        """Take a step with what was heard so far; say whether that was enough for it."""
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send()
        return True

    def _send(self) -> None:
        self._plain.sendall(self._said.read())

    def _hear(self) -> None:
        if data := self._plain.recv(_BLOCK):
            self._heard.write(data)
        else:
            self._heard.write_eof()
