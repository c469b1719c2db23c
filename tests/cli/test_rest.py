"""What an archive costs when nobody asks for anything."""

import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.live_server import serve

pytestmark = pytest.mark.slow


def test_all_processes_together_stay_under_300_megabytes(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        httpx.get(f"{server.url}/", timeout=60).raise_for_status()
        time.sleep(2)
        parent = psutil.Process(server.process.pid)
        tree = [parent, *parent.children(recursive=True)]
        assert {process.name() for process in tree} >= {"postgres"}
        assert sum(process.memory_full_info().pss for process in tree) < 300 * 2**20
