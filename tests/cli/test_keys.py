"""`fileroom keys` as an operator runs it, and what of a key is ever written down."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.archive import api_keys
from app.cli.doctor import examine
from app.cli.main import application
from app.cli.refusal import Refusal
from app.errors import ArchiveError, Conflict, NotFound
from app.index.engine import fetch_at
from app.setting_groups import SettingsError
from tests.factories import make_part10
from tests.live_server import FILEROOM, clean_environment, serve

KEY = re.compile(r"frk_[0-9a-f]{12}_[0-9a-f]{64}")
Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on this test's archive in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    monkeypatch.setenv("FILEROOM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(api_keys, "LEASE_SECONDS", 0)

    def call(*arguments: str, code: int = 0, given: str | None = None) -> Result:
        done = CliRunner().invoke(application, arguments, input=given)
        if isinstance(done.exception, ArchiveError | Refusal | SettingsError):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return call


def test_a_key_alone_is_printed_once_and_what_it_is_for_beside_it(run: Run) -> None:
    made = run("keys", "create", "me", "--admin")
    assert KEY.fullmatch(made.stdout.strip())
    assert "may     search, view, download, store, delete" in made.stderr
    assert "(administrator)" in made.stderr
    assert "sees    all studies" in made.stderr
    assert "By itself it opens nothing: set FILEROOM_AUTH__KEYS=true" in made.stderr
    assert "only if FILEROOM_HTTP__HOST is set" in made.stderr
    listed = run("keys", "list").stdout
    assert made.stdout.strip() not in listed
    assert re.match(r"me \([0-9a-f]{12}\): administrator; all studies; expires ", listed)
    assert "not used yet" in listed


def test_what_is_set_already_is_not_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROOM_AUTH__KEYS", "true")
    monkeypatch.setenv("FILEROOM_HTTP__HOST", "0.0.0.0")
    made = run("keys", "create", "me")
    assert "By itself" not in made.stderr
    assert "API keys are switched on here." in made.stderr
    assert "may     search, view, download (viewer)" in made.stderr


def test_a_key_has_roles_labels_and_an_end(run: Run, database_url: str) -> None:
    assert run("keys", "list").stdout == "there are no keys\n"
    roles = ("--role", "viewer", "--role", "uploader")
    labels = ("--label", "b", "--label", "a")
    run("keys", "create", "one", *roles, *labels, "--days", "7")
    run("keys", "create", "two", "--role", "service", "--never")
    rows = fetch_at(
        database_url,
        "SELECT roles, labels, round(extract(epoch FROM expires_at - created_at) / 86400)::int"
        " FROM api_key ORDER BY name",
    )
    assert [tuple(row) for row in rows] == [
        (["viewer", "uploader"], ["a", "b"], 7),
        (["service"], None, None),
    ]
    listed = run("keys", "list").stdout
    assert "viewer, uploader; studies that bear a or b; expires " in listed
    assert "service; all studies; never expires" in listed
    with pytest.raises(Conflict):
        run("keys", "create", "one")
    assert run("keys", "revoke", "one").stdout == "The key one counts no more\n"
    assert "; revoked " in run("keys", "list").stdout
    with pytest.raises(NotFound):
        run("keys", "revoke", "one")


@pytest.mark.parametrize(
    "arguments",
    [("--admin", "--role", "viewer"), ("--never", "--days", "3"), ("--days", "0")],
)
def test_what_contradicts_itself_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    run("keys", "create", "one", *arguments, code=2)


def test_the_doctor_knows_of_keys(
    run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    def found(code: int = 0) -> dict[str, str]:
        said = json.loads(run("doctor", "--json", code=code).stdout)
        (finding,) = (one for one in said["findings"] if one["check"] == "keys")
        return dict(finding)

    assert found()["found"] == "API keys are not switched on"
    monkeypatch.setenv("FILEROOM_AUTH__KEYS", "true")
    run("keys", "create", "one", "--admin", "--label", "a")  # who is narrowed opens not all
    assert found(1)["verdict"] == "bad"
    assert "fileroom keys create NAME --admin" in found(1)["mend"]
    monkeypatch.setenv("FILEROOM_AUTH__BASIC", "true")
    assert found()["verdict"] == "good"
    monkeypatch.delenv("FILEROOM_AUTH__BASIC")
    run("keys", "create", "two", "--admin")
    assert (found()["verdict"], found()["found"]) == ("good", "2 count")
    run("keys", "create", "three", "--days", "13")
    assert found()["verdict"] == "note"
    assert found()["found"].endswith("within 14 days expire: three")
    run("keys", "revoke", "three")
    assert found()["found"] == "2 count"


def test_the_doctor_says_where_there_are_no_keys_yet(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found(**variables: str) -> tuple[str, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (finding,) = (one for one in examine({"http": {"port": 0}}) if one.check == "keys")
        return finding.verdict, finding.found

    nowhere = f"postgresql://a@/b?host={tmp_path}"
    verdict, said = found(FILEROOM_AUTH__KEYS="true", FILEROOM_DATABASE__URL=nowhere)
    assert (verdict, "were not looked for: the index does not answer" in said) == ("note", True)
    monkeypatch.delenv("FILEROOM_DATABASE__URL")
    assert found() == ("note", "none yet")


def fileroom(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FILEROOM, *arguments, "--data-dir", str(directory / "data")],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_keys_are_made_before_and_beside_a_server_and_stand_in_no_log(tmp_path: Path) -> None:
    admin = fileroom(tmp_path, "keys", "create", "me", "--admin").stdout.strip()
    (tmp_path / "password").write_text("correct horse battery")
    file = ("--password-file", str(tmp_path / "password"))
    fileroom(tmp_path, "users", "add", "meier", "--role", "viewer", *file)
    environment = {
        "FILEROOM_AUTH__KEYS": "true",
        "FILEROOM_AUTH__BASIC": "true",
        "FILEROOM_LOG__ACCESS": "true",
        "FILEROOM_LOG__LEVEL": "debug",
    }
    wrong = f"{admin[:-4]}beef"
    with serve(tmp_path, "--workers", "2", environment=environment) as server:
        url = f"{server.dicomweb}/studies"
        bearer = {"Authorization": f"Bearer {admin}"}
        assert httpx.get(url).status_code == 401
        stored = {**bearer, "Content-Type": "application/dicom"}
        assert httpx.post(url, content=make_part10(), headers=stored).status_code == 200
        made = fileroom(tmp_path, "keys", "create", "beside").stdout.strip()
        beside = {"Authorization": f"Bearer {made}"}
        assert [httpx.get(url, headers=beside).status_code for _ in range(8)] == [200] * 8
        fileroom(tmp_path, "keys", "revoke", "beside")
        assert [httpx.get(url, headers=beside).status_code for _ in range(8)] == [401] * 8
        for headers in ({"Authorization": f"Bearer {wrong}"}, {"Authorization": wrong}):
            assert httpx.get(url, headers=headers).status_code == 401
        for name in ("ticket", "key"):
            assert httpx.get(url, params={name: admin}).status_code == 401
        assert httpx.get(url, auth=("meier", "correct horse battery")).status_code == 200
        assert httpx.get(url, auth=("meier", "wrong horse battery")).status_code == 401
        assert httpx.get(f"{server.url}/api/v1/keys", headers=bearer).status_code == 200
        log = server.log
    written = log.read_bytes() + b"".join(
        path.read_bytes() for path in (tmp_path / "data").rglob("*.log")
    )
    assert b"/dicom-web/studies" in written
    secrets = [admin, made, wrong, admin.rpartition("_")[2], made.rpartition("_")[2]]
    for secret in (*secrets, "horse battery", "bWVpZXI6"):
        assert secret.encode() not in written
