"""A real S3 server, SeaweedFS, on ports of its own: `with s3_server(directory) as server`."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.objects.bucket import Bucket
from tests.live_server import free_port

WEED = str(Path(sys.executable).with_name("weed"))
ACCESS_KEY, SECRET_KEY = "fileroom", "a secret of tests"
_READY_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    """A running server; `bucket` makes the address of a prefix in its one bucket."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def bucket(self, prefix: str, secret_key: str = SECRET_KEY) -> Bucket:
        """Return how an archive reaches a place of its own."""
        return Bucket(f"s3://objects/{prefix}", self.endpoint, None, ACCESS_KEY, secret_key)


def is_there() -> bool:
    """Say whether the server's program is installed."""
    return shutil.which(WEED) is not None


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """Run the server on a directory until the block ends."""
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    command = [WEED, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-{name}.port.grpc={free_port()}" for name in ports]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={directory}/socket"]
    command += ["-filer", "-s3", f"-s3.config={directory / 's3.json'}"]
    command += ["-master.volumeSizeLimitMB=256", "-volume.max=40", "-master.telemetry=false"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _make_bucket(f"http://127.0.0.1:{ports['filer']}/buckets/objects/")
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        _wait_until(lambda: httpx.get(endpoint).status_code < 500)
        yield S3Server(endpoint, process)
    finally:
        process.kill()
        process.wait()


def _make_bucket(folder: str) -> None:
    _wait_until(lambda: httpx.post(folder).status_code == 201)


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
