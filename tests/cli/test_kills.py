"""Each process killed while instances are being stored: what was acknowledged is there, whole."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.factories import make_dataset, make_part10
from tests.live_server import LiveServer, serve

pytestmark = pytest.mark.slow

HEADERS = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


class Storing:
    """Clients that store until told to stop, and remember what was acknowledged."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.sent: dict[str, bytes] = {}
        self.acknowledged: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._store) for _ in range(4)]

    def __enter__(self) -> "Storing":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _store(self) -> None:
        while not self._stop.is_set():
            dataset = make_dataset(Rows=256, Columns=256)
            uid, data = str(dataset.SOPInstanceUID), make_part10(dataset)
            self.sent[uid] = data
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.post(
                    f"{self.server.dicomweb}/studies", content=data, headers=HEADERS, timeout=60
                )
                if answer.status_code == 200:
                    self.acknowledged.add(uid)

    def wait_for(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        deadline = threading.Event()
        for _ in range(1200):
            if len(self.acknowledged) >= wanted:
                return
            deadline.wait(0.05)
        raise AssertionError("storing does not go on")


def family(server: LiveServer) -> Iterator[psutil.Process]:
    yield from psutil.Process(server.process.pid).children()


def worker(server: LiveServer) -> psutil.Process:
    return next(child for child in family(server) if "app.cli.worker" in child.cmdline())


def postmaster(server: LiveServer) -> psutil.Process:
    return next(child for child in family(server) if child.name() == "postgres")


def check_whole(server: LiveServer, storing: Storing) -> None:
    """Every acknowledged instance is found, and whatever is found is what was sent."""
    found: set[str] = set()
    for offset in itertools.count(0, 500):
        query = f"{server.dicomweb}/instances?limit=500&offset={offset}"
        answer = httpx.get(query, headers={"Accept": "application/dicom+json"}, timeout=60)
        if answer.status_code == 204:
            break
        found |= {match["00080018"]["Value"][0] for match in answer.json()}
    assert storing.acknowledged <= found
    assert found <= storing.sent.keys()
    for uid in found:
        assert server.stored_object(uid) == storing.sent[uid]


@pytest.mark.parametrize("victim", [worker, postmaster])
def test_a_process_killed_alone_loses_nothing_and_storing_goes_on(tmp_path: Path, victim) -> None:  # type: ignore[no-untyped-def]
    with serve(tmp_path) as server:
        with Storing(server) as storing:
            for _ in range(3):
                storing.wait_for(10)
                victim(server).kill()
            storing.wait_for(10)
        check_whole(server, storing)
    with serve(tmp_path) as again:
        check_whole(again, storing)


def test_the_parent_killed_loses_nothing_and_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with contextlib.suppress(AssertionError), serve(tmp_path) as server:
        with Storing(server) as storing:
            storing.wait_for(20)
            tree = [psutil.Process(server.process.pid), *family(server)]
            tree[0].kill()
            server.process.wait()
        assert not psutil.wait_procs(tree, 30)[1]
    with serve(tmp_path) as again:
        check_whole(again, storing)
        staging = tmp_path / "data" / "objects" / "staging"
        assert [path for path in staging.rglob("*") if path.is_file()] == []


def test_stopped_while_storing_what_is_under_way_is_answered(tmp_path: Path) -> None:
    with serve(tmp_path) as server, Storing(server) as storing:
        storing.wait_for(20)
        server.process.terminate()
        assert server.process.wait(60) == 0
    with serve(tmp_path) as again:
        check_whole(again, storing)


def test_what_was_read_before_a_kill_is_in_the_trail(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        studies = [str(make_dataset().StudyInstanceUID) for _ in range(8)]
        for study in studies:
            body = make_part10(StudyInstanceUID=study)
            httpx.post(f"{server.dicomweb}/studies", content=body, headers=HEADERS, timeout=60)
        for study in studies:
            metadata = httpx.get(f"{server.dicomweb}/studies/{study}/metadata", timeout=60)
            assert metadata.status_code == 200
        worker(server).kill()
        trail = _ask_again(f"{server.url}/api/v1/audit?action=viewed")
        assert [one["study"] for one in trail["entries"]] == studies


def _ask_again(url: str) -> Any:
    """Return the JSON of an answer, from whoever serves next."""
    for _ in range(300):
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url).raise_for_status().json()
        threading.Event().wait(0.1)
    raise AssertionError("nobody serves")
