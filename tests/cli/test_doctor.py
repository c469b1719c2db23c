"""What the doctor finds, and what it says to mend it."""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from app.archive.seal_keys import SealKey
from app.cli.doctor import CHECKS, examine, report
from app.cli.finding import MARKS, Finding, Verdict
from app.cli.joining import LOCK_NAME
from app.index.account import EmbeddedError
from app.index.embedded import EmbeddedPostgres
from app.index.engine import connect
from app.index.locks import FileLock
from app.objects.secret import keep_secret
from app.settings import known_names

ORDER = [
    "python",
    "settings",
    "data directory",
    "server",
    "postgresql",
    "index",
    "port",
    "key",
    "keys",
    "provider",
    "objects",
    "stored",
    "backup",
    "seal",
    "copies",
    "findings",
    "jobs",
    "forwarding",
    "clock",
]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def findings(data: Path, **http: object) -> dict[str, Finding]:
    flags = {"data_dir": data, "http": {"port": 0, **http}}
    return {finding.check: finding for finding in examine(flags)}


def test_a_fresh_directory_is_well_and_stays_empty(data: Path) -> None:
    found = findings(data)
    assert list(found) == ORDER
    assert Verdict.BAD not in {finding.verdict for finding in found.values()}
    assert "`fileroom serve` makes it" in found["index"].found
    assert list(data.iterdir()) == []


def test_an_index_is_started_looked_at_and_stopped(data: Path) -> None:
    made = EmbeddedPostgres(data / "postgres", settings={"fsync": "off"})
    made.start()
    made.stop()
    found = findings(data)["index"]
    assert "was started and stopped again" in found.found
    assert found.verdict is Verdict.NOTE
    assert "fileroom migrate" in found.mend
    assert made.running_elsewhere() is None


@pytest.mark.slow
def test_an_index_that_does_not_start_is_found(data: Path) -> None:
    made = EmbeddedPostgres(data / "postgres", settings={"fsync": "off"})
    made.start()
    made.stop()
    (made.cluster / "global" / "pg_control").write_bytes(b"broken")
    found = findings(data)["index"]
    assert found.verdict is Verdict.BAD
    assert "did not start" in found.found
    assert "postgres.log" in found.mend


