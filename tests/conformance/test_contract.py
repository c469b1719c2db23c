"""The contract, tried by a program that reads it: nothing fails, and nothing is answered that it
does not name."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.factories import make_part10, make_series
from tests.live_server import LiveServer

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
EXAMPLES = 20


@pytest.mark.slow
def test_every_operation_answers_as_the_contract_says(
    live_server: LiveServer, tmp_path: Path
) -> None:
    headers = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    for dataset in make_series(2):
        url = f"{live_server.dicomweb}/studies"
        httpx.post(url, content=make_part10(dataset), headers=headers).raise_for_status()
    done = subprocess.run(
        [
            SCHEMATHESIS,
            "run",
            f"{live_server.url}/openapi.json",
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance",
            "--phases=coverage,fuzzing",
            f"--max-examples={EXAMPLES}",
            "--seed=20261124",
            "--generation-database=none",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert "generated" in done.stdout
    assert httpx.get(f"{live_server.url}/health/ready").status_code == 200
