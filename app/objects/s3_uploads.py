"""Uploads in parts to a bucket that speaks S3: begun, resumed after a fault, completed or aborted.

The library that does all else neither tells the name of an upload nor lists what was left, so these
few requests are ours, signed by AWS Signature Version 4. Each part goes with its SHA-256, so the
server takes no other bytes than ours; a part whose answer does not come is sent again by itself.
An upload is begun again only where the server cannot have begun one.
"""

import asyncio
import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape, unescape
from urllib.parse import quote, urlsplit

import httpx

from app.errors import Conflict, NotFound, StorageFull, Unavailable
from app.objects.bucket import Bucket
from app.objects.retries import tries

TRIES = 6
FIRST_PAUSE = 0.2
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_NOT_DONE = frozenset({429, 503})
"""Answers to what the server did not even begin."""
_UPLOAD_ID = re.compile(r"<UploadId>([^<]+)</UploadId>")
_UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)
_KEY = re.compile(r"<Key>([^<]+)</Key>")
_ERROR = re.compile(r"<Code>([^<]+)</Code>")
_EMPTY = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def find_credentials(bucket: Bucket) -> Credentials | None:
    """Return the keys of a bucket from its settings or the environment, None if they are a role's.

    Only those of S3: other clouds drop what was left of an upload by themselves.
    """
    if not bucket.url.startswith("s3://"):
        return None
    if bucket.access_key and bucket.secret_key:
        return Credentials(bucket.access_key, bucket.secret_key)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    access, secret = (os.environ.get(name) for name in names)
    if access and secret:
        return Credentials(access, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return None


class S3Uploads:
    """The uploads of one bucket, each step by a client of the caller's."""

    def __init__(self, bucket: Bucket, credentials: Credentials) -> None:
        parts = urlsplit(bucket.url)
        named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self._region = bucket.region or named or "us-east-1"
        self._credentials = credentials
        self._prefix = parts.path.strip("/")
        own = f"https://{parts.netloc}.s3.{self._region}.amazonaws.com"
        self._base = f"{bucket.endpoint.rstrip('/')}/{parts.netloc}" if bucket.endpoint else own

    def _path(self, key: str) -> str:
        return "/".join(filter(None, (self._prefix, key)))

    async def begin(self, client: httpx.AsyncClient, key: str) -> str:
        """Begin an upload; return its name.

        Raises:
            Unavailable: the store does not answer, or refuses.
        """
        answer = await self._ask(client, "POST", self._path(key), {"uploads": ""}, once=True)
        match = _UPLOAD_ID.search(answer.text)
        if match is None:
            raise Unavailable("the object store does not answer")
        return unescape(match[1])

    async def send(
        self, client: httpx.AsyncClient, key: str, upload: str, number: int, data: bytes
    ) -> str:
        """Send a part (numbered from 1); return its tag."""
        query = {"partNumber": str(number), "uploadId": upload}
        answer = await self._ask(client, "PUT", self._path(key), query, data)
        return answer.headers["etag"]

    async def complete(
        self, client: httpx.AsyncClient, key: str, upload: str, tags: Sequence[str]
    ) -> None:
        """Make the object of its parts.

        Raises:
            Conflict: the key exists.
            Unavailable: the store does not answer; the object may be there or not.
        """
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = await self._ask(client, "POST", self._path(key), {"uploadId": upload}, body)
        error = _ERROR.search(answer.text)  # an answer that was begun before the end was known
        if error is not None:
            raise Unavailable(f"the object store did not put the parts together: {error[1]}")

    async def abort(self, client: httpx.AsyncClient, key: str, upload: str) -> None:
        """Have the parts of an upload thrown away; one that is gone already is success."""
        try:
            await self._ask(client, "DELETE", self._path(key), {"uploadId": upload})
        except NotFound:
            return

    async def list(self, client: httpx.AsyncClient, key: str) -> Sequence[str]:
        """Return the names of the uploads to a key that were neither completed nor aborted."""
        path = self._path(key)
        answer = await self._ask(client, "GET", "", {"prefix": path, "uploads": ""})
        found = []
        for entry in _UPLOAD.findall(answer.text):
            name, upload = _KEY.search(entry), _UPLOAD_ID.search(entry)
            if name and upload and unescape(name[1]).lstrip("/") == path:
                found.append(unescape(upload[1]))
        return found

    async def _ask(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        *,
        once: bool = False,
    ) -> httpx.Response:
        """Send a request, again after a pause where that may help; with `once` it has not come
        there before."""
        url = f"{self._base}/{quote(path)}" if path else self._base
        digest = (await asyncio.to_thread(hashlib.sha256, body)).hexdigest() if body else _EMPTY
        try:
            async for attempt in tries(_NoAnswer, TRIES, FIRST_PAUSE):
                with attempt:
                    headers = self._signed(method, url, query, digest)
                    request = client.build_request(
                        method, f"{url}?{_query(query)}", headers=headers, content=body
                    )
                    return _checked(await _answer(client, request, once=once), path)
        except _NoAnswer as error:
            raise Unavailable("the object store does not answer") from OSError(str(error))
        raise AssertionError("unreachable")

    def _signed(
        self, method: str, url: str, query: Mapping[str, str], digest: str
    ) -> dict[str, str]:
        """Return the headers of a request with its signature."""
        parts, now = urlsplit(url), datetime.now(UTC)
        moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": moment}
        if self._credentials.token:
            headers["x-amz-security-token"] = self._credentials.token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"{method}\n{parts.path or '/'}\n{_query(query)}\n{lines}\n{names}\n{digest}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{self._credentials.secret_key}".encode()
        for word in (day, self._region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashed}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"{self._credentials.access_key}/{scope}"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return headers


class _NoAnswer(Exception):
    """None that counts; the same request may go well later."""


async def _answer(
    client: httpx.AsyncClient, request: httpx.Request, *, once: bool
) -> httpx.Response:
    """Send a request and return its answer.

    Raises:
        _NoAnswer: there is none, and it may be sent again.
        Unavailable: there is none, and with `once` it may not.
    """
    try:
        answer = await client.send(request)
        fault, again = str(answer.status_code), not once or answer.status_code in _NOT_DONE
    except httpx.HTTPError as error:
        fault = type(error).__name__
        again = not once or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    else:
        if answer.status_code not in _AGAIN:
            return answer
    if again:
        raise _NoAnswer(fault)
    raise Unavailable("the object store does not answer") from OSError(fault)


def new_client() -> httpx.AsyncClient:
    """Return a client for the requests of one upload."""
    return httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, '')}={quote(query[name], '')}" for name in sorted(query))


def _checked(answer: httpx.Response, path: str) -> httpx.Response:
    """Return an answer that says that all is well; raise what any other means."""
    if answer.is_success:
        return answer
    code = _ERROR.search(answer.text)
    said = code[1] if code else str(answer.status_code)
    if answer.status_code == 404:
        raise NotFound("object", path)
    if answer.status_code in {409, 412}:
        raise Conflict("an object is never overwritten")
    if answer.status_code == 507:
        raise StorageFull("the object store has no room left")
    refused = "refuses our credentials" if answer.status_code == 403 else "does not answer"
    raise Unavailable(f"the object store {refused}") from OSError(said)
