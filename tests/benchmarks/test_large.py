"""The large Instance is DICOM, the group of processes has its limit, and the page says so."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import pytest
from pydicom import dcmread
from pydicom.encaps import generate_frames, parse_basic_offsets

from benchmarks import memory_group
from benchmarks.large import hash_instance, main, write_instance
from benchmarks.large_data import FRAME, SIDE, make_large
from benchmarks.large_report import Measured, Step, build_large_page
from benchmarks.memory_group import MemoryGroup, NoGroups

ALLOCATE = "import sys; held = bytearray(int(sys.argv[1])); held[::4096] = held[::4096]"


def can_limit() -> bool:
    try:
        with MemoryGroup("fileroom-probe", 2**26):
            return True
    except NoGroups:
        return False


limited = pytest.mark.skipif(not can_limit(), reason="no groups with a limit can be made here")


@pytest.mark.parametrize("table", [True, False])
def test_the_large_instance_is_read_by_pydicom_as_it_was_meant(table: bool) -> None:
    instance = make_large(7, 3, table=table)
    whole = b"".join(instance.pieces())
    assert len(whole) == instance.size
    assert hashlib.sha256(whole).hexdigest() == hash_instance(instance)
    dataset = dcmread(io.BytesIO(whole))
    assert dataset.SOPInstanceUID == instance.uid
    assert parse_basic_offsets(dataset.PixelData) == []
    tables = (dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
    extended = tuple(found for found in tables if found)
    frames = list(
        generate_frames(dataset.PixelData, number_of_frames=3, extended_offsets=extended or None)
    )
    assert len(extended) == 2 * table
    assert frames == [b"".join(instance.frame(number)) for number in (1, 2, 3)]
    assert {len(frame) for frame in frames} == {FRAME}
    assert imagecodecs.jpeg8_decode(frames[2]).shape == (SIDE, SIDE, 3)


def test_no_two_frames_are_alike() -> None:
    instance = make_large(7, 9, table=False)
    assert len({b"".join(instance.frame(number)) for number in range(1, 10)}) == 9


def test_the_file_that_is_imported_is_what_would_be_sent(tmp_path: Path) -> None:
    instance = make_large(7, 2, table=True)
    write_instance(instance, tmp_path / "large.dcm")
    written = hashlib.sha256((tmp_path / "large.dcm").read_bytes()).hexdigest()
    assert written == hash_instance(instance)


@limited
def test_a_process_that_takes_too_much_is_killed_and_counted() -> None:
    with MemoryGroup("fileroom-test", 2**26) as group:
        command = [sys.executable, "-S", "-c", ALLOCATE]
        assert subprocess.run(group.within([*command, "1000"]), check=False).returncode == 0
        assert (group.killed, group.peak < 2**26) == (0, True)
        assert subprocess.run(group.within([*command, "200000000"]), check=False).returncode == -9
        assert (group.killed, group.held <= 2**26 <= group.peak + 2**20) == (1, True)
    assert not group.path.exists()


def test_where_no_group_can_be_made_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_group, "CONTROLLER", tmp_path / "absent")
    said: list[str] = []
    arguments = ["--frames", "1", "--only", "bare", "--cache", str(tmp_path / "cache")]
    assert main(arguments, said.append) == 2
    assert "cgroups, version 1" in said[0]


def test_without_room_it_does_not_begin(tmp_path: Path) -> None:
    said: list[str] = []
    assert main(["--frames", str(2**40), "--cache", str(tmp_path)], said.append) == 2
    assert "name another disk with --cache" in said[0]


@limited
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can limit memory")
@pytest.mark.parametrize("kind", ["extended", "import"])
def test_a_small_large_instance_passes_all_trials(tmp_path: Path, kind: str) -> None:
    said: list[str] = []
    page = tmp_path / "page.md"
    arguments = ["--frames", "128", "--only", kind, "--cache", str(tmp_path), "--output", str(page)]
    assert main(arguments, said.append) == 0, said
    assert "| killed for want of memory | 0 |" in page.read_text()
    assert not (tmp_path / "large").exists()


def test_the_page_has_a_column_for_each_kind() -> None:
    steps = [Step("stored", 10**9, 2), Step("its metadata", 0, 0.5)]
    measured = [Measured("a table", steps, 2**29, 2**28, 0), Measured("none", steps, 2**29, 0, 1)]
    page = build_large_page(measured, (2**29, 8192, 1024), "today", {"memory": "24 GB"})
    assert "| what | a table | none |" in page
    assert "| stored | 2.00 s (500 MB/s) | 2.00 s (500 MB/s) |" in page
    assert "| its metadata | 0.50 s | 0.50 s |" in page
    assert "| most memory held | 256 MB | 0 MB |" in page
    assert "| killed for want of memory | 0 | 1 |" in page
