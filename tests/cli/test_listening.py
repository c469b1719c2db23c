"""Binding the port, and what is said when it cannot be bound."""

import errno
import socket

import pytest

from app.cli.listening import _why, bound_socket
from app.cli.refusal import Refusal


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_a_loopback_address_is_bound_and_not_yet_listened_on(host: str) -> None:
    with bound_socket(host, 0) as bound:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(bound.getsockname()[:2], 1)
        bound.listen()
        socket.create_connection(bound.getsockname()[:2], 1).close()


def test_localhost_is_ipv4_first() -> None:
    with bound_socket("localhost", 0) as bound:
        assert bound.family == socket.AF_INET


def test_a_port_in_use_is_refused() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with (
            pytest.raises(Refusal, match=f"Port {port} on 127.0.0.1 is in use"),
            bound_socket("127.0.0.1", port),
        ):
            pass


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("no.such.host.invalid", "is not known"),
        ("192.0.2.1", "Cannot assign requested address"),
    ],
)
def test_a_host_that_is_not_ours_is_refused(host: str, message: str) -> None:
    with pytest.raises(Refusal, match=message), bound_socket(host, 0):
        pass


def test_a_port_for_root_alone_is_explained() -> None:
    error = OSError(errno.EACCES, "Permission denied")
    assert "may not listen on port 80; choose one above 1023" in _why(error, "127.0.0.1", 80)
