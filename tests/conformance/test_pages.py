"""What a person sees in a browser that cannot reach the internet."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.factories import make_part10
from tests.live_server import LiveServer

CHROMIUM = shutil.which("chromium") or ""
pytestmark = [
    pytest.mark.xdist_group("pages"),
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed"),
]


def _browse(tmp_path: Path, *arguments: str) -> str:
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--virtual-time-budget=10000",
        "--window-size=1200,900",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def with_a_study(live_server: LiveServer) -> LiveServer:
    """The archive with at least one Study in it."""
    httpx.post(
        f"{live_server.dicomweb}/studies",
        content=make_part10(),
        headers={"Content-Type": "application/dicom"},
    ).raise_for_status()
    return live_server


def test_the_first_page_says_how_many_studies_there_are(
    with_a_study: LiveServer, tmp_path: Path
) -> None:
    page = _browse(tmp_path, "--dump-dom", f"{with_a_study.url}/")
    text = re.sub(r"<[^>]+>", " ", page)
    assert re.search(r"\b[1-9]\d*\s+(?:study|studies)\b|[Ss]tud(?:y|ies)\W+[1-9]\d*\b", text)
    assert f"{with_a_study.url}/dicom-web" in page
    assert "/docs" in page


def test_the_contract_is_drawn_from_our_own_assets(
    with_a_study: LiveServer, tmp_path: Path
) -> None:
    page = _browse(tmp_path, "--dump-dom", f"{with_a_study.url}/docs")
    assert "/dicom-web/studies" in re.sub(r"<[^>]+>|\u200b", "", page)
    assets = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(\w+://[^\"]+)", page)
    assert [url for url in assets if not url.startswith(with_a_study.url)] == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_page_is_not_blank(with_a_study: LiveServer, tmp_path: Path, path: str) -> None:
    picture = tmp_path / "page.png"
    _browse(tmp_path, f"--screenshot={picture}", f"{with_a_study.url}{path}")
    with Image.open(picture) as page:
        colours = page.convert("RGB").getcolors(maxcolors=2**24)
        assert colours is not None
        commonest = max(count for count, _ in colours)
        assert len(colours) > 50
        assert commonest < 0.99 * page.width * page.height
