"""The cell with a second copy sets what it says."""

from pathlib import Path

import pytest

from app.objects.bucket import CopyPlace
from app.settings import Settings
from benchmarks.fileroom import make_server
from benchmarks.safe import copy_setting


def test_a_store_waits_for_the_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server(tmp_path, "safe", copy_setting(tmp_path))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    second = CopyPlace("second", sync=True, where=tmp_path / "safe" / "second")
    assert Settings().objects.copies == (second,)
