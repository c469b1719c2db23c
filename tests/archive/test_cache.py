"""Derived files: made once, and thrown away at any time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.archive import cache as cache_module
from app.archive.cache import FileCache


def making(data: bytes, made: list[bytes]) -> Callable[[], Awaitable[bytes]]:
    async def make() -> bytes:
        made.append(data)
        return data

    return make


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_what_is_made_is_kept(tmp_path: Path) -> None:
    cache, made = FileCache(tmp_path, 2**20), list[bytes]()
    for number in range(50):
        data = bytes([number]) * 1000
        for _ in range(2):
            assert await cache.get_or_make(f"one-{number}", making(data, made)) == data
    assert len(made) == 50
    assert names(tmp_path) == {f"one-{n}" for n in range(50)}
    assert await FileCache(tmp_path, 2**20).load("one-7") == bytes([7]) * 1000


async def test_a_directory_that_is_gone_costs_only_the_making(tmp_path: Path) -> None:
    cache, made = FileCache(tmp_path / "cache", 2**20), list[bytes]()
    (tmp_path / "cache").rmdir()
    for _ in range(2):
        assert await cache.get_or_make("one", making(b"x", made)) == b"x"
    assert made == [b"x"] * 2


async def test_the_longest_unread_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_LOOK_EVERY", 1)
    cache = FileCache(tmp_path, 1000)
    for number in range(5):
        await cache.get_or_make(f"{number}", making(bytes(300), []))
        await asyncio.sleep(0.02)
        cache.find("0")
    assert names(tmp_path) == {"0", "3", "4"}
