"""What only a store with copies does; its contract is that of every store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import Conflict, NotFound, StorageFull, Unavailable
from app.objects.bucket import FIRST
from app.objects.landing import Landing
from app.objects.local import LocalStore
from app.objects.replicated import Copy, ReplicatedStore
from app.objects.staged import Staged
from app.objects.staging import Staging
from tests.objects.conftest import Notebook
from tests.objects.test_contract import KEY, put, read_all

DATA = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(100_000))
SHA256 = hashlib.sha256(DATA).digest()


class Faulty(LocalStore):
    """A store that answers with a fault while it has one."""

    fault: Exception | None = None
    breaks_after: int | None = None

    def _raise(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def put(self, key: str, staged: Staged) -> None:
        self._raise()
        await super().put(key, staged)

    async def read(self, key: str, offset: int, length: int) -> bytes:
        self._raise()
        return await super().read(key, offset, length)

    async def delete(self, key: str) -> None:
        self._raise()
        await super().delete(key)

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        self._raise()
        return self._breaking(await super().stream(key, offset, length))

    async def _breaking(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        given = 0
        async for chunk in stream:
            if self.breaks_after is not None and given >= self.breaks_after:
                raise Unavailable("the disk failed")
            given += len(chunk)
            yield chunk


@pytest.fixture
def first(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path / "objects")


@pytest.fixture
def second(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path / "second")


@pytest.fixture
async def both(
    first: Faulty, second: Faulty, landing: Landing, notebook: Notebook
) -> AsyncIterator[ReplicatedStore]:
    """A store and a `sync` copy of it."""
    copy = Copy("second", second, sync=True, land=landing.land)
    store = ReplicatedStore(first, [copy], notebook)
    yield store
    store.close()


@pytest.fixture
async def stored(both: ReplicatedStore, staging: Staging) -> ReplicatedStore:
    """Both with one object."""
    await put(both, staging, KEY, DATA)
    return both


def spoil(directory: Path, at: int, *, cut: bool = False) -> None:
    """Flip a bit of the object in a directory, or cut it off there."""
    path = directory / KEY
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data[:at] if cut else data)


def objects(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*.dcm") if path.is_file()]


async def test_a_put_is_in_both_stores(stored: ReplicatedStore, tmp_path: Path) -> None:
    assert (tmp_path / "objects" / KEY).read_bytes() == DATA
    assert (tmp_path / "second" / KEY).read_bytes() == DATA
    assert not list((tmp_path / "second" / "staging").rglob("*.part"))


@pytest.mark.parametrize("broken", ["first", "second"])
@pytest.mark.parametrize("fault", [Unavailable("no answer"), StorageFull("full")], ids=str)
async def test_a_put_that_fails_somewhere_leaves_nothing_anywhere(
    both: ReplicatedStore,
    staging: Staging,
    notebook: Notebook,
    tmp_path: Path,
    broken: str,
    fault: Exception,
) -> None:
    name = FIRST if broken == "first" else "second"
    store = both.stores[name]
    assert isinstance(store, Faulty)
    store.fault = fault
    with pytest.raises(type(fault)):
        await put(both, staging, KEY, DATA)
    assert objects(tmp_path / "objects") == objects(tmp_path / "second") == []
    assert notebook.notes == [("remove", name, KEY)]  # it may have come through all the same


async def test_what_a_disk_damages_while_it_is_copied_is_not_stored(
    both: ReplicatedStore,
    first: Faulty,
    staging: Staging,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = first.put

    async def failing_disk(key: str, staged: Staged) -> None:
        await real(key, staged)
        path = tmp_path / "objects" / key
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.write(b"other")

    with monkeypatch.context() as patch:
        patch.setattr(first, "put", failing_disk)
        with pytest.raises(Unavailable, match="changed on the disk"):
            await put(both, staging, KEY, DATA)
    assert objects(tmp_path / "objects") == objects(tmp_path / "second") == []
    await put(both, staging, KEY, DATA)


async def test_an_object_that_exists_in_one_store_is_not_touched(
    both: ReplicatedStore, second: Faulty, staging: Staging, tmp_path: Path, notebook: Notebook
) -> None:
    await put(second, staging, KEY, b"another")
    with pytest.raises(Conflict):
        await put(both, staging, KEY, DATA)
    assert (tmp_path / "second" / KEY).read_bytes() == b"another"
    assert objects(tmp_path / "objects") == []
    assert notebook.notes == []


async def test_a_put_that_is_cancelled_waits_for_both_stores(
    both: ReplicatedStore, staging: Staging, tmp_path: Path
) -> None:
    task = asyncio.create_task(put(both, staging, KEY, DATA))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = objects(tmp_path / "second")
    await asyncio.sleep(0.1)
    assert objects(tmp_path / "second") == before
    await both.delete(KEY)
    assert objects(tmp_path / "objects") == objects(tmp_path / "second") == []


async def test_a_later_copy_is_not_waited_for(
    first: Faulty, second: Faulty, landing: Landing, notebook: Notebook, staging: Staging
) -> None:
    second.fault = Unavailable("never asked")
    later = Copy("later", second, sync=False, land=landing.land)
    store = ReplicatedStore(first, [later], notebook)
    await put(store, staging, KEY, DATA)
    assert await store.read(KEY, 0, 10) == DATA[:10]
    store.close()


@pytest.mark.parametrize("how", ["missing", "short", "down"])
async def test_what_the_first_store_has_lost_comes_from_the_copy(
    stored: ReplicatedStore, first: Faulty, notebook: Notebook, tmp_path: Path, how: str
) -> None:
    first.forget(KEY)
    if how == "missing":
        (tmp_path / "objects" / KEY).unlink()
    elif how == "short":
        spoil(tmp_path / "objects", 100, cut=True)
    else:
        first.fault = Unavailable("no answer")
    assert await stored.read(KEY, 1000, 50) == DATA[1000:1050]
    assert notebook.notes == [("repair", FIRST, KEY)]
    assert await read_all(await stored.stream(KEY, 5, 2_000_000)) == DATA[5:2_000_005]
    assert await stored.size(KEY) == len(DATA)
    assert stored.read_now(KEY, 0, 10) is None
    assert stored.extent_now(KEY, 0, 10) is None


async def test_what_no_store_has_is_not_found(both: ReplicatedStore, notebook: Notebook) -> None:
    with pytest.raises(NotFound):
        await both.stream(KEY)
    assert notebook.notes == []


async def test_a_stream_goes_on_where_it_broke_off(
    stored: ReplicatedStore, first: Faulty, notebook: Notebook
) -> None:
    first.breaks_after = 2**20
    assert await read_all(await stored.stream(KEY, 7)) == DATA[7:]
    assert notebook.notes == [("repair", FIRST, KEY)]


async def test_a_stream_does_not_go_on_with_other_bytes(
    stored: ReplicatedStore, first: Faulty, tmp_path: Path
) -> None:
    first.breaks_after = 2**20
    spoil(tmp_path / "second", 9)
    with pytest.raises(Unavailable, match="differs"):
        await read_all(await stored.stream(KEY))


@pytest.mark.parametrize("at", [0, len(DATA) - 1], ids=["first", "last"])
async def test_a_flipped_bit_is_never_given_out_as_the_whole(
    stored: ReplicatedStore, notebook: Notebook, tmp_path: Path, at: int
) -> None:
    spoil(tmp_path / "objects", at)
    whole = stored.stream_whole(KEY, 0, len(DATA), SHA256)
    if at:  # the damage is in what was not given out yet
        assert await read_all(await whole) == DATA
    else:
        with pytest.raises(Unavailable):
            await read_all(await whole)
        assert await read_all(await stored.stream_whole(KEY, 0, len(DATA), SHA256)) == DATA
    assert notebook.notes[0] == ("repair", FIRST, KEY)


async def test_a_whole_goes_on_in_the_copy_where_it_broke_off(
    stored: ReplicatedStore, first: Faulty, tmp_path: Path
) -> None:
    first.breaks_after = 2**21
    assert await read_all(await stored.stream_whole(KEY, 0, len(DATA), SHA256)) == DATA
    spoil(tmp_path / "objects", 0)
    spoil(tmp_path / "second", 1)
    with pytest.raises(Unavailable):
        await read_all(await stored.stream_whole(KEY, 0, len(DATA), SHA256))


async def test_an_empty_object_is_whole(both: ReplicatedStore, staging: Staging) -> None:
    await put(both, staging, KEY, b"")
    whole = await both.stream_whole(KEY, 0, 0, hashlib.sha256().digest())
    assert await read_all(whole) == b""


async def test_a_store_that_is_slow_to_fail_is_asked_last_for_a_while(
    stored: ReplicatedStore, first: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.objects.replicated.SLOW_SECONDS", -1.0)
    first.fault = Unavailable("no answer, after a long time")
    await stored.read(KEY, 0, 1)
    asked = []

    async def read(key: str, offset: int, length: int) -> bytes:
        asked.append(key)
        return b"x"

    monkeypatch.setattr(first, "read", read)
    assert await stored.read(f"{KEY}.other", 0, 1) == b"x"  # only the first has it: it is asked
    assert await stored.read(KEY, 0, 1) == DATA[:1]
    assert asked == [f"{KEY}.other"]


async def test_a_copy_that_cannot_delete_does_so_later(
    stored: ReplicatedStore, second: Faulty, notebook: Notebook, tmp_path: Path
) -> None:
    second.fault = Unavailable("no answer")
    await stored.delete(KEY)
    assert objects(tmp_path / "objects") == []
    assert notebook.notes == [("remove", "second", KEY)]


async def test_a_copy_without_room_takes_nothing(
    both: ReplicatedStore, landing: Landing, staging: Staging, tmp_path: Path
) -> None:
    landing._room.reserve = 2**62
    with pytest.raises(StorageFull):
        await put(both, staging, KEY, DATA)
    assert objects(tmp_path / "objects") == objects(tmp_path / "second") == []
