"""Our own PostgreSQL: made, joined, killed and recovered, as root and as an ordinary user."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.index.account import Account, EmbeddedError
from app.index.binaries import installed_programs, major_version
from app.index.embedded import LONGEST_SOCKET_PATH, AlreadyRunning, EmbeddedPostgres
from app.index.locks import FileLock
from app.index.orphans import processes_in
from tests.ordinary_users import as_root

pytestmark = pytest.mark.slow
FAST = {"fsync": "off"}

HOLD = """
import sys, time
from pathlib import Path
from app.index.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
postgres.start(note="a test")
postgres.ensure_database()
print(postgres.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", settings=FAST)
    server.start(note="a test")
    yield server
    server.stop()


def hold(directory: Path, *prefix: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start PostgreSQL from a process of its own; return that process and the postmaster's id."""
    child = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLD, directory],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert child.stdout
    with child.stdout as said:
        return child, int(said.readline())


def wait_until_gone(cluster: Path, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while list(processes_in(cluster)):
        assert time.monotonic() < end, "processes of PostgreSQL are left"
        time.sleep(0.02)


def test_a_database_is_made_once_and_kept(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database()
    postgres.run_script("CREATE TABLE kept (value text); INSERT INTO kept VALUES ('ß')", "fileroom")
    postgres.stop()
    postgres.start()
    postgres.ensure_database()
    assert postgres.run_script("SELECT value FROM kept", "fileroom") == "ß\n"


def test_one_that_runs_is_not_started_again(postgres: EmbeddedPostgres) -> None:
    before = postgres.pid
    postgres.start()
    assert postgres.pid == before


def test_what_an_earlier_run_left_and_does_not_end_is_named(tmp_path: Path) -> None:
    """As when it works in another container on the same files: only the lock shows it."""
    directory = tmp_path / "postgres"
    directory.mkdir()
    lock = FileLock(directory / "running")
    assert lock.acquire()
    told: list[str] = []
    with pytest.raises(EmbeddedError, match=r"still works in .*of another container"):
        EmbeddedPostgres(directory).start(patience=0.3, waiting=told.append)
    lock.release()
    assert told[0] == "Ending a PostgreSQL that an earlier run has left behind"


def test_a_cluster_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.embedded.HERE", "/no/such/directory")
    server = EmbeddedPostgres(tmp_path / "postgres")
    with pytest.raises(EmbeddedError, match="initdb failed"):
        server.start()
    assert not server.cluster.exists()
    assert not list(server.directory.glob("*.unfinished"))
    assert server.running_elsewhere() is None


async def test_asyncpg_connects_by_the_url(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.url("postgres"))
    assert await connection.fetchval("SELECT current_user") == "fileroom"
    await connection.close()


def test_text_sorts_by_code_point_and_pages_have_checksums(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database()
    asked = (
        "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database "
        "WHERE datname = 'fileroom'; SHOW data_checksums; SELECT 'É' ~* 'é'"
    )
    assert postgres.run_script(asked, "fileroom") == "b|C.UTF-8|UTF8\non\nt\n"


def test_it_is_durable_unless_a_test_says_otherwise(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    asked = "SHOW fsync; SHOW synchronous_commit; SHOW full_page_writes"
    assert server.run_script(asked) == "on\non\non\n"
    server.stop()


def test_the_extensions_for_searching_are_there(postgres: EmbeddedPostgres) -> None:
    postgres.run_script("CREATE EXTENSION pg_trgm; CREATE EXTENSION fuzzystrmatch")
    assert postgres.run_script("SELECT similarity('word', 'word'), soundex('word')") == "1|W630\n"


def test_nothing_listens_on_tcp(postgres: EmbeddedPostgres) -> None:
    family = psutil.Process(postgres.pid)
    for process in (family, *family.children(recursive=True)):
        assert not [entry for entry in process.net_connections("inet") if entry.status == "LISTEN"]


def test_nobody_is_trusted(postgres: EmbeddedPostgres) -> None:
    rules = postgres.run_script("SELECT type, auth_method FROM pg_hba_file_rules")
    assert rules == "local|peer\n"


@as_root
@pytest.mark.parametrize("stranger", ["daemon", "account"])
def test_another_user_is_not_let_in(open_directory: Path, stranger: str) -> None:
    """The socket lies behind a directory of mode 0700; were it open, `peer` would refuse."""
    postgres = EmbeddedPostgres(open_directory / "postgres", settings=FAST)
    postgres.start()
    user = postgres.cluster.stat().st_uid if stranger == "account" else stranger
    socket = postgres.directory / "socket"
    socket.chmod(0o777)
    (socket / ".s.PGSQL.5432").chmod(0o777)
    psql = str(installed_programs() / "bin" / "psql")
    command = [psql, "-h", str(socket), "-U", "fileroom", "-d", "postgres", "-c", "SELECT 1"]
    done = subprocess.run(command, user=user, capture_output=True, check=False)
    postgres.stop()
    assert b"Peer authentication failed" in done.stderr


@as_root
def test_root_lends_it_an_unprivileged_user(postgres: EmbeddedPostgres) -> None:
    user = psutil.Process(postgres.pid).uids()
    assert 0 not in user
    assert user.real == postgres.cluster.stat().st_uid


def test_the_log_keeps_what_patients_are_called_to_itself(postgres: EmbeddedPostgres) -> None:
    postgres.run_script("CREATE TABLE patient (name text UNIQUE, age int CHECK (age > 0))")
    for statement in (
        "INSERT INTO patient VALUES ('Muster^Max', -1)",
        "INSERT INTO patient VALUES ('Muster^Max', 1), ('Muster^Max', 1)",
        "SELECT * FROM patient WHERE name = 'Muster^Max' AND nonsense",
    ):
        with pytest.raises(EmbeddedError, match="refused"):
            postgres.run_script(statement)
    log = (postgres.directory / "postgres.log").read_text()
    assert log.count("ERROR") == 3
    assert "Muster" not in log


def test_a_log_that_grows_is_put_aside_while_it_runs(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.embedded.LOG_BYTES", 10)
    log = postgres.directory / "postgres.log"
    before = log.read_text()
    postgres.shorten_log()
    assert (log.read_text(), (postgres.directory / "postgres.log.1").read_text()) == ("", before)
    with pytest.raises(EmbeddedError):
        postgres.run_script("SELECT nonsense")
    assert log.read_text().startswith("2"), "it goes on at the beginning, without a hole"


def test_a_second_one_on_the_directory_is_told_who_runs_it(tmp_path: Path) -> None:
    child, _ = hold(tmp_path / "postgres")
    second = EmbeddedPostgres(tmp_path / "postgres")
    with pytest.raises(AlreadyRunning, match=rf"process {child.pid} \(a test\)"):
        second.start()
    assert second.running_elsewhere() == (child.pid, "a test")
    assert second.is_ready()
    assert second.run_script("SELECT 1", "fileroom") == "1\n"
    child.terminate()
    child.wait()
    wait_until_gone(second.cluster)
    assert second.running_elsewhere() is None
    assert not second.is_ready()


def test_it_ends_when_its_parent_is_killed_and_starts_again(tmp_path: Path) -> None:
    child, _ = hold(tmp_path / "postgres")
    child.kill()
    child.wait()
    server = EmbeddedPostgres(tmp_path / "postgres", settings=FAST)
    server.start()
    assert server.run_script("SELECT 1", "fileroom") == "1\n"
    server.stop()


def test_a_killed_postmaster_is_started_again_though_backends_live(
    postgres: EmbeddedPostgres,
) -> None:
    """A busy backend does not see that its postmaster is gone, and holds the shared memory."""
    psql = [str(installed_programs() / "bin" / "psql"), "-h", str(postgres.socket_directory())]
    busy = subprocess.Popen(
        [*psql, "-U", "fileroom", "-d", "postgres", "-c", BUSY], stderr=subprocess.DEVNULL
    )
    while postgres.run_script(COUNT_BUSY) != "1\n":
        time.sleep(0.02)
    assert postgres.pid
    os.kill(postgres.pid, signal.SIGKILL)
    while postgres.pid is not None:
        time.sleep(0.01)
    assert list(processes_in(postgres.cluster)), "the busy backend should outlive its postmaster"
    postgres.start(patience=4)
    assert postgres.run_script("SELECT 1") == "1\n"
    assert busy.wait() != 0


FILL = "CREATE TABLE filled AS SELECT n, repeat('x', 100) FROM generate_series(1, 300000) n"
BUSY = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
WALWRITER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
COUNT_BUSY = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"


def kill_walwriter(postgres: EmbeddedPostgres) -> None:
    victim = psutil.Process(int(postgres.run_script(WALWRITER)))
    victim.kill()
    victim.wait(20)


def test_a_killed_backend_does_not_end_the_server(postgres: EmbeddedPostgres) -> None:
    kill_walwriter(postgres)
    end = time.monotonic() + 20
    while not postgres.is_ready():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert postgres.pid


def test_it_is_stopped_at_once_while_it_recovers(postgres: EmbeddedPostgres) -> None:
    postgres.run_script(FILL)
    kill_walwriter(postgres)
    while postgres.is_ready():
        time.sleep(0.002)
    begun = time.monotonic()
    postgres.stop()  # a fast shutdown would hang here for all our patience, 60 seconds
    assert time.monotonic() - begun < 10
    postgres.start()
    assert postgres.run_script("SELECT count(*) FROM filled") == "300000\n"


@pytest.mark.parametrize("pid", [1, 999_999_999, None])
def test_stale_lock_files_are_no_obstacle(postgres: EmbeddedPostgres, pid: int | None) -> None:
    """In a container process ids repeat, so the id in a stale file may be anyone's."""
    postgres.stop()
    stale = str(os.getpid() if pid is None else pid)
    (postgres.cluster / "postmaster.pid").write_text(f"{stale}\n{postgres.cluster}\n0\n5432\n")
    (postgres.directory / "socket" / ".s.PGSQL.5432.lock").write_text(f"{stale}\n")
    (postgres.directory / "socket" / ".s.PGSQL.5432").touch()
    postgres.start()
    assert postgres.run_script("SELECT 1") == "1\n"


def test_an_unfinished_cluster_is_made_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / f"{major_version()}.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(tmp_path / "postgres", settings=FAST)
    server.start()
    assert server.run_script("SELECT 1") == "1\n"
    assert not unfinished.exists()
    server.stop()


def test_a_cluster_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    old = tmp_path / "postgres" / "17"
    old.mkdir(parents=True)
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 17.*carries PostgreSQL 18"):
        EmbeddedPostgres(tmp_path / "postgres").start()


def test_a_file_of_another_version_in_the_cluster_is_refused(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    (postgres.cluster / "PG_VERSION").write_text("19\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 19"):
        postgres.start()


def test_why_it_does_not_start_is_said(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    wrong = EmbeddedPostgres(postgres.directory, settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedError, match=r"did not start.*shared_buffers"):
        wrong.start()
    assert wrong.running_elsewhere() is None


def test_a_full_disk_is_said_instead_of_what_postgresql_says(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    (postgres.cluster / "global" / "pg_control").unlink()
    monkeypatch.setattr("app.index.embedded.LEAST_FREE_BYTES", 2**60)
    with pytest.raises(EmbeddedError, match=r"is full: \d+ MB are free.*Make room"):
        postgres.start()


def test_a_long_path_gets_a_short_link_to_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_directory: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(open_directory))  # short, unlike pytest's own
    server = EmbeddedPostgres(tmp_path / ("d" * 120) / "postgres", settings=FAST)
    server.start()
    assert len(str(server.socket_directory() / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH
    assert server.run_script("SELECT 1") == "1\n"
    assert server.socket_directory() == server.socket_directory()
    server.stop()


def test_a_link_directory_of_others_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / f"fileroom-{os.geteuid()}").mkdir(mode=0o777)
    (tmp_path / f"fileroom-{os.geteuid()}").chmod(0o777)
    server = EmbeddedPostgres(tmp_path / ("d" * 120))
    with pytest.raises(EmbeddedError, match="does not belong to this user alone"):
        server.socket_directory()


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_it_runs_in_a_directory_that_its_user_may_not_enter(tmp_path: Path, mode: int) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    data.chmod(mode)
    server = EmbeddedPostgres(data / "postgres")
    server.start()
    assert server.run_script("SELECT 1") == "1\n"
    server.stop()


def _python_for(account: Account) -> str | None:
    """Return a Python that an ordinary user may run: ours, else the system's."""
    places = [Path(sys.executable), *Path("/usr/bin").glob(f"python3.{sys.version_info.minor}")]
    site = installed_programs().parent.parent
    if not (account.may_enter(site) and account.may_enter(Path.cwd() / "app")):
        return None
    usable = (place for place in places if account.may_enter(place.resolve()))
    return next(map(str, usable), None)


@as_root
def test_an_ordinary_user_runs_it_as_oneself(open_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid, foreign=True)
    python = _python_for(account)
    if python is None:
        pytest.skip("an ordinary user may not enter this checkout or run a Python of this version")
    data = open_directory / "data"
    data.mkdir()
    os.chown(data, account.uid, account.gid)
    site = installed_programs().parent.parent
    child = subprocess.Popen(
        [python, "-c", HOLD, data / "postgres"],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{Path.cwd()}:{site}", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    with child:
        assert child.stdout
        postmaster = psutil.Process(int(child.stdout.readline()))
        assert postmaster.uids().real == account.uid
        assert (data / "postgres").stat().st_uid == account.uid
        seen_by_root = EmbeddedPostgres(data / "postgres")
        assert seen_by_root.run_script("SELECT 1", "fileroom") == "1\n"
        child.kill()
    wait_until_gone(seen_by_root.cluster)
