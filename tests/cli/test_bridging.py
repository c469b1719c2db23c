"""The bridge as a process: started by `fileroom serve`, or by itself with a key."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.cli.bridging import plan_of
from app.dimse.peers import Peer
from app.settings import SettingsError, load_settings
from benchmarks.server import free_port
from tests.bridges import dcmtk
from tests.factories import make_dataset, make_part10
from tests.live_server import FILEROOM, clean_environment, serve

KEY = "a-key-that-is-long-enough"


def _echoed(port: int) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if dcmtk("echoscu", "-aec", "FILEROOM", "127.0.0.1", str(port), good=False).returncode == 0:
            return True
        time.sleep(0.05)
    return False


def _bridge_of(parent: int) -> int:
    found = subprocess.run(
        ["pgrep", "-P", str(parent), "-f", "app.cli.bridging"], capture_output=True, check=True
    )
    return int(found.stdout)


@pytest.mark.slow
def test_serve_starts_the_bridge_and_replaces_one_that_died(tmp_path: Path) -> None:
    port = free_port()
    dataset = make_dataset()
    (tmp_path / "one.dcm").write_bytes(make_part10(dataset))
    (tmp_path / "key").write_text(KEY)
    environment = {
        "FILEROOM_DIMSE__PORT": str(port),
        "FILEROOM_DIMSE__OPEN": "true",
        "FILEROOM_AUTH__KEY_FILE": str(tmp_path / "key"),
    }
    with serve(tmp_path, environment=environment) as server:
        assert _echoed(port)
        assert f"port {port}" in server.log.read_text()
        os.kill(_bridge_of(server.process.pid), signal.SIGKILL)
        assert _echoed(port)
        dcmtk("storescu", "-aec", "FILEROOM", "127.0.0.1", str(port), tmp_path / "one.dcm")
        assert server.stored_object(dataset.SOPInstanceUID)


@pytest.mark.slow
def test_a_bridge_by_itself_stops_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["dimse", "--port", str(port), "--archive-url", "http://127.0.0.1:9"]
    environment = clean_environment({"FILEROOM_DIMSE__OPEN": "true"})
    with subprocess.Popen(
        [FILEROOM, *arguments], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert _echoed(port)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"FILEROOM on 127.0.0.1, port {port}" in said
    assert "every AE that can reach it" in said


def test_a_port_for_figures_that_is_in_use_is_refused_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        done = subprocess.run(
            [FILEROOM, "dimse", "--port", str(free_port()), "--archive-url", "http://127.0.0.1:9"],
            cwd=tmp_path,
            env=clean_environment(
                {"FILEROOM_DIMSE__OPEN": "true", "FILEROOM_DIMSE__METRICS_PORT": number}
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert "FILEROOM_DIMSE__METRICS_PORT" in done.stderr
    assert number in done.stderr
    assert "Traceback" not in done.stderr


def test_the_plan_is_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FILEROOM_"):
            monkeypatch.delenv(name)
    (tmp_path / "own.key").write_text(KEY)
    (tmp_path / "ct1.key").write_text(KEY[::-1])
    peers = f'[{{"ae_title": "CT1", "key_file": "{tmp_path / "ct1.key"}"}}]'
    monkeypatch.setenv("FILEROOM_DIMSE__PEERS", peers)
    given = {"host": "0.0.0.0", "port": 9000}
    auth = {"key_file": tmp_path / "own.key"}
    dimse = {"tls_certificate": tmp_path / "c", "tls_key": tmp_path / "k", "utf8": True}
    plan = plan_of(load_settings({"http": given, "auth": auth, "dimse": dimse}))
    assert plan.archive_url == "http://127.0.0.1:9000"
    assert plan.keys == {"": KEY, "CT1": KEY[::-1]}
    assert plan.peers == (Peer("CT1", key_file=str(tmp_path / "ct1.key")),)
    assert (plan.open, plan.utf8, plan.tls is not None) == (False, True, True)


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(SettingsError, match="belong together"):
        load_settings({"dimse": {"tls_key": "k"}})
    with pytest.raises(SettingsError, match="tls_peers needs"):
        load_settings({"dimse": {"tls_peers": "k"}})


@pytest.mark.slow
def test_several_processes_share_a_port_and_one_that_died_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["dimse", "--port", str(port), "--archive-url", "http://127.0.0.1:9"]
    settings = {"FILEROOM_DIMSE__OPEN": "true", "FILEROOM_DIMSE__PROCESSES": "3"}
    with subprocess.Popen(
        [FILEROOM, *arguments], cwd=tmp_path, env=clean_environment(settings)
    ) as process:
        first = psutil.Process(process.pid)
        try:
            assert _echoed(port)
            _until(lambda: len(first.children()) == 2)
            dead, other = first.children()
            dead.kill()
            _until(lambda: len(first.children()) == 2 and dead not in first.children())
            assert other in first.children()
            first.suspend()  # so that the others alone can answer
            assert _echoed(port)
        finally:
            first.resume()
            family = first.children()
            process.terminate()
            assert process.wait(60) == 0
    assert not any(one.is_running() for one in family)


@pytest.mark.slow
def test_serve_starts_as_many_bridges_as_are_wanted(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "FILEROOM_DIMSE__PORT": str(port),
        "FILEROOM_DIMSE__OPEN": "true",
        "FILEROOM_DIMSE__PROCESSES": "2",
    }
    with serve(tmp_path, environment=environment) as server:
        assert _echoed(port)
        family = psutil.Process(server.process.pid).children()
        assert len([one for one in family if "app.cli.bridging" in one.cmdline()]) == 2


def _until(met: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_spool_is_one_processs() -> None:
    with pytest.raises(SettingsError, match="set spool or processes"):
        load_settings({"dimse": {"spool": "spool", "processes": 2}})
