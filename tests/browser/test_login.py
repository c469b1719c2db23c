"""A provider as it is published (oidc-provider), Chromium, and an archive that believes it."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import free_port
from tests.browser.install import PROVIDER, where
from tests.live_server import LiveServer, serve

CHROMIUM, NODE = shutil.which("chromium") or "", shutil.which("node") or ""
PLAYWRIGHT = where("playwright-core")
HERE = Path(__file__).parent
THERE = CHROMIUM and NODE and PLAYWRIGHT.is_dir() and (PROVIDER / "node_modules").is_dir()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not THERE, reason="chromium, node and what `make browser` gets are needed"),
]


@pytest.fixture(scope="module")
def issuer() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[LiveServer]:
    settings = {
        "ISSUER": issuer,
        "AUDIENCE": "fileroom",
        "CLIENT_ID": "fileroom",
        "CLIENT_SECRET": "a-secret-of-the-test",
    }
    named = {f"FILEROOM_AUTH__OIDC__{name}": value for name, value in settings.items()}
    with serve(tmp_path_factory.mktemp("archive"), environment=named) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def provider(issuer: str, archive: LiveServer) -> Iterator[None]:
    port, callback = issuer.rpartition(":")[2], f"{archive.url}/auth/callback"
    command = [NODE, str(HERE / "provider" / "serve.mjs"), port, callback, str(PROVIDER)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield
    process.kill()
    process.wait()
    process.stdout.close()


def _log_in(archive: LiveServer, who: str, tmp_path: Path) -> dict[str, Any]:
    plan = tmp_path / "plan.json"
    told = [archive.url, who, str(PLAYWRIGHT), CHROMIUM, str(tmp_path / "profile")]
    plan.write_text(json.dumps(told))
    command = [NODE, str(HERE / "log_in.cjs"), str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _token(issuer: str) -> str:
    form = {"grant_type": "client_credentials", "resource": "urn:fileroom", "scope": "read"}
    auth = ("fileroom", "a-secret-of-the-test")
    answer = httpx.post(f"{issuer}/token", data=form, auth=auth)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def _status(archive: LiveServer, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{archive.dicomweb}/studies", headers=headers).status_code


def test_a_person_logs_in_reads_and_logs_out(archive: LiveServer, tmp_path: Path) -> None:
    seen = _log_in(archive, "anna", tmp_path)
    assert (seen["before"], seen["read"], seen["write"], seen["after"]) == (401, 204, 403, 401)
    assert seen["url"] == f"{archive.url}/"
    assert seen["page"].startswith("anna")
    assert seen["script"] == ""
    assert seen["cookies"] == [
        {"name": "fileroom", "httpOnly": True, "sameSite": "Lax", "expires": -1}
    ]


def test_a_program_brings_a_token_before_and_after_the_provider_changes_its_key(
    archive: LiveServer, issuer: str, tmp_path: Path
) -> None:
    before = _token(issuer)
    assert _status(archive, before) == 204
    assert httpx.post(f"{issuer}/rotate").text.startswith("key-")
    assert _status(archive, _token(issuer)) == 204
    time.sleep(1)
    assert _log_in(archive, "ben", tmp_path)["page"].startswith("ben")
    forged = ".".join([*before.split(".")[:2], _token(issuer).split(".")[2]])
    assert _status(archive, forged) == 401
    log = archive.log.read_text()
    assert "ben" not in log
    assert before not in log