def test_an_external_index_is_reached_by_its_url(
    data: Path, database_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    assert "it is of this version" in findings(data)["index"].found
    monkeypatch.setenv("FILEROOM_DATABASE__URL", empty_database_url)
    assert findings(data)["index"].verdict is Verdict.BAD
    monkeypatch.setenv("FILEROOM_DATABASE__URL", f"postgresql://a@/b?host={data}")
    found = findings(data)
    assert "does not answer" in found["index"].found
    assert "Check FILEROOM_DATABASE__URL" in found["index"].mend
    assert found["postgresql"].verdict is Verdict.GOOD


def test_the_server_that_runs_is_named_and_the_port_left_to_it(data: Path) -> None:
    lock = FileLock(data / LOCK_NAME)
    assert lock.acquire("fileroom serve")
    found = findings(data)
    lock.release()
    assert found["server"].found == f"process {os.getpid()} serves this data directory"
    assert found["port"].found == f"process {os.getpid()} has the one that it serves"


def test_a_port_in_use_is_found(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = findings(data, port=other.getsockname()[1])["port"]
    assert found.verdict is Verdict.BAD
    assert "choose another port with --port" in found.mend


def test_a_setting_that_is_not_known_ends_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROOM_HTTP__PROT", "1")
    found = list(examine({}))
    assert [finding.check for finding in found] == ORDER[:2]
    assert found[-1].verdict is Verdict.BAD


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, Verdict.GOOD), (0o644, Verdict.BAD)])
def test_a_key_that_others_may_read_is_found(
    data: Path, mode: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = data / "key"
    key.write_text("k" * 32)
    key.chmod(mode)
    monkeypatch.setenv("FILEROOM_AUTH__KEY_FILE", str(key))
    assert findings(data)["key"].verdict is verdict


def test_a_data_directory_that_all_may_read_is_noted(data: Path) -> None:
    data.chmod(0o755)
    found = findings(data)["data directory"]
    assert (found.verdict, found.mend) == (Verdict.NOTE, f"`chmod 700 {data}`")


def test_a_data_directory_that_cannot_be_written_is_found(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = findings(data)["data directory"]
    assert found.verdict is Verdict.BAD
    assert found.mend.startswith("`chown -R")


def test_what_this_user_may_not_read_is_said_and_the_rest_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_: object) -> Finding:
        raise PermissionError(13, "Permission denied", "serve.lock")

    monkeypatch.setitem(CHECKS, "server", forbidden)
    found = findings(data)
    assert list(found) == ORDER
    assert found["server"].found == f"serve.lock may not be read by user {os.geteuid()}"


def test_another_system_than_linux_is_noted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    finding = next(examine({"data_dir": data}))
    assert (finding.check, finding.verdict) == ("python", Verdict.NOTE)


def test_little_space_is_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.doctor.LITTLE_SPACE", 2**63)
    assert findings(data)["data directory"].verdict is Verdict.BAD


def test_a_disk_without_room_for_objects_is_found(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_LIMITS__RESERVE_BYTES", str(2**60))
    found = findings(data)["objects"]
    assert found.verdict is Verdict.BAD
    assert "nothing can be stored" in found.found
    assert "Make room" in found.mend


def test_a_disk_that_syncs_slowly_is_noted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.doctor.SLOW_SYNC", 0.0)
    assert findings(data)["objects"].verdict is Verdict.NOTE


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="needs a file system without files")
def test_objects_that_cannot_be_written_are_found(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_OBJECTS__URL", "file:///proc/sys/objects")
    assert findings(data)["objects"].verdict is Verdict.BAD


@pytest.mark.parametrize(("seconds", "verdict"), [(1, Verdict.GOOD), (90, Verdict.BAD)])
def test_a_log_that_waits_for_its_seal_is_found(
    data: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    verdict: Verdict,
) -> None:
    asyncio.run(_log(database_url, seconds))
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    assert findings(data)["seal"].verdict is verdict


def test_a_secret_of_the_seal_that_is_lost_is_found(
    data: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SealKey.of(1, bytes(32))
    asyncio.run(_note_key(database_url, key.public))
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    lost = findings(data)["seal"]
    assert lost.verdict is Verdict.BAD
    assert "seal-1-1" in lost.found
    (data / "objects").mkdir(parents=True, exist_ok=True)
    keep_secret(data / "objects", "seal-1-1", bytes(32))
    assert findings(data)["seal"].verdict is Verdict.GOOD


async def _note_key(url: str, public: bytes) -> None:
    connection = await connect(url)
    add = "INSERT INTO seal_key (tenant_id, number, public_key) VALUES (1, 1, $1)"
    await connection.execute(add, public)
    await connection.close()


async def _log(url: str, seconds: int) -> None:
    connection = await connect(url)
    await connection.execute(
        "INSERT INTO event (tenant_id, at, kind, actor, payload)"
        " VALUES (1, now() - make_interval(secs => $1), 'accepted', 'test', '{}')",
        seconds,
    )
    await connection.close()


def test_a_clock_before_what_is_stored_is_found(data: Path) -> None:
    (data / LOCK_NAME).touch()
    ahead = time.time() + 3600
    os.utime(data / LOCK_NAME, (ahead, ahead))
    assert findings(data)["clock"].verdict is Verdict.BAD


@pytest.mark.parametrize(("days", "verdict"), [(0, Verdict.GOOD), (200, Verdict.NOTE)])
def test_a_clock_that_jumped_forward_is_noted(
    data: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, days: int, verdict: Verdict
) -> None:
    asyncio.run(_jump(database_url, days))
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    found = findings(data)["clock"]
    assert found.verdict is verdict
    assert ("200.0 days ahead" in found.found) is (days > 0)


async def _jump(url: str, days: int) -> None:
    connection = await connect(url)
    await connection.execute(
        "INSERT INTO upkeep (name, holder, held_until, done_at)"
        " VALUES ('clock', '', now(), now() - make_interval(days => $1))",
        days,
    )
    await connection.close()


def test_programs_that_are_missing_are_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise EmbeddedError("PostgreSQL's programs are not installed")

    monkeypatch.setattr("app.cli.doctor.installed_programs", missing)
    assert findings(data)["postgresql"].verdict is Verdict.BAD


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_report_is_for_a_person_or_for_a_program(verdict: Verdict) -> None:
    finding = Finding("port", verdict, "8080 is in use", "stop the other")
    lines: list[str] = []
    well = report(iter([finding]), as_json=False, write=lines.append)
    assert well is (verdict is not Verdict.BAD)
    assert lines == [f"{MARKS[verdict]} port: 8080 is in use\n    stop the other"]
    document: list[str] = []
    assert report(iter([finding]), as_json=True, write=document.append) is well
    assert json.loads(document[0]) == {
        "well": well,
        "findings": [
            {
                "check": "port",
                "verdict": verdict.value,
                "found": "8080 is in use",
                "mend": "stop the other",
            }
        ],
    }
