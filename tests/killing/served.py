"""The archive that is killed, and whoever starts it again as an init system would."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from app.index.embedded import EmbeddedPostgres
from app.objects.base import ObjectStore
from app.objects.local import LocalStore
from app.objects.remote import RemoteStore
from benchmarks.server import free_port
from tests.live_server import FILEROOM, clean_environment
from tests.s3_server import S3Server

READY_SECONDS = 180
STOP_SECONDS = 60
PREFIX = "killing"


@dataclass(slots=True)
class Served:
    """`fileroom serve` on `directory / "data"`, its objects there or in a bucket of `s3`."""

    directory: Path
    workers: int = 2
    s3: S3Server | None = None
    port: int = field(default_factory=free_port)
    restarts: int = 0
    """How often it had to be started again because its parent had ended."""
    _process: subprocess.Popen[bytes] | None = None
    _seen: dict[int, float] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """Where all is that must survive."""
        return self.directory / "data"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database_url(self) -> str:
        """Where its PostgreSQL answers."""
        return EmbeddedPostgres(self.data_dir / "postgres").url()

    @property
    def environment(self) -> Mapping[str, str]:
        """Its settings but for the flags."""
        return self.s3.environment(PREFIX) if self.s3 else {}

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its parent process."""
        assert self._process is not None
        return self._process

    def store(self) -> ObjectStore:
        """Return its objects, to be read past it."""
        if self.s3:
            return RemoteStore(self.s3.bucket(PREFIX))
        return LocalStore(self.data_dir / "objects")

    def start(self) -> None:
        """Start it, and return at once."""
        flags = ["--port", str(self.port), "--workers", str(self.workers)]
        with (self.directory / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [FILEROOM, "serve", "--data-dir", str(self.data_dir), *flags],
                env=clean_environment(self.environment),
                cwd=self.directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def keep_up(self) -> None:
        """Start it again if its parent is dead, and only then."""
        if self.process.poll() is not None:
            self.restarts += 1
            self.start()

    def wait_until_ready(self) -> None:
        """Wait until all of it answers, and keep it up meanwhile."""
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            self.keep_up()
            if time.monotonic() > end:
                raise AssertionError(f"the archive does not come back:\n{self.said()}")
            time.sleep(0.05)
        for one in self.family():
            with suppress(psutil.NoSuchProcess):
                self._seen[one.pid] = one.create_time()

    def _is_ready(self) -> bool:
        if self.process.poll() is not None or len(self.worker_processes()) < self.workers:
            return False
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """Return the end of its log."""
        return (self.directory / "serve.log").read_text(errors="replace")[-4000:]

    def family(self) -> list[psutil.Process]:
        """Return its processes, PostgreSQL's among them."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def children(self) -> Iterator[psutil.Process]:
        """Yield those that its parent started itself."""
        with suppress(psutil.NoSuchProcess):
            yield from psutil.Process(self.process.pid).children()

    def worker_processes(self) -> list[psutil.Process]:
        """Return the workers that are alive."""
        return [one for one in self.children() if "app.cli.worker" in _words(one)]

    def postmasters(self) -> list[psutil.Process]:
        """Return its PostgreSQL, unless that is dead just now."""
        return [one for one in self.children() if _name(one) == "postgres"]

    def backends(self) -> list[psutil.Process]:
        """Return PostgreSQL's own children."""
        found = []
        for postmaster in self.postmasters():
            with suppress(psutil.NoSuchProcess):
                found += postmaster.children()
        return found

    def syncing(self) -> list[psutil.Process]:
        """Return the processes that make files durable for the workers."""
        found = []
        for worker in self.worker_processes():
            with suppress(psutil.NoSuchProcess):
                found += [it for it in worker.children() if "app.objects.apart_main" in _words(it)]
        return found

    def verify(self) -> list[str]:
        """Run `fileroom verify`, and say what it finds damaged or missing."""
        report = self.directory / "verify.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [FILEROOM, "verify", "--report", str(report), "--data-dir", str(self.data_dir)],
            env=clean_environment(self.environment),
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            return [f"verify did not come to its end: {done.stdout}{done.stderr}"]
        counted = json.loads(report.read_bytes())
        wrong = counted["damaged"] + counted["missing"]
        return [f"verify: {done.stdout}"] if wrong or done.returncode else []

    def stop(self) -> list[str]:
        """Stop it with SIGTERM, and say what is left of it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            return [f"it did not stop:\n{self.said()}"]
        said = [f"it ended with {code}:\n{self.said()}"] if code else []
        said += [f"process {pid} is left" for pid in self._left()]
        try:
            httpx.get(f"{self.url}/health/live", timeout=5)
        except httpx.ConnectError:
            return said
        return [*said, "somebody still answers at its port"]

    def _left(self) -> list[int]:
        """Return all that ever was one of its processes and is alive, or works in its directory."""
        left = []
        for one in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                mine = self._seen.get(one.pid) == one.create_time()
                if mine or any(str(self.data_dir) in word for word in (*one.cmdline(), one.cwd())):
                    left.append(one.pid)
        return left

    def kill_all(self) -> None:
        """End all of it at once, as if the machine had stopped."""
        for one in self.family() if self.process.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        self.process.wait()


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""
