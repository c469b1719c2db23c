"""A network of our own: Orthanc listens on every address, whatever its settings say.

The whole run starts itself again inside a new network and mount namespace in which only the
loopback interface exists. Nothing on the machine's real network can reach either server.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys

_MARK = "BENCHMARK_NAMESPACE"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

NOT_PERMITTED = (
    "The benchmark needs a network namespace of its own, because Orthanc listens on every\n"
    "address, and this user may not make one. Run it as root (`sudo make bench`), or in a\n"
    "container or virtual machine where `unshare --net --mount true` works."
)


def is_inside() -> bool:
    """Return whether this process was started by `enter`."""
    return os.environ.get(_MARK) == "1"


def check_permitted() -> None:
    """Exit with a plain sentence if no namespace can be made here."""
    unshare = shutil.which("unshare")
    if unshare is None:
        sys.exit("The command `unshare` is missing; it comes with the package util-linux.")
    trial = subprocess.run([unshare, "--net", "--mount", "true"], check=False, capture_output=True)
    if trial.returncode:
        sys.exit(NOT_PERMITTED)


def enter(arguments: list[str], module: str = "benchmarks") -> int:
    """Run `python -m` with `arguments` inside a new namespace; return its exit code."""
    command = ["unshare", "--net", "--mount", sys.executable, "-m", module, *arguments]
    inner = subprocess.Popen(command, env={**os.environ, _MARK: "1"})
    signal.signal(signal.SIGTERM, lambda *_: inner.terminate())
    while True:
        try:
            return inner.wait()
        except KeyboardInterrupt:  # the terminal told both: wait until the servers are stopped
            continue


def end_on_sigterm() -> None:
    """Let SIGTERM unwind as Ctrl-C does, so that the servers are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def bring_up_loopback() -> None:
    """Switch the interface `lo` on; iproute2 need not be installed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def check_alone() -> None:
    """Refuse to go on where another interface than loopback exists."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    # tunnel templates such as sit0 are made by the kernel in every namespace and are down
    if any(_is_up(name) for name in others):
        raise RuntimeError(f"not alone in this network: {', '.join(others)}")


def _is_up(name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", name.encode(), 0)
        flags: int = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
    return bool(flags & _IFF_UP)
