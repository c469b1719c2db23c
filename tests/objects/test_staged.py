import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.objects.room import Room
from app.objects.staged import InMemory, Pieces


@given(
    sizes=st.lists(st.sampled_from([0, 1, 3, 16_383, 16_384, 40_000]), max_size=8),
    offset=st.integers(0, 130_000),
    length=st.integers(0, 130_000),
)
def test_pieces_read_like_the_joined_bytes(sizes: list[int], offset: int, length: int) -> None:
    parts = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    whole = b"".join(parts)
    pieces = Pieces(parts)
    assert pieces.size == len(whole)
    assert pieces.read(offset, length) == whole[offset : offset + length]
    assert b"".join(pieces.pieces) == whole


def test_large_pieces_are_not_copied() -> None:
    large = bytes(100_000)
    pieces = Pieces([b"head", large, b"tail"])
    assert pieces.pieces[1] is large
    assert pieces.read(4, 100_000) is large


def in_memory(data: list[bytes], directory: Path) -> InMemory:
    return InMemory(Pieces(data), f"{directory}/part", lambda: None, room(directory))


def room(directory: Path, reserve: int = 0) -> Room:
    return Room(os.open(directory, os.O_RDONLY), reserve)


def test_room_is_what_is_left_and_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1000]
    looked = []

    def found(fd: int) -> SimpleNamespace:
        looked.append(fd)
        return SimpleNamespace(f_bavail=free[0], f_frsize=1)

    monkeypatch.setattr(os, "fstatvfs", found)
    left = room(tmp_path, 100)
    left.take(400)
    left.take(400)
    assert len(looked) == 1
    with pytest.raises(OSError, match="No space"):
        left.take(901)
    left.take(900)
    free[0] = 150
    with pytest.raises(OSError, match="No space"):
        left.take(60)
    left.take(50)
    monkeypatch.setattr("app.objects.room._LOOK_SECONDS", -1)
    count = len(looked)
    left.take(10)
    assert len(looked) == count + 1


def test_small_pieces_are_joined() -> None:
    pieces = Pieces()
    for _ in range(100_000):
        pieces.append(b"x")
    assert pieces.size == 100_000
    assert len(pieces.pieces) == 7
    pieces.clear()
    assert pieces.size == 0
    assert pieces.read(0, 10) == b""


@pytest.mark.parametrize("most", [1, 70_000, 300_000])
def test_a_write_that_is_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    def short(fd: int, pieces: list[bytes]) -> int:
        return os.write(fd, b"".join(pieces)[:most])

    data = [bytes([n]) * 20_000 for n in range(10)]
    monkeypatch.setattr(os, "writev", short)
    path = in_memory(data, tmp_path).write_out()
    assert path.read_bytes() == b"".join(data)


def test_more_pieces_than_one_call_takes_are_written(tmp_path: Path) -> None:
    data = [bytes([n % 256]) * 16_384 for n in range(1500)]
    path = in_memory(data, tmp_path).write_out()
    assert path.read_bytes() == b"".join(data)
