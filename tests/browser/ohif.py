"""OHIF as it is published, served on this machine, and Chromium that does what a reader would."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from tests.browser.install import where
from tests.factories import make_part10, make_series, new_uid
from tests.live_server import FILEROOM, LiveServer, clean_environment

CHROMIUM, NODE = shutil.which("chromium") or "", shutil.which("node") or ""
OHIF, PLAYWRIGHT = where("@ohif/app") / "dist", where("playwright-core")
THERE = CHROMIUM and NODE and OHIF.is_dir() and PLAYWRIGHT.is_dir()
HERE = Path(__file__).parent
MARKS = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not THERE, reason="chromium, node and what `make browser` gets are needed"),
]
CONFIG = (HERE / "config.js").read_text()
PASSED_ON = ("/dicom-web", "/login", "/logout", "/static/", "/api/")
_HOP = {b"transfer-encoding", b"connection", b"keep-alive", b"server", b"date"}


class _Pages(SimpleHTTPRequestHandler):
    """OHIF's files; what is none of them is its first page, as its own server does it.

    With an `archive` its paths are passed on to it, as by a proxy in front of both.
    """

    config = b""
    archive = ""
    client = httpx.Client(timeout=60)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.archive and path.startswith(PASSED_ON):
            self._pass_on()
            return
        if path == "/app-config.js":
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", str(len(self.config)))
            self.end_headers()
            self.wfile.write(self.config)
            return
        if not (Path(str(self.directory)) / path.lstrip("/")).is_file():
            self.path = "/index.html"
        super().do_GET()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host, address = self.headers["Host"], self.client_address[0]
        forwarded = {
            "Forwarded": f'for={address};host="{host}";proto=http',
            "X-Forwarded-For": address,
        }
        url, headers = self.archive + self.path, {**dict(self.headers.items()), **forwarded}
        with self.client.stream(self.command, url, content=body, headers=headers) as answer:
            self.send_response(answer.status_code)
            for name, value in answer.headers.raw:
                if name.lower() not in _HOP:
                    self.send_header(name.decode(), value.decode("latin-1"))
            self.end_headers()
            for chunk in answer.iter_raw():
                self.wfile.write(chunk)

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def viewer_running(port: int, config: str, archive: str = "") -> Iterator[str]:
    """Serve OHIF for the block; its address is given. With `archive` it is at the same one."""
    given = {"config": config.encode(), "archive": archive}
    pages = partial(type("Pages", (_Pages,), given), directory=str(OHIF))
    server = ThreadingHTTPServer(("127.0.0.1", port), pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def watch(tmp_path: Path, *plan: dict[str, Any]) -> dict[str, Any]:
    """Do what `watch.cjs` is told; return what was seen."""
    told = tmp_path / "plan.json"
    told.write_text(json.dumps([plan, str(PLAYWRIGHT), CHROMIUM, str(tmp_path / "profile")]))
    command = [NODE, str(HERE / "watch.cjs"), str(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def image_of(path: Path) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the middle of a picture of the page, where the viewport is."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.int32)[150:800, 400:1000]


def difference(one: Path, other: Path) -> float:
    """Return by how much two pictures differ in their middle."""
    return float(np.abs(image_of(one) - image_of(other)).mean())


def store(archive: LiveServer, *instances: bytes, key: str = "") -> None:
    """Store Instances, with a key if one is asked for."""
    headers = {"Content-Type": "application/dicom"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    for instance in instances:
        url = f"{archive.dicomweb}/studies"
        httpx.post(url, content=instance, headers=headers).raise_for_status()


def run(data_dir: Path, *words: str) -> str:
    """Run a command of the operator's, and return what it prints."""
    command = [FILEROOM, *words, "--data-dir", str(data_dir)]
    environment = clean_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ct_series(**names: str) -> list[tuple[Dataset, bytes]]:
    """A sphere of soft tissue in air, of 20 slices: each as a Data Set and as a file."""
    across = np.arange(128) - 64
    slices = []
    said = {"PatientName": "Scrolled^Sphere", "StudyDescription": "Sphere in air", **names}
    frame = new_uid()
    for number, dataset in enumerate(
        make_series(20, Rows=128, Columns=128, FrameOfReferenceUID=frame, **said)
    ):
        dataset.ImagePositionPatient = ["-64", "-64", str(5 * number)]
        radius = max(0, 60**2 - (6 * (number - 10)) ** 2)
        inside = across[:, None] ** 2 + across[None, :] ** 2 < radius
        shade = 1000 + across[None, :] * inside * 2
        dataset.PixelData = np.where(inside, shade + 64, 100).astype("<u2").tobytes()
        slices.append((dataset, make_part10(dataset)))
    return slices
