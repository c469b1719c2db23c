"""An archive of an older PostgreSQL is met, carried over, and goes on."""

import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.joining import own_postgres
from app.cli.refusal import Refusal
from app.cli.upgrading import run_upgrade
from app.index.binaries import major_version
from app.index.versions import OtherVersion, majors
from app.settings import Database, Settings
from tests.factories import make_part10, new_uid
from tests.former_postgres import MAJOR, killed_at_the_end, make_former, needs_former
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

DICOM = {"Content-Type": "application/dicom"}
BURN = """
DO $$ BEGIN FOR number IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""
"""Its transactions are far ahead of those of a new cluster."""


def fileroom(*arguments: str | Path, code: int = 0, environment: Mapping[str, str] = {}) -> str:
    done = subprocess.run(
        [FILEROOM, *map(str, arguments)],
        capture_output=True,
        env=clean_environment(environment),
        timeout=240,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, said
    return said


def store(server: LiveServer, study: str) -> None:
    body = make_part10(StudyInstanceUID=study)
    answer = httpx.post(f"{server.dicomweb}/studies", content=body, headers=DICOM, timeout=60)
    assert answer.status_code == 200, answer.text


def delete(server: LiveServer, study: str) -> None:
    """Answered when the log is sealed behind it."""
    answer = httpx.delete(f"{server.dicomweb}/studies/{study}", timeout=60)
    assert answer.status_code == 204, answer.text


def changes(server: LiveServer) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/api/v1/changes", params={"limit": 1000}, timeout=60)
    found: list[dict[str, Any]] = answer.json()["changes"]
    return found


def listed(server: LiveServer) -> list[str]:
    answer = httpx.get(f"{server.dicomweb}/instances", timeout=60)
    return sorted(it["00080018"]["Value"][0] for it in answer.json())


def break_off(*arguments: str | Path, when: Path) -> None:
    """Kill the command when a file appears."""
    process = subprocess.Popen([FILEROOM, *map(str, arguments)], env=clean_environment())
    end = time.monotonic() + 120
    while not when.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@needs_former
@pytest.mark.slow
def test_an_archive_of_an_older_postgresql_is_carried_over_and_goes_on(
    open_directory: Path,
) -> None:
    directory = open_directory  # for 15 loses its own directory if its user may not walk there
    here: list[str | Path] = ["--data-dir", directory / "data"]
    kept, gone = new_uid(), new_uid()
    former = make_former(directory / "data" / "postgres")
    with killed_at_the_end(former):
        its_own = {"FILEROOM_DATABASE__URL": former.url()}
        fileroom("migrate", *here, environment=its_own)
        former.run_script(BURN, "fileroom")
        with serve(directory, environment=its_own) as server:
            for study in (kept, kept, gone):
                store(server, study)
            delete(server, gone)
            before, told = listed(server), changes(server)

    assert f"made by PostgreSQL {MAJOR}" in fileroom("serve", "--port", "0", *here, code=1)
    assert "`fileroom upgrade`" in fileroom("doctor", *here, code=1)
    assert "made by" in fileroom("import", directory / "log", *here, code=1)
    assert majors(former.directory) == [MAJOR]

    fresh = former.directory / f"upgrading-{major_version()}" / major_version()
    break_off("upgrade", *here, when=fresh / "postmaster.pid")
    assert majors(former.directory) == [MAJOR]
    said = fileroom("upgrade", *here)
    assert f"The index is PostgreSQL {major_version()}'s now" in said
    assert majors(former.directory) == [int(major_version())]
    assert (former.directory / f"{MAJOR}.former" / "PG_VERSION").exists()
    assert not fresh.parent.exists()
    assert "nothing to do" in fileroom("upgrade", *here)

    with serve(directory) as server:
        assert listed(server) == before
        assert changes(server) == told
        store(server, gone)
        delete(server, gone)
        assert [it["kind"] for it in changes(server)[len(told) :]] == ["accepted", "removed"]
        assert changes(server)[: len(told)] == told
    fileroom("verify", *here)  # ends with 3 if anything is damaged or missing


def test_an_index_of_this_version_and_an_empty_place_need_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(Refusal, match="There is no archive"):
        run_upgrade(settings, None)
    postgres = own_postgres(settings)
    postgres.cluster.mkdir(parents=True)
    (postgres.directory / "9").mkdir()
    (postgres.directory / "upgrading-9").mkdir()
    run_upgrade(settings, None)
    assert capsys.readouterr().out == "nothing to do\n"
    assert sorted(path.name for path in postgres.directory.iterdir()) == [
        major_version(),
        "9.former",
    ]


def test_a_newer_index_is_not_carried_back(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    (settings.postgres_directory / "99").mkdir(parents=True)
    with pytest.raises(OtherVersion, match="not carried back"):
        run_upgrade(settings, None)


def test_a_postgresql_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    database = Database.model_validate({"url": "postgresql://fileroom@db/fileroom"})
    with pytest.raises(Refusal, match="`fileroom migrate` once"):
        run_upgrade(Settings(data_dir=tmp_path / "data", database=database), None)


@needs_former
def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    cluster = settings.postgres_directory / str(MAJOR)
    cluster.mkdir(parents=True)
    (cluster / "large").write_bytes(bytes(1000))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Refusal, match="Make room; nothing was changed"):
        run_upgrade(settings, None)
    assert [path.name for path in settings.postgres_directory.iterdir()] == [str(MAJOR)]
