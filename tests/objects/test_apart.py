"""The process that makes small files durable: what is asked of it is done, or has failed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from app.errors import Conflict, StorageFull, Unavailable
from app.objects import naming_main
from app.objects.local import LocalStore
from app.objects.naming import Naming
from app.objects.staging import Staging
from tests.objects.test_contract import KEY, put
from tests.waiting import until

OTHER = f"{KEY}.other"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "objects", apart=True)
    yield store
    store.close()


def helper(parent: int | None = None) -> psutil.Process:
    """Return the process that a store of this one, or of another, has."""
    (found,) = [
        child
        for child in psutil.Process(parent).children()
        if child.status() != psutil.STATUS_ZOMBIE and naming_main.__name__ in child.cmdline()
    ]
    return found


def lying(tmp_path: Path) -> list[str]:
    """Return the names of all files that were put or are waiting."""
    return sorted(path.name for path in (tmp_path / "objects").rglob("*") if path.is_file())


def waits(tmp_path: Path) -> bool:
    return any(name.endswith(".part") for name in lying(tmp_path))


async def test_many_at_once_are_all_durable_and_none_waits(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    keys = [f"t/{number % 7}/{number}" for number in range(200)]
    await asyncio.gather(*(put(store, staging, key, key.encode()) for key in keys))
    assert [await store.read(key, 0, len(key)) for key in keys] == [key.encode() for key in keys]
    assert lying(tmp_path) == sorted(key.rpartition("/")[2] for key in keys)


async def test_it_ends_with_the_store(store: LocalStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    store.close()
    assert not process.is_running()


async def test_whoever_stops_its_parent_does_not_stop_it(
    store: LocalStore, staging: Staging
) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    await put(store, staging, OTHER, b"two")
    assert helper() == process


async def test_when_it_is_killed_what_waits_fails_and_the_next_put_has_another(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    process.suspend()
    waiting = asyncio.create_task(put(store, staging, OTHER, b"two"))
    await until(
        lambda: asyncio.sleep(0, "0.part" in lying(tmp_path) or "1.part" in lying(tmp_path))
    )
    process.kill()
    with pytest.raises(Unavailable, match="has ended"):
        await waiting
    assert lying(tmp_path) == [KEY.rpartition("/")[2]]
    await put(store, staging, OTHER, b"two")
    assert await store.read(OTHER, 0, 3) == b"two"
    assert helper() != process


async def test_when_it_died_at_rest_nobody_is_told(store: LocalStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    process.kill()
    await until(lambda: asyncio.sleep(0, process.status() == psutil.STATUS_ZOMBIE))
    await put(store, staging, OTHER, b"two")
    assert await store.read(OTHER, 0, 3) == b"two"


async def test_when_it_dies_just_before_a_put_another_one_takes_that(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    process.kill()
    psutil.wait_procs([process], timeout=10)  # blocks: nobody here is told of it
    await put(store, staging, OTHER, b"two")
    assert await store.read(OTHER, 0, 3) == b"two"
    assert lying(tmp_path) == sorted(key.rpartition("/")[2] for key in (KEY, OTHER))


async def test_when_none_can_be_started_nothing_is_left(
    store: LocalStore, staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(11, "no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", none)
        with pytest.raises(Unavailable):
            await put(store, staging, KEY, b"one")
    assert lying(tmp_path) == []
    await put(store, staging, KEY, b"one")
    assert await store.read(KEY, 0, 3) == b"one"


async def test_a_put_that_is_cancelled_comes_to_its_end_first(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    process.suspend()
    waiting = asyncio.create_task(put(store, staging, OTHER, b"two"))
    await until(lambda: asyncio.sleep(0, waits(tmp_path)))
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert not waiting.done()
    process.resume()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await store.read(OTHER, 0, 3) == b"two"  # and its caller deletes it


async def test_what_fails_there_fails_here(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    await put(store, staging, KEY, b"one")
    with pytest.raises(Conflict):
        await put(store, staging, KEY, b"two")
    directory = tmp_path / "objects" / "in" / "the-way"
    directory.parent.mkdir()
    directory.write_bytes(b"a file")
    with pytest.raises(Unavailable):
        await put(store, staging, "in/the-way/three", b"three")
    assert lying(tmp_path) == sorted([KEY.rpartition("/")[2], "the-way"])
    assert await store.read(KEY, 0, 3) == b"one"


@pytest.mark.parametrize(
    ("fails", "error"), [("fsync", 28), ("link", 5), ("fsync of a directory", 28)]
)
def test_a_failure_leaves_neither_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, error: int
) -> None:
    fsync, link = os.fsync, os.link
    root = tmp_path / "objects"
    root.mkdir()

    def bad_fsync(fd: int) -> None:
        is_directory = os.readlink(f"/proc/self/fd/{fd}") != str(tmp_path / "0.part")  # noqa: PTH115
        if fails == ("fsync of a directory" if is_directory else "fsync"):
            raise OSError(error, "bad")
        fsync(fd)

    def bad_link(source: str, target: str) -> None:
        if fails == "link":
            raise OSError(error, "bad")
        link(source, target)

    monkeypatch.setattr(os, "fsync", bad_fsync)
    monkeypatch.setattr(os, "link", bad_link)
    staged = tmp_path / "0.part"
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT)
    naming = Naming(str(root))
    assert naming_main.make_durable(naming, str(staged), f"{root}/t/one", descriptor) == error
    assert not staged.exists()
    assert [path for path in root.rglob("*") if path.is_file()] == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_no_room_there_is_no_room_here(
    store: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert store._apart is not None
    monkeypatch.setattr(type(store._apart), "make_durable", full)
    with pytest.raises(StorageFull):
        await put(store, staging, KEY, b"one")


_STORES = """
import asyncio, sys
from pathlib import Path
from app.dicom.limits import Limits
from app.objects.local import LocalStore
from app.objects.staging import Staging
from tests.objects.test_contract import KEY, put

async def main():
    root = Path(sys.argv[1])
    store = LocalStore(root, apart=True)
    await put(store, Staging(root / "staging", Limits()), KEY, b"one")
    print("stored", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - ourselves
        [sys.executable, "-c", _STORES, str(tmp_path / "objects")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"stored\n"
    process = helper(parent.pid)
    parent.kill()
    parent.wait()
    await until(lambda: asyncio.sleep(0, not process.is_running()))
    parent.stdout.close()
