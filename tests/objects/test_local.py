import asyncio
import errno
import os
import resource
from pathlib import Path

import pytest

from app.errors import StorageFull, Unavailable
from app.objects.local import LocalStore
from app.objects.staging import Staging
from tests.objects.test_contract import KEY, chunks, put

BIG = bytes(70_000)


@pytest.fixture
def local(local_store: LocalStore) -> LocalStore:
    return local_store


async def test_a_hot_range_is_read_at_once(local: LocalStore, staging: Staging) -> None:
    await put(local, staging, KEY, b"0123456789")
    assert local.read_now(KEY, 2, 3) is None  # not open yet: opening may wait
    await local.read(KEY, 0, 1)
    assert local.read_now(KEY, 2, 3) == b"234"
    assert local.read_now(KEY, 8, 3) is None
    await local.delete(KEY)
    assert local.read_now(KEY, 2, 3) is None


async def test_without_nowait_nothing_is_read_at_once(local: LocalStore, staging: Staging) -> None:
    await put(local, staging, KEY, b"0123456789")
    await local.read(KEY, 0, 1)
    local._nowait = 0
    assert local.read_now(KEY, 2, 3) is None


async def test_a_read_that_would_wait_is_none(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks(*_: object) -> int:
        raise BlockingIOError

    await put(local, staging, KEY, b"0123456789")
    await local.read(KEY, 0, 1)
    monkeypatch.setattr(os, "preadv", blocks)
    assert local.read_now(KEY, 2, 3) is None


async def test_open_files_are_bounded(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    local.close()
    local = LocalStore(Path(local._root))
    keys = [f"t/1/{n}" for n in range(300)]
    for key in keys:
        await put(local, staging, key, b"x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for key in keys:
        await local.read(key, 0, 1)
    assert len(os.listdir("/proc/self/fd")) <= before + 256  # noqa: PTH208
    assert local.read_now(keys[-1], 0, 1) == b"x"
    assert local.read_now(keys[0], 0, 1) is None


@pytest.mark.parametrize("data", [b"small", BIG])
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Unavailable)],
)
async def test_a_failed_fsync_leaves_nothing_and_is_never_repeated(
    local: LocalStore,
    staging: Staging,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    number: int,
    error: type[Exception],
) -> None:
    synced = []

    def fails(fd: int) -> None:
        synced.append(fd)
        raise OSError(number, "no")

    staged = await staging.stage(chunks(data))
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error):
        await local.put(KEY, staged)
    assert len(synced) == 1
    assert [key async for key in local.keys("")] == []
    assert list(staging.directory.iterdir()) == []


async def test_a_part_in_memory_is_written_anew_after_a_failed_fsync(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "no")

    staged = await staging.stage(chunks(b"small"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(Unavailable):
            await local.put(KEY, staged)
    await local.put(KEY, staged)
    assert await local.read(KEY, 0, 5) == b"small"


async def test_every_directory_that_may_be_new_is_synced(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        if not path.endswith(".part"):
            synced.append(path.removeprefix(f"{tmp_path}/objects"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    for key, wanted in (
        ("t/a/1", ["", "/t", "/t/a"]),
        ("t/a/2", ["/t/a"]),
        ("t/b/1", ["/t", "/t/b"]),
        ("t/a/3", ["/t/a"]),
    ):
        synced.clear()
        await local.put(key, await staging.stage(chunks(b"x")))
        assert sorted(synced) == wanted


async def test_a_directory_that_is_not_durable_fails_the_put_and_leaves_nothing(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fails(fd: int) -> None:
        if os.path.isdir(fd):  # noqa: PTH112
            raise OSError(errno.EIO, "no")
        fsync(fd)

    staged = await staging.stage(chunks(b"x"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(Unavailable):
            await local.put("t/a/1", staged)
    assert [key async for key in local.keys("")] == []
    assert list(local._naming.not_durable(f"{local._root}/t/a")) == [
        f"{local._root}/t/a",
        f"{local._root}/t",
    ]
    await local.put("t/a/1", staged)
    assert await local.read("t/a/1", 0, 1) == b"x"


async def test_a_cancelled_put_has_ended_when_it_is_cancelled(
    local: LocalStore, staging: Staging
) -> None:
    staged = await staging.stage(chunks(bytes(10_000_000)))
    task = asyncio.create_task(local.put(KEY, staged))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    staged.discard()
    await local.delete(KEY)
    await asyncio.sleep(0.05)
    assert [key async for key in local.keys("")] == []


async def test_an_object_is_read_only(local: LocalStore, staging: Staging, tmp_path: Path) -> None:
    for key, data in (("t/1", b"small"), ("t/2", BIG)):
        await put(local, staging, key, data)
        assert (tmp_path / "objects" / key).stat().st_mode & 0o777 == 0o440


def test_a_store_whose_directory_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        LocalStore(tmp_path / "file" / "objects")


async def test_what_cannot_be_listed_is_unavailable(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise PermissionError(errno.EACCES, "no")

    await put(local, staging, KEY, b"x")
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(Unavailable):
        _ = [key async for key in local.keys("")]


async def test_a_long_read_goes_on_after_a_short_one(
    local: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread
    await put(local, staging, KEY, b"0123456789")
    monkeypatch.setattr(os, "pread", lambda fd, length, at: pread(fd, min(length, 3), at))
    assert await local.read(KEY, 1, 8) == b"12345678"


async def test_a_directory_that_is_not_there_is_told_of_and_not_made(
    tmp_path: Path, staging: Staging
) -> None:
    store = LocalStore(tmp_path / "nas", create=False)
    staged = await staging.stage(chunks(b"x"))

    async def listed() -> list[str]:
        return [key async for key in store.keys("t/")]

    for work in (
        store.check(),
        store.read(KEY, 0, 1),
        store.size(KEY),
        store.delete(KEY),
        store.put(KEY, staged),
        listed(),
    ):
        with pytest.raises(Unavailable, match="nas is not there"):
            await work
    with pytest.raises(Unavailable):
        await store.secret("pseudonyms")
    assert not (tmp_path / "nas").exists()
    (tmp_path / "nas").mkdir()  # it is mounted
    await put(store, staging, KEY, b"0123")
    assert await store.read(KEY, 1, 2) == b"12"
    store.close()
