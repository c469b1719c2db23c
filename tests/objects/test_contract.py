"""The contract of an object store, run on every store."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from app.errors import Conflict, InvalidRequest, NotFound, Unavailable
from app.objects.base import ObjectStore, object_key
from app.objects.staging import Staging

KEY = object_key(1, "1.2", "1.2.3", "1.2.3.4", "01J")
BLOCK = 2**20


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


async def put(store: ObjectStore, staging: Staging, key: str, data: bytes) -> None:
    staged = await staging.stage(chunks(data))
    await store.put(key, staged)
    staged.discard()


async def read_all(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_what_was_put_is_read(store: ObjectStore, staging: Staging, size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    await put(store, staging, KEY, data)
    assert await store.read(KEY, 0, size) == data
    assert await read_all(await store.stream(KEY)) == data
    assert await store.size(KEY) == size


async def test_a_range_is_exact(store: ObjectStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"0123456789")
    assert await store.read(KEY, 3, 4) == b"3456"
    assert await read_all(await store.stream(KEY, 3, 4)) == b"3456"
    assert await read_all(await store.stream(KEY, 3)) == b"3456789"
    assert await read_all(await store.stream(KEY, 10, 0)) == b""


async def test_a_long_object_streams_in_chunks(store: ObjectStore, staging: Staging) -> None:
    data = bytes(range(256)) * 4096 * 3 + b"end"
    await put(store, staging, KEY, data)
    pieces = [piece async for piece in await store.stream(KEY, 5)]
    assert b"".join(pieces) == data[5:]
    assert max(map(len, pieces)) <= BLOCK


async def test_an_extent_is_of_an_open_file(store: ObjectStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"0123456789")
    for _ in range(2):
        extent = await store.extent(KEY, 3, 4)
        if extent is None:  # this store has no files
            return
        assert os.pread(extent.file.fd, extent.length, extent.offset) == b"3456"
        with pytest.raises(Unavailable):
            await store.extent(KEY, 8, 3)
    with pytest.raises(NotFound):
        await store.extent(f"{KEY}.other", 0, 1)


async def test_a_short_object_is_unavailable(store: ObjectStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"0123456789")
    with pytest.raises(Unavailable):
        await store.read(KEY, 8, 3)
    with pytest.raises(Unavailable):
        await store.stream(KEY, 8, 3)
    with pytest.raises(Unavailable):
        await store.stream(KEY, 10, 1)
    with pytest.raises(Unavailable):
        await store.stream(KEY, 11)


async def test_an_absent_key_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        await store.read(KEY, 0, 1)
    with pytest.raises(NotFound):
        await store.stream(KEY)
    with pytest.raises(NotFound):
        await store.size(KEY)


async def test_a_deleted_object_is_gone_and_deleting_again_succeeds(
    store: ObjectStore, staging: Staging
) -> None:
    await put(store, staging, KEY, b"x")
    assert await store.read(KEY, 0, 1) == b"x"
    await store.delete(KEY)
    await store.delete(KEY)
    with pytest.raises(NotFound):
        await store.read(KEY, 0, 1)


async def test_an_object_is_never_overwritten(store: ObjectStore, staging: Staging) -> None:
    await put(store, staging, KEY, b"first")
    with pytest.raises(Conflict):
        await put(store, staging, KEY, b"second")
    assert await store.read(KEY, 0, 5) == b"first"


async def test_keys_are_listed_by_prefix(store: ObjectStore, staging: Staging) -> None:
    wanted = {object_key(1, "1.2", "1.2.3", f"1.2.3.{n}", "01J") for n in range(1100)}
    parts = [put(store, staging, key, b"x") for key in wanted]
    await asyncio.gather(*parts, put(store, staging, "t/2/other", b"x"))
    assert {key async for key in store.keys("t/1/")} == wanted
    assert {key async for key in store.keys("t/1/")} | {"t/2/other"} == {
        key async for key in store.keys("")
    }
    assert [key async for key in store.keys(KEY.removesuffix("4.01J.dcm") + "7.")] == [
        KEY.replace("4.01J", "7.01J")
    ]
    assert [key async for key in store.keys("t/3/")] == []


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "t/../../x", "t/./x", "t//x", "t/x/", "t/\0", ".x", "staging/x"],
)
async def test_a_key_never_leaves_the_store(
    store: ObjectStore, staging: Staging, key: str
) -> None:  # Z-01
    staged = await staging.stage(chunks(b"x"))
    with pytest.raises(InvalidRequest):
        await store.put(key, staged)
    with pytest.raises(InvalidRequest):
        await store.read(key, 0, 1)
    with pytest.raises(InvalidRequest):
        await store.delete(key)


async def test_a_secret_is_made_once_and_is_no_object(store: ObjectStore) -> None:
    first = await store.secret("one")
    assert len(first) == 32
    assert await store.secret("one") == first != await store.secret("two")
    assert [key async for key in store.keys("")] == []
    with pytest.raises(InvalidRequest):
        await store.read("secrets/one", 0, 32)
