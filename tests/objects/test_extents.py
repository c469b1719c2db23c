import os
from pathlib import Path

import pytest

from app.objects.extents import Extent, PageCache
from app.objects.local import LocalStore
from app.objects.staging import Staging
from tests.objects.test_contract import KEY, put

SIZE = 300_000


@pytest.fixture
def file(tmp_path: Path) -> int:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    return os.open(tmp_path / "file", os.O_RDONLY)


def _throw_out(descriptor: int) -> None:
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _can_tell(descriptor: int) -> bool:
    return PageCache().holds(descriptor, 0, SIZE)


def test_what_the_kernel_holds_is_said_by_pages(file: int) -> None:
    if not _can_tell(file):
        pytest.skip("this kernel does not tell what it holds: cachestat(2) is of Linux 6.5")
    cache = PageCache()
    assert cache.holds(file, 1, SIZE - 1)
    assert cache.holds(file, SIZE - 1, 1)
    _throw_out(file)
    assert not cache.holds(file, 0, SIZE)
    os.pread(file, 1, 0)
    assert cache.holds(file, 0, 1)


def test_a_kernel_that_does_not_tell_holds_nothing(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.objects.extents._CACHESTAT", 100_000)
    assert not PageCache().holds(file, 0, 1)


async def test_an_extent_is_of_an_open_file_that_is_in_memory(
    local_store: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(local_store, staging, KEY, b"0123456789")
    assert local_store.extent_now(KEY, 2, 3) is None  # not open yet: opening may wait
    await local_store.read(KEY, 0, 1)
    monkeypatch.setattr(PageCache, "holds", lambda *_: True)
    extent = local_store.extent_now(KEY, 2, 3)
    assert isinstance(extent, Extent)
    assert os.pread(extent.file.fd, len(extent), extent.offset) == b"234"
    assert local_store.extent_now(KEY, 8, 3) is None
    await local_store.delete(KEY)
    assert os.pread(extent.file.fd, len(extent), extent.offset) == b"234"
    assert local_store.extent_now(KEY, 2, 3) is None
    monkeypatch.setattr(PageCache, "holds", lambda *_: False)
    assert local_store.extent_now(KEY, 0, 1) is None
