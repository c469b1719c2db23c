"""`serve` as a tree of processes: what is started, what is started again, what is left behind.

The application is a stand-in; the parent, the workers, PostgreSQL and the signals are real.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from app.index.embedded import EmbeddedPostgres
from app.index.orphans import processes_in
from app.settings import METRICS_VARIABLE

pytestmark = pytest.mark.slow

APPLICATION = "tests.cli.standin:create_app"
SERVE = f"""
from app.cli import serving
from app.cli.main import main
serving.APPLICATION = {APPLICATION!r}
main()
"""
PATIENCE = 120.0


@dataclass
class Server:
    """One `fileroom serve` and all that it printed."""

    process: subprocess.Popen[str]
    data: Path
    said: list[str] = field(default_factory=list)
    url: str = ""
    reader: threading.Thread = field(default_factory=threading.Thread)

    @property
    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "app.cli.worker" in " ".join(child.cmdline())]

    @property
    def postmaster(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if child.name() == "postgres")

    @property
    def tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            self.said.extend(lines)

    def until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while not any(text in line for line in self.said):
            assert self.process.poll() is None or text in "".join(self.said), "".join(self.said)
            assert time.monotonic() < end, f"{text!r} is missing in {''.join(self.said)}"
            time.sleep(0.01)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE)


@contextlib.contextmanager
def serving(data: Path, *flags: str, **variables: str) -> Iterator[Server]:
    """Start a server, wait until it is ready, and kill what is left of it at the end."""
    server = start(data, *flags, **variables)
    try:
        server.until("is ready")
        server.until("Page")
        (page,) = (line for line in server.said if "Page" in line)
        server.url = page.split()[1].rstrip("/")
        yield server
    finally:
        end(server)


def end(server: Server) -> None:
    """Stop what is left of a server, politely if that does not take long."""
    tree = server.tree if server.process.poll() is None else []
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.process.terminate()
        server.process.wait(PATIENCE)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.process.wait()
    server.reader.join()


def start(data: Path, *flags: str, **variables: str) -> Server:
    kept = {name: value for name, value in os.environ.items() if "FILEROOM" not in name}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", "--data-dir", data, "--port", "0", *flags],
        env={**kept, "PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server(process, data)
    server.reader = threading.Thread(target=server.read, daemon=True)
    server.reader.start()
    return server


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """A hang-up means what it means, even if these tests were started with `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data") as running:
        yield running


def all_end(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    return not alive


def free(url: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    return True


def test_it_serves_a_migrated_index_and_makes_its_directories_private(server: Server) -> None:
    assert server.get("/sql").json() == 42
    assert server.data.stat().st_mode & 0o077 == 0
    postgres = EmbeddedPostgres(server.data / "postgres")
    assert postgres.run_script("SELECT count(*) FROM alembic_version", "fileroom") == "1\n"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_all_cleanly(server: Server, number: signal.Signals) -> None:
    tree = server.tree
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    assert all_end(tree)
    assert free(server.url)
    control = (server.data / "postgres" / "postgres.log").read_text()
    assert "database system is shut down" in control


def test_nohup_is_heeded(tmp_path: Path) -> None:
    """A server that was started with `nohup` outlives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it
    try:
        with serving(tmp_path / "data") as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert server.get("/pid").status_code == 200
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_requests_under_way_are_finished_and_new_ones_refused(server: Server) -> None:
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(server.get("/sleep?seconds=2").status_code)
    )
    asking.start()
    time.sleep(0.5)
    server.process.terminate()
    time.sleep(0.7)
    with pytest.raises(httpx.ConnectError):
        server.get("/pid")
    asking.join()
    assert answers == [200]
    assert server.process.wait(PATIENCE) == 0


def test_a_second_signal_does_not_wait(server: Server) -> None:
    asking = threading.Thread(target=lambda: _swallow(server, "/sleep?seconds=60"))
    asking.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0
    asking.join()


def _swallow(server: Server, path: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        server.get(path)


def test_requests_that_do_not_end_are_given_up_after_the_drain_time(tmp_path: Path) -> None:
    with serving(tmp_path / "data", FILEROOM_HTTP__DRAIN_SECONDS="1") as server:
        asking = threading.Thread(target=lambda: _swallow(server, "/sleep?seconds=60"))
        asking.start()
        time.sleep(0.5)
        server.process.terminate()
        assert server.process.wait(15) == 0
        asking.join()


def test_a_killed_worker_is_replaced(server: Server) -> None:
    before = server.get("/pid").json()
    counts = Path(server.workers[0].environ()[METRICS_VARIABLE])
    gauge = counts / f"gauge_livesum_{before}.db"
    assert gauge.exists()
    os.kill(before, signal.SIGKILL)
    server.until("has ended unexpectedly (signal SIGKILL) and is replaced")
    after = server.get("/pid").json()
    assert after != before
    assert not gauge.exists()
    assert server.get("/sql").json() == 42


def test_a_killed_postgresql_is_started_again(server: Server) -> None:
    assert server.get("/sql").json() == 42
    before = server.postmaster
    before.kill()
    server.until("PostgreSQL has ended unexpectedly and is started again")
    end = time.monotonic() + PATIENCE
    while server.get("/sql").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert server.postmaster != before
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0


def test_nothing_is_left_when_the_parent_is_killed(server: Server) -> None:
    tree = server.tree
    assert len(tree) > 5
    server.process.kill()
    assert all_end(tree)
    assert free(server.url)
    with serving(server.data) as again:
        assert again.get("/sql").json() == 42


def test_workers_share_the_port(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--workers", "2") as server:
        assert len(server.workers) == 2
        pids = {server.get("/pid").json() for _ in range(60)}
        assert pids == {worker.pid for worker in server.workers}


def refused(server: Server) -> str:
    """Wait until `serve` gives up; return all that it said."""
    assert server.process.wait(PATIENCE) == 1
    server.reader.join()
    return "".join(server.said)


def test_a_second_serve_on_the_directory_is_refused_and_the_first_goes_on(server: Server) -> None:
    said = refused(start(server.data))
    assert "Traceback" not in said
    assert f"Fileroom already serves {server.data}: process {server.process.pid}." in said
    assert server.get("/sql").json() == 42


def test_a_port_in_use_is_named(tmp_path: Path, server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    assert f"Port {port} on 127.0.0.1 is in use by another program" in refused(
        start(tmp_path / "other", "--port", port)
    )


def test_a_tool_that_runs_postgresql_is_named(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data" / "postgres", settings={"fsync": "off"})
    postgres.start(note="fileroom import")
    assert f"already run by process {os.getpid()} (fileroom import)" in refused(
        start(tmp_path / "data")
    )
    postgres.stop()


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    cluster = tmp_path / "data" / "postgres" / "18"
    end = time.monotonic() + PATIENCE
    while not (cluster / "postmaster.pid").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    tree = server.tree
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE) == 0
    assert all_end(tree)
    assert not list(processes_in(cluster))


def test_an_application_that_cannot_start_ends_serve(tmp_path: Path) -> None:
    assert "The server could not start (exit code 3)" in refused(
        start(tmp_path / "data", STANDIN_FAILS="1")
    )


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be used: Not a directory" in refused(start(tmp_path / "file" / "data"))


def test_a_setting_that_is_not_known_ends_serve(tmp_path: Path) -> None:
    assert "fileroom: FILEROOM_HTTP__PROT is not a setting of this version." in refused(
        start(tmp_path / "data", FILEROOM_HTTP__PROT="1")
    )


def test_an_external_index_has_to_be_migrated_first(
    tmp_path: Path, empty_database_url: str, database_url: str
) -> None:
    assert "run `fileroom migrate`" in refused(
        start(tmp_path / "data", FILEROOM_DATABASE__URL=empty_database_url)
    )
    with serving(tmp_path / "data", FILEROOM_DATABASE__URL=database_url) as running:
        assert running.get("/sql").json() == 42
        assert not (tmp_path / "data" / "postgres").exists()


def test_an_external_index_that_does_not_answer_is_said(tmp_path: Path) -> None:
    url = f"postgresql://fileroom@/fileroom?host={tmp_path}"
    assert "The index cannot be used" in refused(
        start(tmp_path / "data", FILEROOM_DATABASE__URL=url)
    )


def test_the_parent_is_small(server: Server) -> None:
    """It is there all the time: no web framework, no database driver, no migrations."""
    own = psutil.Process(server.process.pid).memory_full_info().pss
    assert own < 45 * 2**20
