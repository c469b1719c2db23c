"""The socket that `serve` listens on: bound once by the parent, inherited by the workers."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from app.cli.refusal import Refusal


@contextlib.contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bind host and port (0: any that is free), without listening yet.

    Raises:
        Refusal: the port is in use or may not be bound, or the host is not ours.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise Refusal(f"The host {host} is not known; give an address of this machine.") from None
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0])
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            bound.bind(address)
        except OSError as error:
            raise Refusal(_why(error, host, port)) from None
        yield bound


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program. Stop that one, or choose "
            "another port with --port."
        )
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}; choose one above 1023 with --port."
    return f"Cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)}."
