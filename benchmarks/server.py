"""A server under test: started as a user starts it, watched, stopped."""

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Meter, find_processes, proportional_size, wait_until_idle

START_SECONDS = 120
STOP_SECONDS = 120
_CLEARED = "cleared"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Server:
    """How a server is started, where it keeps what it keeps, and its process while it runs."""

    name: str
    command: list[str]
    directory: Path
    port: int
    ready_path: str
    log: Path
    root: str = "/dicom-web"
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> float:
        """Start it and return the seconds until it answered that it is ready."""
        if self._ask() is not None:
            raise RuntimeError(f"something answers at port {self.port} already")
        self.directory.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.log.parent,  # not here: a developer's .env is no part of the test
                env={**_plain_environment(), **self.environment},
            )
        while self._ask() != 200:
            if self.process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                self.stop()
                raise RuntimeError(f"{self.name} did not start; see {self.log}")
            time.sleep(0.01)
        return time.perf_counter() - began

    def stop(self) -> None:
        """Stop it as a service manager would."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in find_processes(self.process.pid, self.directory):
                os.kill(pid, 9)
            self.process.wait()
        self.process = None

    def clear(self) -> None:
        """Let it forget all that it kept; it must be stopped.

        That is only put aside, and goes with `remove_cleared`: for minutes after files were removed
        ext4 without a journal looks for a free inode among them, one by one, which cost our server
        a sixth of its processor time, and any other as much.
        """
        assert self.process is None
        if self.directory.exists():
            aside = self.directory.parent / _CLEARED
            aside.mkdir(exist_ok=True)
            self.directory.rename(aside / f"{self.directory.name}-{time.time_ns()}")

    def _ask(self) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def meter(self) -> Meter:
        """Return a meter over all its processes."""
        return Meter(self.pid, self.directory)

    def wait_until_idle(self, quiet: float = 2) -> None:
        """Wait until its work in the background is done: idle for `quiet` seconds."""
        wait_until_idle(self.pid, self.directory, quiet=quiet)

    def memory(self) -> int:
        """Return the proportional set size of all its processes in bytes."""
        return proportional_size(find_processes(self.pid, self.directory))


def _plain_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("FILEROOM_")}


def remove_cleared(cache: Path) -> None:
    """Remove what was put aside. At the end of a run, for nothing is to be measured then."""
    shutil.rmtree(cache / _CLEARED, ignore_errors=True)
