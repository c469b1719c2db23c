"""What a kill leaves of an upload is aborted: on the real index and a real S3 server."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.archive import uploads
from app.archive.context import Archive, Place, open_archive
from app.archive.copying import work_on
from app.archive.stores import stores_of
from app.archive.uploads import UploadRecords
from app.errors import NotFound, Unavailable
from app.index.copies import list_queues
from app.objects.base import new_attempt, object_key
from app.objects.bucket import Bucket
from app.objects.remote import RemoteStore
from app.objects.s3_uploads import new_client
from app.rights import Principal
from tests.archive.test_repair import key_of, stored
from tests.archive.test_verify import found
from tests.factories import make_dataset, make_part10
from tests.objects.conftest import ON_S3
from tests.s3_server import S3Server
from tests.waiting import until

pytestmark = ON_S3
KEY = object_key(1, "1.2", "1.2.3", "1.2.3.4", new_attempt())
UPLOAD = """
import asyncio, sys
from pathlib import Path
from app.archive.context import Place, open_archive
from app.objects.bucket import Bucket
from app.objects.s3_uploads import S3Uploads

async def endless(*_):
    print("parts are there", flush=True)
    await asyncio.sleep(600)

async def chunks():
    for _ in range(48):
        yield bytes(2**20)

async def main(database, directory, key, *bucket):
    S3Uploads.complete = endless
    where = Bucket(bucket[0], bucket[1], None, *bucket[2:])
    place = Place(database, Path(directory) / "o", Path(directory) / "c", where)
    async with open_archive(place) as archive:
        await archive.objects.put(key, await archive.staging.stage(chunks()))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return s3.bucket(new_attempt())


@pytest.fixture
async def far(database_url: str, tmp_path: Path, bucket: Bucket) -> AsyncIterator[Archive]:
    """An archive whose objects are in a bucket."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache", bucket)
    async with open_archive(place) as opened:
        yield opened


def first_of(archive: Archive) -> RemoteStore:
    first = stores_of(archive.objects)["first"]
    assert isinstance(first, RemoteStore)
    return first


async def left(archive: Archive, key: str = KEY) -> int:
    uploads = first_of(archive)._uploads
    assert uploads is not None
    async with new_client() as client:
        return len(await uploads.list(client, key))


@pytest.mark.slow
async def test_a_killed_upload_leaves_no_part(
    far: Archive, database_url: str, tmp_path: Path, bucket: Bucket
) -> None:
    where = (bucket.url, bucket.endpoint or "", bucket.access_key or "", bucket.secret_key or "")
    command = [sys.executable, "-c", UPLOAD, database_url, str(tmp_path / "other"), KEY, *where]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = await asyncio.to_thread(
        subprocess.Popen, command, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline) == b"parts are there\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert await left(far) == 1
    assert await work_on(far, "first") == 0  # it might go on still
    await far.index.fetch("UPDATE copy_task SET next_try = now()")

    async def is_done() -> bool:
        return await work_on(far, "first") == 1

    await until(is_done)  # when the claim is over
    assert await left(far) == 0
    assert await list_queues(far.index) == []
    with pytest.raises(NotFound):
        await first_of(far).size(KEY)


async def test_an_upload_that_ends_leaves_no_record(far: Archive, principal: Principal) -> None:
    data = make_part10(make_dataset(Rows=4200, Columns=4200))
    assert len(data) > 32 * 2**20
    ref = await stored(far, principal, data)
    key = await key_of(far, ref)
    assert (await left(far, key), await list_queues(far.index)) == (0, [])
    assert await first_of(far).size(key) == len(data)
    assert set(await found(far)) == {"whole"}


async def test_an_upload_that_was_taken_for_dead_is_no_success(
    far: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "CLAIM_SECONDS", 0.03)
    records = UploadRecords(far.index, "first")

    async def going_on(end: Exception | None) -> None:
        async with records.going_on(KEY):
            await asyncio.sleep(0.1)
            assert (await list_queues(far.index))[0].waiting == 1
            if end is not None:
                raise end
            await far.index.fetch("DELETE FROM copy_task")

    with pytest.raises(Unavailable, match="taken for dead"):
        await going_on(None)
    with pytest.raises(KeyError):
        await going_on(KeyError("a bug"))
    assert await work_on(far, "first") == 1
