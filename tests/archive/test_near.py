"""What was read from a bucket is read again from files near by, as long as those are right."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import obstore
import pytest

from app.archive.cache import FileCache
from app.archive.near import NearStore
from app.dicom.limits import Limits
from app.errors import NotFound, Unavailable
from app.objects.base import new_attempt
from app.objects.remote import RemoteStore
from app.objects.staging import Staging
from tests.objects.conftest import ON_S3
from tests.objects.test_contract import KEY, put, read_all
from tests.s3_server import S3Server

pytestmark = ON_S3
DATA = bytes(n % 251 for n in range(2_500_000))
BLOCK = 2**20


@pytest.fixture
async def near(s3: S3Server, tmp_path: Path) -> AsyncIterator[NearStore]:
    store = NearStore(RemoteStore(s3.bucket(new_attempt())), FileCache(tmp_path / "near", 2**30))
    yield store
    store.close()


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    staging = Staging(tmp_path / "staging", Limits())
    yield staging
    staging.close()


def lose(near: NearStore) -> None:
    assert isinstance(near.far, RemoteStore)
    obstore.delete(near.far.library, KEY)


async def test_what_was_read_is_near(near: NearStore, staging: Staging) -> None:
    await put(near, staging, KEY, DATA)
    assert await near.read(KEY, BLOCK - 5, 10) == DATA[BLOCK - 5 : BLOCK + 5]
    lose(near)
    assert await near.read(KEY, 100, 1000) == DATA[100:1100]
    chunks = [chunk async for chunk in await near.stream(KEY, 7, BLOCK)]
    assert b"".join(chunks) == DATA[7 : BLOCK + 7]
    with pytest.raises(NotFound):
        await near.read(KEY, 2 * BLOCK, 10)  # was not looked at
    near.forget(KEY)
    with pytest.raises(NotFound):
        await near.read(KEY, 100, 1000)


async def test_a_spoiled_block_is_never_given_out(
    near: NearStore, staging: Staging, tmp_path: Path
) -> None:
    await put(near, staging, KEY, DATA)
    await near.read(KEY, 0, 10)
    (block,) = (tmp_path / "near").iterdir()
    for spoiled in (b"", block.read_bytes()[:-1], b"x" + block.read_bytes()[1:]):
        block.write_bytes(spoiled)
        assert await near.read(KEY, 0, 10) == DATA[:10]
    lose(near)
    block.write_bytes(b"x" + block.read_bytes()[1:])
    with pytest.raises(NotFound):
        await near.read(KEY, 0, 10)


async def test_what_is_beyond_the_end_is_unavailable(near: NearStore, staging: Staging) -> None:
    await put(near, staging, KEY, b"0123456789")
    for offset, length in ((8, 3), (BLOCK, 1), (5, 40 * BLOCK)):
        with pytest.raises(Unavailable):
            await near.read(KEY, offset, length)
    assert await near.read(KEY, 10, 0) == b""


async def test_a_long_stream_goes_past(near: NearStore, staging: Staging, tmp_path: Path) -> None:
    data = bytes(17 * BLOCK)
    await put(near, staging, KEY, data)
    assert await read_all(await near.stream(KEY, 0, len(data))) == data
    assert await read_all(await near.stream(KEY)) == data
    assert list((tmp_path / "near").iterdir()) == []
