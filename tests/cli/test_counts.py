"""Where workers share what they count; never on the archive's disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.cli import counts
from app.cli.counts import (
    ROOM,
    counting_directory,
    counting_environment,
    keep_totals,
    reserve_counts,
)
from app.settings import METRICS_VARIABLE

PID = os.getpid()


def test_the_directory_is_private_and_goes_at_the_end(tmp_path: Path) -> None:
    with counting_directory(tmp_path) as made:
        assert made is not None
        assert made.stat().st_mode & 0o777 == 0o700
        assert tmp_path not in made.parents
    assert not made.exists()


def test_what_a_killed_serve_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from app.cli.counts import counting_directory\n"
        "kept = counting_directory(Path(sys.argv[1])); made = kept.__enter__()\n"
        "(made / 'counter_1.db').touch(); print(made, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, tmp_path], check=False, stdout=subprocess.PIPE, text=True
    )
    left = Path(killed.stdout.strip())
    assert (left / "counter_1.db").exists()
    with counting_directory(tmp_path) as made:
        assert made == left
        assert list(left.iterdir()) == []


def test_what_somebody_else_has_put_there_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MEMORY", tmp_path)
    with counting_directory(tmp_path / "data") as first:
        pass
    assert first is not None
    (tmp_path / "elsewhere").mkdir()
    first.symlink_to(tmp_path / "elsewhere")
    with counting_directory(tmp_path / "data") as second:
        assert second is not None
        assert second != first
        assert not second.is_symlink()
    assert first.is_symlink()


def test_without_memory_files_it_takes_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MEMORY", tmp_path / "absent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with counting_directory(tmp_path / "data") as made:
        assert made is not None
        assert made.parent == tmp_path


def test_without_any_place_workers_count_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "MEMORY", tmp_path / "absent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    monkeypatch.setenv(METRICS_VARIABLE, "of somebody else")
    with counting_directory(tmp_path / "data") as made:
        assert made is None
        assert METRICS_VARIABLE not in counting_environment(made)


def test_room_is_reserved_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    reserve_counts()
    for kind, size in ROOM.items():
        found = (tmp_path / f"{kind}_{PID}.db").stat()
        assert found.st_size == size
        assert found.st_blocks * 512 >= size


def test_without_room_a_worker_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    monkeypatch.setitem(ROOM, "histogram", 2**62)
    reserve_counts()
    assert METRICS_VARIABLE not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_shares_nothing_reserves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(METRICS_VARIABLE, raising=False)
    reserve_counts()
    assert METRICS_VARIABLE not in os.environ


def test_of_a_worker_that_ended_the_totals_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    reserve_counts()
    counter = tmp_path / f"counter_{PID}.db"
    counted = MmapedDict(str(counter))  # type: ignore[no-untyped-call]
    counted.write_value("key", 5.0, 0.0)  # type: ignore[no-untyped-call]
    counted.close()  # type: ignore[no-untyped-call]
    other = tmp_path / f"gauge_livesum_{PID + 1}.db"
    other.touch()
    keep_totals(tmp_path, PID)
    assert not (tmp_path / f"gauge_livesum_{PID}.db").exists()
    assert other.exists()
    assert counter.stat().st_size < 100
    values = MmapedDict.read_all_values_from_file(str(counter))  # type: ignore[no-untyped-call]
    assert [(key.strip(), value) for key, value, *_ in values] == [("key", 5.0)]
