"""The process that makes small files durable: what is asked of it is done, or has failed."""

import asyncio
import errno
import fcntl
import hashlib
import mmap
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from app.dicom.limits import Limits
from app.errors import Conflict, StorageFull, Unavailable
from app.objects import apart_main
from app.objects.apart_main import SLOT_BYTES, SLOTS
from app.objects.local import LocalStore
from app.objects.naming import Naming
from app.objects.staged import InMemory
from app.objects.staging import Staging
from app.objects.writing import PAST_CACHE_BYTES
from tests.objects.test_contract import KEY, put
from tests.waiting import until

OTHER = f"{KEY}.other"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "objects", apart=True)
    yield store
    store.close()


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    staging = Staging(tmp_path / "objects" / "staging", Limits())
    yield staging
    staging.close()


def helper(parent: int | None = None) -> psutil.Process:
    """Return the process that a store of this one, or of another, has."""
    (found,) = [
        child
        for child in psutil.Process(parent).children()
        if child.status() != psutil.STATUS_ZOMBIE and apart_main.__name__ in child.cmdline()
    ]
    return found


def lying(tmp_path: Path) -> list[str]:
    """Return the names of all files that were put or are waiting."""
    return sorted(path.name for path in (tmp_path / "objects").rglob("*") if path.is_file())


def asked(store: LocalStore) -> bool:
    """Say whether something was asked of the process that it has not answered."""
    assert store._apart is not None
    return bool(store._apart._running and store._apart._running._waiting)


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
    await until(lambda: asyncio.sleep(0, asked(store)))
    process.kill()
    with pytest.raises(Unavailable, match="has ended"):
        await waiting
    assert lying(tmp_path) == [KEY.rpartition("/")[2]]
    await put(store, staging, OTHER, b"two")
    assert await store.read(OTHER, 0, 3) == b"two"
    assert helper() != process


async def test_when_it_stalls_nothing_waits_for_ever_and_the_next_put_has_another(
    store: LocalStore, staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, staging, KEY, b"one")
    (process := helper()).suspend()
    keys = [f"t/stalled/{number}" for number in range(3)]
    stalled = [asyncio.create_task(put(store, staging, key, b"two")) for key in keys]
    with monkeypatch.context() as patch:
        patch.setattr("app.objects.apart.STALLED_SECONDS", 0.3)
        ended = await asyncio.gather(*stalled, return_exceptions=True)
    assert [type(error) for error in ended] == [Unavailable] * 3
    for key in keys:
        await put(store, staging, key, key.encode())
    assert [await store.read(key, 0, len(key)) for key in keys] == [key.encode() for key in keys]
    await until(lambda: asyncio.sleep(0, not process.is_running()))
    assert len(lying(tmp_path)) == 4


