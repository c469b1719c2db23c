"""OHIF in Chromium: a list of studies, series that are drawn and scrolled, a clip, a document.

`CLIENTS.md` parts 1 to 3. Pictures of what was seen are left in the test's directory.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage

from benchmarks.server import free_port
from tests.browser.install import where
from tests.factories import make_part10, make_series, new_uid
from tests.live_server import LiveServer, serve
from tests.samples import SAMPLES

CHROMIUM, NODE = shutil.which("chromium") or "", shutil.which("node") or ""
OHIF, PLAYWRIGHT = where("@ohif/app") / "dist", where("playwright-core")
THERE = CHROMIUM and NODE and OHIF.is_dir() and PLAYWRIGHT.is_dir()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not THERE, reason="chromium, node and what `make browser` gets are needed"),
]
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R
/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 44>>stream
BT /F 24 Tf 40 100 Td (A report of two) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""
LONG_PDF = PDF + b"%" + b" " * 200_000 + b"\n" * (1 - len(PDF) % 2)
"""So long that its bytes are not in the metadata."""


class _Pages(SimpleHTTPRequestHandler):
    """OHIF's files; what is none of them is its first page, as its own server does it."""

    config = b""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
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

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def viewer_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, viewer_port: int) -> Iterator[LiveServer]:
    origin = {"FILEROOM_HTTP__CORS_ORIGINS": f"http://127.0.0.1:{viewer_port}"}
    with serve(tmp_path_factory.mktemp("archive"), environment=origin) as server:
        yield server


@pytest.fixture(scope="module")
def viewer(archive: LiveServer, viewer_port: int) -> Iterator[str]:
    config = Path(__file__).with_name("config.js").read_text().replace("ARCHIVE", archive.dicomweb)
    pages = type("Pages", (_Pages,), {"config": config.encode()})
    server = ThreadingHTTPServer(("127.0.0.1", viewer_port), partial(pages, directory=str(OHIF)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{viewer_port}"
    server.shutdown()
    server.server_close()


def _store(archive: LiveServer, *instances: bytes) -> None:
    for instance in instances:
        httpx.post(
            f"{archive.dicomweb}/studies",
            content=instance,
            headers={"Content-Type": "application/dicom"},
        ).raise_for_status()


def _sample(name: str) -> tuple[bytes, str]:
    (path,) = (one for one in SAMPLES if one.name == name)
    return path.read_bytes(), str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def _watch(tmp_path: Path, *plan: dict[str, Any]) -> dict[str, list[str]]:
    told = tmp_path / "plan.json"
    told.write_text(json.dumps([plan, str(PLAYWRIGHT), CHROMIUM, str(tmp_path / "profile")]))
    command = [NODE, str(Path(__file__).with_name("watch.cjs")), str(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, list[str]] = json.loads(done.stdout)
    return seen


def _image_of(path: Path) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the middle of a picture of the page, where the viewport is."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.int32)[150:800, 400:1000]


def _difference(one: Path, other: Path) -> float:
    return float(np.abs(_image_of(one) - _image_of(other)).mean())


def _ct_series() -> list[bytes]:
    """A sphere of soft tissue in air, of 20 slices."""
    across = np.arange(128) - 64
    slices = []
    series = make_series(
        20,
        Rows=128,
        Columns=128,
        PatientName="Scrolled^Sphere",
        PatientID="OHIF-1",
        StudyDescription="Sphere in air",
        FrameOfReferenceUID=new_uid(),
    )
    for number, dataset in enumerate(series):
        dataset.ImagePositionPatient = ["-64", "-64", str(5 * number)]
        radius = max(0, 60**2 - (6 * (number - 10)) ** 2)
        inside = across[:, None] ** 2 + across[None, :] ** 2 < radius
        shade = 1000 + across[None, :] * inside * 2
        dataset.PixelData = np.where(inside, shade + 64, 100).astype("<u2").tobytes()
        slices.append(make_part10(dataset))
    return slices


@pytest.fixture(scope="module")
def ct_study(archive: LiveServer) -> str:
    _store(archive, *_ct_series())
    found = httpx.get(f"{archive.dicomweb}/studies", params={"PatientID": "OHIF-1"}).json()
    return str(found[0]["0020000D"]["Value"][0])


def test_the_list_shows_studies_with_descriptions(
    viewer: str, ct_study: str, tmp_path: Path
) -> None:
    seen = _watch(
        tmp_path,
        {"open": viewer},
        {"see": "Sphere in air"},
        {"see": "Scrolled"},
        {"see": "OHIF-1"},
        {"picture": str(tmp_path / "list.png")},
    )
    assert ct_study
    assert seen["refused"] == []


def test_a_series_is_drawn_and_scrolled(viewer: str, ct_study: str, tmp_path: Path) -> None:
    first, later = tmp_path / "first.png", tmp_path / "later.png"
    seen = _watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={ct_study}"},
        {"draw": 90},
        {"picture": str(first)},
        {"wheel": 8},
        {"picture": str(later)},
    )
    assert seen["refused"] == []
    assert _difference(first, later) > 3


@pytest.mark.parametrize("name", ["693_J2KR.dcm", "color3d_jpeg_baseline.dcm"])
def test_what_is_compressed_is_drawn(
    archive: LiveServer, viewer: str, name: str, tmp_path: Path
) -> None:
    """A JPEG 2000 image, and a colour ultrasound clip of 120 frames that is scrolled."""
    data, study = _sample(name)
    _store(archive, data)
    first, later = tmp_path / "first.png", tmp_path / "later.png"
    seen = _watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={study}"},
        {"draw": 90},
        {"picture": str(first)},
        {"wheel": 10},
        {"picture": str(later)},
    )
    assert seen["refused"] == []
    assert np.unique(_image_of(first)).size > 30
    if name.startswith("color3d"):
        assert _difference(first, later) > 0.1


def test_a_pdf_is_opened(archive: LiveServer, viewer: str, tmp_path: Path) -> None:
    """It is fetched as one; what the browser draws of it is on no picture of a headless one."""
    study = new_uid()
    document = make_part10(
        StudyInstanceUID=study,
        SOPClassUID=EncapsulatedPDFStorage,
        Modality="DOC",
        Rows=None,
        Columns=None,
        PixelData=None,
        DocumentTitle="Report",
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=LONG_PDF,
    )
    _store(archive, document)
    seen = _watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={study}"},
        {"pdf": 60},
        {"picture": str(tmp_path / "pdf.png")},
    )
    assert seen["refused"] == []
    assert any(study in url for url in seen["pdfs"])
