"""The README, followed word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_server import LiveServer, clean_environment

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def printed(live_server: LiveServer) -> str:
    """What a newcomer sees: every block of the README, one after the other, beside the server."""
    folder = live_server.data_dir.parent
    (folder / ".venv").symlink_to(sys.prefix)
    blocks = [
        f".venv/bin/python - <<'PYTHON'\n{code}PYTHON\n" if language == "python" else code
        for language, code in BLOCKS
    ]
    script = "\n".join(["set -e", *blocks]).replace("http://127.0.0.1:8080", live_server.url)
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_of_the_readme_does_what_it_says(live_server: LiveServer, printed: str) -> None:
    folder = live_server.data_dir.parent
    assert len(BLOCKS) >= 3
    assert "CompressedSamples^CT1 CT (128, 128)" in printed
    assert (folder / "frame.raw").stat().st_size == 128 * 128 * 2
    assert (folder / "study.multipart").read_bytes().startswith(b"--")
    assert list((folder / "exported").rglob("*.dcm"))
