"""What only a bucket does; its contract is that of every store."""

import asyncio
import hashlib
import time

import obstore
import pytest

from app.errors import Conflict, NotFound, Unavailable
from app.objects import remote
from app.objects.base import new_attempt
from app.objects.bucket import Bucket
from app.objects.remote import RemoteStore
from app.objects.staging import Staging
from tests.objects.conftest import ON_S3
from tests.objects.test_contract import KEY, chunks, put, read_all
from tests.s3_server import S3Server

pytestmark = ON_S3


@pytest.fixture
def bucket(s3: S3Server) -> RemoteStore:
    return RemoteStore(s3.bucket(new_attempt()))


async def test_what_is_long_goes_up_in_parts(bucket: RemoteStore, staging: Staging) -> None:
    data = b"".join(hashlib.sha256(bytes([n])).digest() * 2**18 for n in range(5))
    await put(bucket, staging, KEY, data)
    assert await bucket.size(KEY) == len(data) > remote._CREATE_BYTES
    assert await read_all(await bucket.stream(KEY)) == data
    with pytest.raises(Conflict):
        await put(bucket, staging, KEY, data)
    assert [key async for key in bucket.keys("")] == [KEY]


async def test_a_request_whose_answer_was_lost_may_come_twice(
    bucket: RemoteStore, staging: Staging
) -> None:
    staged = await staging.stage(chunks(b"0123456789"))
    await bucket.put(KEY, staged)
    await bucket.put(KEY, staged)  # as the library does when no answer comes
    staged.discard()
    assert await bucket.read(KEY, 0, 10) == b"0123456789"


async def test_nothing_is_had_without_waiting(bucket: RemoteStore, staging: Staging) -> None:
    await put(bucket, staging, KEY, b"x")
    assert bucket.read_now(KEY, 0, 1) is None
    assert bucket.extent_now(KEY, 0, 1) is None
    await bucket.check()


async def test_wrong_credentials_are_told(s3: S3Server, staging: Staging) -> None:
    stranger = RemoteStore(s3.bucket("x", secret_key="another"))
    with pytest.raises(Unavailable, match="refuses our credentials"):
        await stranger.check()
    with pytest.raises(Unavailable, match="refuses our credentials"):
        await put(stranger, staging, KEY, b"x")


async def test_a_server_that_is_not_there_is_soon_known(staging: Staging) -> None:
    nowhere = RemoteStore(Bucket("s3://objects", "http://127.0.0.1:9", None, "key", "secret"))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        await nowhere.check()
    with pytest.raises(Unavailable, match="does not answer"):
        await put(nowhere, staging, KEY, b"x")
    assert time.monotonic() - began < 20


async def test_a_bucket_that_is_not_there_takes_nothing(s3: S3Server) -> None:
    missing = Bucket("s3://nobody-made-it", s3.endpoint, None, "fileroom", "a secret of tests")
    with pytest.raises(NotFound):
        await RemoteStore(missing).size(KEY)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(Unavailable, match="cannot be used"):
        RemoteStore(Bucket("s3://"))


def test_a_secret_is_never_printed() -> None:
    assert "hidden" not in repr(Bucket("s3://objects", secret_key="hidden"))


async def test_all_who_use_a_bucket_have_the_same_secret(s3: S3Server) -> None:
    place = s3.bucket(new_attempt())
    stores = [RemoteStore(place) for _ in range(4)]
    made = await asyncio.gather(*(store.secret("one") for store in stores))
    assert len(set(made)) == 1
    obstore.put(stores[0].library, "secrets/one", b"short")
    with pytest.raises(Unavailable, match="damaged"):
        await RemoteStore(place).secret("one")
