"""A real S3 server, SeaweedFS, on ports of its own: `with s3_server(directory) as server`."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import obstore
from obstore.exceptions import BaseError

from app.objects.bucket import Bucket
from app.objects.remote import RemoteStore
from benchmarks.server import free_port

WEED = str(Path(sys.executable).with_name("weed"))
ACCESS_KEY, SECRET_KEY = "fileroom", "a secret of tests"
_READY_SECONDS = 60


class S3Server:
    """A server; `bucket` makes the address of a prefix in its one bucket."""

    def __init__(self, directory: Path) -> None:
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
        self._log = directory / "log"
        self._command = [WEED, "server", f"-dir={directory}", "-ip=127.0.0.1"]
        self._command += ["-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3"]
        self._command += [f"-{name}.port={port}" for name, port in ports.items()]
        self._command += [f"-{name}.port.grpc={free_port()}" for name in ports]
        self._command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        self._command += [f"-s3.config={directory}/s3.json", f"-s3.localSocket={directory}/socket"]
        self._command += ["-master.volumeSizeLimitMB=256", "-volume.max=40"]
        self._folder = f"http://127.0.0.1:{ports['filer']}/buckets/objects/"
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves its bucket."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        _wait_until(lambda: httpx.post(self._folder).status_code in {200, 201, 409})
        _wait_until(self._takes_and_gives)

    def _takes_and_gives(self) -> bool:
        """Say whether its disks are there, which it learns after it answers already."""
        store = RemoteStore(self.bucket("probe")).library
        with suppress(BaseError, OSError):
            obstore.put(store, "probe", b"1")
            return obstore.get(store, "probe").bytes().to_bytes() == b"1"
        return False

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def bucket(self, prefix: str, secret_key: str = SECRET_KEY) -> Bucket:
        """Return how an archive reaches a place of its own."""
        return Bucket(f"s3://objects/{prefix}", self.endpoint, None, ACCESS_KEY, secret_key)

    def environment(self, prefix: str) -> dict[str, str]:
        """Return the settings of an archive that keeps its objects in a place of its own."""
        return {
            "FILEROOM_OBJECTS__URL": f"s3://objects/{prefix}",
            "FILEROOM_OBJECTS__ENDPOINT": self.endpoint,
            "FILEROOM_OBJECTS__ACCESS_KEY": ACCESS_KEY,
            "FILEROOM_OBJECTS__SECRET_KEY": SECRET_KEY,
        }


def is_there() -> bool:
    """Say whether the server's program is installed."""
    return shutil.which(WEED) is not None


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """Run a server on a directory until the block ends."""
    server = S3Server(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        try:
            if holds():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the S3 server did not get ready")
