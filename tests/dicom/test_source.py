"""Sources and the window over them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.dicom.source import WINDOW, BytesSource, FileSource, Source, Window

DATA = bytes(range(256)) * 1024


@pytest.fixture(params=["bytes", "file"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    """The same bytes in memory and in a file."""
    if request.param == "bytes":
        yield BytesSource(DATA)
        return
    path = tmp_path / "object"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDONLY)
    yield FileSource(descriptor, len(DATA))
    os.close(descriptor)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 10), (0, 2**40), (1000, 0), (len(DATA) - 3, 10), (len(DATA) + 5, 10)]
)
def test_a_source_reads_what_is_there(source: Source, offset: int, length: int) -> None:
    assert source.size == len(DATA)
    assert source.read(offset, length) == DATA[offset : offset + length]


def test_a_file_that_is_shorter_than_its_size_yields_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        assert FileSource(file.fileno(), len(DATA) + 100).read(len(DATA) - 4, 50) == DATA[-4:]


def test_reads_that_a_file_answers_in_parts_are_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: pread(fd, min(length, 1000), at))
    with path.open("rb") as file:
        assert FileSource(file.fileno(), len(DATA)).read(5, 5000) == DATA[5:5005]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 12), (70_000, 12), (69_990, 12), (len(DATA) - 5, 12), (len(DATA), 12), (0, WINDOW + 7)],
)
def test_a_window_moves_to_what_is_peeked_at(source: Source, offset: int, length: int) -> None:
    window = Window(source)
    window.peek(100, 8)
    assert window.peek(offset, length) == DATA[offset : offset + length]
    assert window.data[offset - window.base :][:length] == DATA[offset : offset + length]


def test_a_window_stays_where_it_is_when_one_reads(source: Source) -> None:
    window = Window(source)
    window.peek(1000, 8)
    base, data = window.base, window.data
    assert window.read(1010, 20) == DATA[1010:1030]
    assert window.read(len(DATA) - 20, 20) == DATA[-20:]
    assert (window.base, window.data) == (base, data)


def test_a_window_over_memory_is_no_copy() -> None:
    assert Window(BytesSource(DATA)).data is DATA
