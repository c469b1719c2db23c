"""The bridge killed during a stream of stores, the archive stopped beneath it: nothing is lost.

A short form of `python -m tests.killing.bridge`.
"""

from pathlib import Path

import pytest

from tests.killing.bridge import run

KILLS = 6


@pytest.mark.slow
@pytest.mark.parametrize("spooled", [True, False], ids=["with a spool", "without"])
def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path, spooled: bool) -> None:
    report = run(tmp_path, KILLS, 7, spooled=spooled, tell=lambda _: None)
    assert report.wrong == []
    assert report.acknowledged > KILLS
