"""OHIF in Chromium: a list of studies, series that are drawn and scrolled, a clip, a document.

`CLIENTS.md` parts 1 to 3. Pictures of what was seen are left in the test's directory.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage

from benchmarks.server import free_port
from tests.browser.ohif import (
    CONFIG,
    MARKS,
    ct_series,
    difference,
    image_of,
    store,
    viewer_running,
    watch,
)
from tests.factories import make_part10, new_uid
from tests.live_server import LiveServer, serve
from tests.samples import SAMPLES

pytestmark = MARKS
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
    with viewer_running(viewer_port, CONFIG.replace("ARCHIVE", archive.dicomweb)) as url:
        yield url


def _sample(name: str) -> tuple[bytes, str]:
    (path,) = (one for one in SAMPLES if one.name == name)
    return path.read_bytes(), str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


@pytest.fixture(scope="module")
def ct_study(archive: LiveServer) -> str:
    store(archive, *(file for _, file in ct_series(PatientID="OHIF-1")))
    found = httpx.get(f"{archive.dicomweb}/studies", params={"PatientID": "OHIF-1"}).json()
    return str(found[0]["0020000D"]["Value"][0])


def test_the_list_shows_studies_with_descriptions(
    viewer: str, ct_study: str, tmp_path: Path
) -> None:
    seen = watch(
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
    seen = watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={ct_study}"},
        {"draw": 90},
        {"picture": str(first)},
        {"wheel": 8},
        {"picture": str(later)},
    )
    assert seen["refused"] == []
    assert difference(first, later) > 3


@pytest.mark.parametrize("name", ["693_J2KR.dcm", "color3d_jpeg_baseline.dcm"])
def test_what_is_compressed_is_drawn(
    archive: LiveServer, viewer: str, name: str, tmp_path: Path
) -> None:
    """A JPEG 2000 image, and a colour ultrasound clip of 120 frames that is scrolled."""
    data, study = _sample(name)
    store(archive, data)
    first, later = tmp_path / "first.png", tmp_path / "later.png"
    seen = watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={study}"},
        {"draw": 90},
        {"picture": str(first)},
        {"wheel": 10},
        {"picture": str(later)},
    )
    assert seen["refused"] == []
    assert np.unique(image_of(first)).size > 30
    if name.startswith("color3d"):
        assert difference(first, later) > 0.1


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
    store(archive, document)
    seen = watch(
        tmp_path,
        {"open": f"{viewer}/viewer?StudyInstanceUIDs={study}"},
        {"pdf": 60},
        {"picture": str(tmp_path / "pdf.png")},
    )
    assert seen["refused"] == []
    assert any(study in url for url in seen["pdfs"])