async def test_when_it_died_at_rest_nobody_is_told(store: LocalStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"one")
    helper().kill()
    assert store._apart is not None
    running = store._apart._running
    assert running is not None
    await until(lambda: asyncio.sleep(0, running.ended))
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
    await until(lambda: asyncio.sleep(0, asked(store)))
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
    ("fails", "error"),
    [("open", 28), ("write", 28), ("fsync", 28), ("link", 5), ("fsync of a directory", 28)],
)
def test_a_failure_leaves_neither_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, error: int
) -> None:
    staged, root = tmp_path / "0.part", tmp_path / "objects"
    root.mkdir()

    def failing(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(what: object, *arguments: object) -> object:
            if fails == _called(name, what, staged):
                raise OSError(error, "bad")
            return real(what, *arguments)

        return call

    for name in ("open", "write", "fsync", "link"):
        monkeypatch.setattr(os, name, failing(name))
    assert apart_main.make_durable(Naming(str(root)), job(b"one", staged, root / "t/one")) == error
    monkeypatch.undo()
    assert not staged.exists()
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert str(staged) not in open_files()


def _called(name: str, what: object, staged: Path) -> str:
    """Return what a call is: the files it is about have the same calls as their directories."""
    if name == "fsync":
        there = os.readlink(f"/proc/self/fd/{what}")  # noqa: PTH115
        return "fsync" if there == str(staged) else "fsync of a directory"
    return name if name != "open" or what == str(staged) else "open of a directory"


def open_files() -> set[str]:
    return {file.path for file in psutil.Process().open_files()}


def job(data: bytes, staged: Path, path: Path, reserve: int = 0) -> apart_main.Job:
    at_a_page = memoryview(mmap.mmap(-1, max(len(data), 1)))
    at_a_page[: len(data)] = data
    return apart_main.Job(at_a_page[: len(data)], 0, reserve, str(staged), str(path))


def test_what_is_to_stay_free_is_left_free(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    root.mkdir()
    wanted = job(b"one", tmp_path / "0.part", root / "one", reserve=2**60)
    assert apart_main.make_durable(Naming(str(root)), wanted) == errno.ENOSPC
    assert lying(tmp_path) == []


@pytest.mark.parametrize(
    "size", [0, 1, 4097, 2**18 - 1, 2**18, 2**18 + 1, 528 * 2**10 + 118, 2**20]
)
async def test_all_sizes_arrive_whole_with_both_digests(
    store: LocalStore, staging: Staging, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    part = await staging.stage(chunks_of(data))
    assert isinstance(part, InMemory)
    part.dataset_offset = min(size, 300)
    await store.put(KEY, part)
    assert part.sha256 == hashlib.sha256(data).digest()
    assert part.dataset_sha256 == hashlib.sha256(data[300:]).digest()
    part.discard()
    assert await store.read(KEY, 0, size) == data


async def test_what_is_larger_than_a_slot_goes_without_it(
    store: LocalStore, staging: Staging
) -> None:
    data = random.Random(1).randbytes(SLOT_BYTES + 1)
    part = await staging.stage(chunks_of(data))
    assert isinstance(part, InMemory)
    await store.put(KEY, part)
    assert part.sha256 == hashlib.sha256(data).digest()
    assert await store.read(KEY, 0, len(data)) == data
    part.discard()


def test_a_file_system_that_cannot_pass_by_its_cache_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl
    refused = []

    def none(fd: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            refused.append(flags)
            raise OSError(errno.EINVAL, "no such thing")
        return real(fd, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", none)
    assert written(tmp_path) == DATA
    assert refused


@pytest.mark.parametrize("takes", [0, 4096, 12_288])
def test_a_write_past_the_cache_that_takes_less_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: int
) -> None:
    real = os.write

    def little(fd: int, data: memoryview) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            if not takes:
                raise OSError(errno.EINVAL, "larger blocks, please")
            return real(fd, data[:takes])
        return real(fd, data[:5000])

    monkeypatch.setattr(os, "write", little)
    assert written(tmp_path) == DATA


DATA = random.Random(2).randbytes(PAST_CACHE_BYTES + 5000)


def written(tmp_path: Path) -> bytes:
    root = tmp_path / "objects"
    root.mkdir()
    assert not apart_main.make_durable(
        Naming(str(root)), job(DATA, tmp_path / "0.part", root / "one")
    )
    return (root / "one").read_bytes()


async def chunks_of(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


async def test_more_than_there_are_slots_for_wait_their_turn(
    store: LocalStore, staging: Staging, tmp_path: Path
) -> None:
    await put(store, staging, KEY, b"one")
    process = helper()
    process.suspend()
    keys = [f"t/waits/{number}" for number in range(SLOTS + 5)]
    puts = [asyncio.create_task(put(store, staging, key, key.encode())) for key in keys]
    await until(lambda: asyncio.sleep(0, asked(store)))
    puts[-1].cancel()  # which had not begun
    with pytest.raises(asyncio.CancelledError):
        await puts[-1]
    process.resume()
    await asyncio.gather(*puts[:-1])
    assert [await store.read(key, 0, len(key)) for key in keys[:-1]] == [
        key.encode() for key in keys[:-1]
    ]
    assert keys[-1].rpartition("/")[2] not in lying(tmp_path)


async def test_no_room_there_is_no_room_here(
    store: LocalStore, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert store._apart is not None
    monkeypatch.setattr(type(store._apart), "make_durable", full)
    with pytest.raises(StorageFull):
        await put(store, staging, KEY, b"one")
