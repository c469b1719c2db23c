"""Objects in a bucket of S3 or what speaks like it, of Google Cloud Storage, or of Azure.

A key is created once. Up to a size one conditional request does that, whose answer says if the key
was there already. Longer objects go up in parts, to a key that no other attempt can have. Before
the first part somebody records that an upload to this key goes on, and until when; so what a kill
leaves of it is aborted by whoever finds the record. Where the credentials are not ours to sign
with (a machine's role), the library sends the parts, and what dies on the way the bucket's own rule
for incomplete uploads removes.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import from_url

from app.errors import ArchiveError, Conflict, NotFound, Unavailable
from app.objects.base import SECRETS, check_key
from app.objects.bucket import Bucket
from app.objects.s3_uploads import S3Uploads, find_credentials, new_client
from app.objects.secret import SECRET_BYTES
from app.objects.staged import BLOCK, Staged
from app.objects.threads import Threads

if TYPE_CHECKING:
    import httpx
    from obstore import BytesStream
    from obstore.store import ObjectStore, RetryConfig

    from app.objects.extents import Extent

_CREATE_BYTES = 32 * 2**20
"""Longest object that goes up in one request, whose body is held in memory."""
_PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
_PAGE = 1000
_REFUSED = (PermissionDeniedError, UnauthenticatedError)
_BEYOND = "status code: 416"
_FORBIDDEN = "status code: 403"
"""In the text of an error for a listing, whose type does not say it."""
_RETRIES: "RetryConfig" = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=3),
        "base": 2,
    },
}
_CLIENT = {"connect_timeout": "5s", "timeout": "60s", "pool_idle_timeout": "30s"}
_Value_co = TypeVar("_Value_co", covariant=True)


class _Steps(Protocol[_Value_co]):
    def __anext__(self) -> Coroutine[Any, Any, _Value_co]: ...


class Records(Protocol):
    """Remembers which uploads go on, past the end of this process."""

    def going_on(self, key: str) -> AbstractAsyncContextManager[None]:
        """Have a record that an upload to a key goes on, while the block runs.

        After an error it stays, for what is left of the upload.
        """
        ...


class RemoteStore:
    """An object store behind HTTP."""

    def __init__(self, bucket: Bucket) -> None:
        """Take the address; nothing is asked of it yet.

        Raises:
            Unavailable: the address cannot be used at all.
        """
        self._secrets: dict[str, bytes] = {}
        credentials = find_credentials(bucket)
        self._uploads = S3Uploads(bucket, credentials) if credentials else None
        self.records: Records | None = None
        given: dict[str, str | None] = {
            "aws_endpoint": bucket.endpoint,
            "aws_region": bucket.region or ("us-east-1" if bucket.endpoint else None),
            "aws_access_key_id": bucket.access_key,
            "aws_secret_access_key": bucket.secret_key,
            "aws_virtual_hosted_style_request": "false" if bucket.endpoint else None,
        }
        config: Any = {name: value for name, value in given.items() if value is not None}
        client: Any = {**_CLIENT, "allow_http": (bucket.endpoint or "").startswith("http://")}
        try:
            self.library: ObjectStore = from_url(
                bucket.url, config=config, client_options=client, retry_config=_RETRIES
            )
        except (BaseError, ValueError) as error:
            raise Unavailable(f"the object store {bucket.url} cannot be used: {error}") from error

    def close(self) -> None:
        """Do nothing: no connection is held."""

    async def put(self, key: str, staged: Staged) -> None:
        """Write the staged bytes to a key that does not exist yet; they are durable on return."""
        check_key(key)
        if staged.size <= _CREATE_BYTES:
            await self._create(key, staged)
        elif await self._exists(key):
            raise Conflict("an object is never overwritten")
        else:
            await self._put_in_parts(key, staged)

    async def _create(self, key: str, staged: Staged) -> None:
        data = await asyncio.to_thread(staged.source().read, 0, staged.size)
        try:
            with _faults(key):
                await obstore.put_async(self.library, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            # an answer that was lost, then the same request once more: the object is our own
            if await self.size(key) == len(data) and await self.read(key, 0, len(data)) == data:
                return
            raise Conflict("an object is never overwritten") from None

    async def _exists(self, key: str) -> bool:
        try:
            await self.size(key)
        except NotFound:
            return False
        return True

    async def _put_in_parts(self, key: str, staged: Staged) -> None:
        if self._uploads is None:
            await self._put_by_library(key, staged)
            return
        record: AbstractAsyncContextManager[None]
        record = self.records.going_on(key) if self.records else nullcontext()
        async with record, new_client() as client:
            upload = await self._uploads.begin(client, key)
            try:
                tags = await self._send_parts(client, key, upload, staged)
                await self._complete(client, key, upload, tags, staged.size)
            except BaseException:
                with suppress(ArchiveError):
                    await asyncio.shield(self._uploads.abort(client, key, upload))
                raise

    async def _complete(
        self, client: "httpx.AsyncClient", key: str, upload: str, tags: list[str], size: int
    ) -> None:
        assert self._uploads is not None  # noqa: S101 - the caller looked
        try:
            await self._uploads.complete(client, key, upload, tags)
        except NotFound:  # an answer that was lost, then the same request once more
            if not await self._exists(key) or await self.size(key) != size:
                raise Unavailable("the object store has lost an upload") from None

    async def _send_parts(
        self, client: "httpx.AsyncClient", key: str, upload: str, staged: Staged
    ) -> list[str]:
        """Send all parts, a few at a time; return their tags."""
        assert self._uploads is not None  # noqa: S101 - the caller looked
        uploads, source = self._uploads, staged.source()
        free, threads = asyncio.Semaphore(_PARTS_AT_ONCE), Threads(2, "parts")
        size = max(_PART_BYTES, -(-staged.size // _MOST_PARTS))

        async def send(number: int) -> str:
            async with free:
                data = await threads.run(source.read, (number - 1) * size, size)
                return await uploads.send(client, key, upload, number, data)

        numbers = range(1, -(-staged.size // size) + 1)
        sending = [asyncio.create_task(send(number)) for number in numbers]
        try:
            return await asyncio.gather(*sending)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            threads.close()

    async def _put_by_library(self, key: str, staged: Staged) -> None:
        written = await asyncio.to_thread(staged.write_out)
        try:
            with _faults(key):
                await obstore.put_async(
                    self.library,
                    key,
                    written,
                    use_multipart=True,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        finally:
            written.unlink(missing_ok=True)

    async def abort_uploads(self, key: str) -> int:
        """Throw away what is left of uploads to a key; return how many there were.

        Raises:
            Unavailable: the store does not answer.
        """
        check_key(key)
        if self._uploads is None:
            return 0
        async with new_client() as client:
            left = await self._uploads.list(client, key)
            for upload in left:
                await self._uploads.abort(client, key, upload)
        return len(left)

    async def read_up_to(self, key: str, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the object ends before."""
        check_key(key)
        with _faults(key):
            got = await obstore.get_range_async(self.library, key, start=offset, length=length)
        return got.to_bytes()

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; a short object is `Unavailable`."""
        check_key(key)
        if length == 0:
            await self.size(key)
            return b""
        data = await self.read_up_to(key, offset, length)
        if len(data) != length:
            raise _short(key)
        return data

    def read_now(self, _key: str, _offset: int, _length: int) -> bytes | None:
        """Return None: every read waits for the network."""
        return None

    def stamp_now(self, _key: str) -> int:
        """Return one number for all: nothing is written twice."""
        return 0

    def extent_now(self, _key: str, _offset: int, _length: int) -> "Extent | None":
        """Return None: there is no file."""
        return None

    async def extent(self, _key: str, _offset: int, _length: int) -> "Extent | None":
        """Return None: there is no file."""
        return None

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Look the object up, then return an iterator over its bytes in chunks of up to 1 MiB."""
        check_key(key)
        if length == 0:
            return await self._nothing_from(key, offset)
        wanted: Any = {"offset": offset} if length is None else (offset, offset + length)
        try:
            with _faults(key):
                got = await obstore.get_async(self.library, key, options={"range": wanted})
        except Unavailable as error:
            if _BEYOND not in str(error.__cause__):
                raise
            if length is not None:
                raise _short(key) from None
            return await self._nothing_from(key, offset)
        first, end = got.range
        if length is not None and end - first != length:
            raise _short(key)
        return _chunks(key, got.stream(min_chunk_size=BLOCK), end - first)

    async def _nothing_from(self, key: str, offset: int) -> AsyncIterator[bytes]:
        if offset > await self.size(key):
            raise _short(key)
        return _nothing()

    def forget(self, _key: str) -> None:
        """Do nothing: nothing is remembered."""

    async def size(self, key: str) -> int:
        """Return the object's size in bytes."""
        check_key(key)
        with _faults(key):
            return int((await obstore.head_async(self.library, key))["size"])

    async def delete(self, key: str) -> None:
        """Remove the object; absent already is success."""
        check_key(key)
        try:
            with _faults(key):
                await obstore.delete_async(self.library, key)
        except NotFound:
            return

    async def check(self) -> None:
        """Return if the store answers a listing with these credentials."""
        async for _ in self._pages("", 1):
            return

    async def secret(self, name: str) -> bytes:
        """Return a secret of 32 bytes that all who use this bucket have; made at the first call."""
        if name not in self._secrets:
            self._secrets[name] = await self._offer(name, secrets.token_bytes(SECRET_BYTES))
        return self._secrets[name]

    async def all_secrets(self) -> dict[str, bytes]:
        """Return all secrets that were made, by name."""
        pages = [page async for page in self._pages(SECRETS, _PAGE)]
        names = [key.rpartition("/")[2] for page in pages for key in page]
        return {name: await self._load_secret(f"{SECRETS}/{name}") for name in names}

    async def keep_secret(self, name: str, secret: bytes) -> None:
        """Put a secret where there is none; another one there is `Conflict`."""
        if await self._offer(name, secret) != secret:
            raise Conflict(f"the archive has another secret named {name} already")

    async def _offer(self, name: str, secret: bytes) -> bytes:
        """Put a secret if there is none by that name yet; return the one that is there."""
        key = f"{SECRETS}/{name}"
        with suppress(AlreadyExistsError), _faults(key):
            await obstore.put_async(self.library, key, secret, mode="create", use_multipart=False)
        return await self._load_secret(key)

    async def _load_secret(self, key: str) -> bytes:
        with _faults(key):
            secret = (await (await obstore.get_async(self.library, key)).bytes_async()).to_bytes()
        if len(secret) != SECRET_BYTES:
            raise Unavailable("a secret of the archive is damaged; restore it from a backup")
        return secret

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, in no particular order."""
        base = prefix.rpartition("/")[0]
        async for page in self._pages(base, _PAGE):
            for key in page:
                if key.startswith(prefix) and not key.startswith(f"{SECRETS}/"):
                    yield key

    async def _pages(self, base: str, size: int) -> AsyncIterator[list[str]]:
        """List below a folder of keys, some at a time."""
        listing = obstore.list(self.library, base or None, chunk_size=size)
        while (page := await _next(listing)) is not None:
            yield [one["path"] for one in page]


async def _next(pages: _Steps[_Value_co]) -> _Value_co | None:
    with _faults(""):
        try:
            return await pages.__anext__()
        except StopAsyncIteration:
            return None


async def _chunks(key: str, pieces: "BytesStream", left: int) -> AsyncIterator[bytes]:
    """Yield pieces cut to a size; what ends early is an error in mid-stream, never an end."""
    while (piece := await _next(pieces)) is not None:
        view = memoryview(piece)
        left -= len(view)
        for at in range(0, len(view), BLOCK):
            yield bytes(view[at : at + BLOCK])
    if left:
        raise _short(key)


async def _nothing() -> AsyncIterator[bytes]:
    """Iterate over no bytes."""
    return
    yield b""


def _short(key: str) -> Unavailable:
    return Unavailable(f"object {key} is shorter than the index says")


@contextmanager
def _faults(key: str) -> Iterator[None]:
    """Turn an error of the store's in the block into one of ours; a key that exists stays one.

    Raises:
        NotFound: there is no such object.
        Unavailable: any other fault; what the store said is its cause.
    """
    try:
        yield
    except FileNotFoundError:
        raise NotFound("object", key) from None
    except AlreadyExistsError:
        raise
    except (BaseError, OSError, ValueError) as error:
        refused = isinstance(error, _REFUSED) or _FORBIDDEN in str(error)
        said = "refuses our credentials" if refused else "does not answer"
        raise Unavailable(f"the object store {said}") from error
