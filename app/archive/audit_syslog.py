"""Audit messages as syslog (RFC 5424) over TLS (RFC 5425), as PS3.15 §A.6 says.

Syslog has no acknowledgement: what was written into a socket may never be read. So each batch has a
connection of its own, and counts as taken when the collector has closed its side after ours: it
answers our close_notify (RFC 5425 §4.4), and reads what came before it first. A collector that
dies in the middle resets the connection; the batch is sent again, and some of it comes twice.
"""

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from app.dicom.audit_message import AuditFact, moment, write_audit_message
from app.errors import Unavailable

PORT = 6514
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
    host = parts.hostname or ""
    context = files.context()
    try:
        with (
            socket.create_connection((host, parts.port or PORT), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host, suppress_ragged_eofs=False) as tls,
        ):
            tls.sendall(b"".join(messages))
            _close(tls)
    except OSError as error:
        raise Unavailable(f"{address}: {error.strerror or type(error).__name__}") from None


def _close(tls: ssl.SSLSocket) -> None:
    """Say that nothing more comes, and wait until the collector says so, too."""
    try:
        tls.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return  # it closed without a word, having read all: else its kernel had sent a reset
