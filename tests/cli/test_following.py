"""`fileroom serve` stops without waiting for those who wait for changes."""

import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.setting_groups import Http
from tests.live_server import serve

pytestmark = pytest.mark.slow


def test_who_follows_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    ended: list[str] = []
    with serve(tmp_path, "--workers", "2") as server:
        begun = threading.Barrier(3)

        def follow() -> None:
            changes, headers = f"{server.url}/api/v1/changes", {"accept": "text/event-stream"}
            with httpx.stream("GET", changes, headers=headers, timeout=60) as answer:
                lines = answer.iter_lines()
                next(lines)
                begun.wait(30)
                ended.append("".join(lines))

        following = [threading.Thread(target=follow) for _ in range(2)]
        for thread in following:
            thread.start()
        begun.wait(30)
        stopped_at = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        assert time.monotonic() - stopped_at < Http().drain_seconds / 2
        for thread in following:
            thread.join(10)
    assert ended == ["", ""]  # each ended as an answer does that is whole
