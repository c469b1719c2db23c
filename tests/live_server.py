"""Starts the archive as its users do: the command `fileroom serve`, a directory, a port."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.server import free_port

FILEROOM = str(Path(sys.executable).with_name("fileroom"))
READY_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True)
class LiveServer:
    """A running archive; `log` is all that it prints."""

    url: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def dicomweb(self) -> str:
        """The DICOMweb base."""
        return f"{self.url}/dicom-web"

    def stored_object(self, sop_instance_uid: str) -> bytes:
        """Return the one object that holds an Instance, from the object directory itself."""
        (path,) = (self.data_dir / "objects").rglob(f"{sop_instance_uid}.*.dcm")
        return path.read_bytes()


def clean_environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """Return the environment without settings of an archive, and `more` over it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FILEROOM_")}
    return {**kept, **more}


@contextmanager
def serve(
    directory: Path,
    *flags: str,
    command: Sequence[str] = (FILEROOM,),
    environment: Mapping[str, str] = {},
    trusted: ssl.SSLContext | None = None,
) -> Iterator[LiveServer]:
    """Run `fileroom serve` on `directory / "data"` until the block ends; it must end cleanly.

    With `trusted`, which has its certificate, it is asked over TLS.
    """
    port, log = free_port(), directory / "log"
    data_dir = directory / "data"
    arguments = ["serve", "--data-dir", str(data_dir), "--port", str(port), *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=directory,
            env=clean_environment(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    scheme = "http" if trusted is None else "https"
    server = LiveServer(f"{scheme}://127.0.0.1:{port}", data_dir, log, process)
    try:
        _wait_until_ready(server, True if trusted is None else trusted)
        yield server
    finally:
        _stop(server)
    assert process.returncode == 0, log.read_text()


def _wait_until_ready(server: LiveServer, verify: ssl.SSLContext | bool) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health/ready", verify=verify).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"fileroom serve did not get ready:\n{server.log.read_text()}")


def _stop(server: LiveServer) -> None:
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        raise AssertionError(f"fileroom serve did not stop:\n{server.log.read_text()}") from None
