"""Small JSON documents of a provider: over HTTPS, bounded in size and time, never redirected."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.errors import Unavailable
from app.web.auth import is_loopback

SECONDS = 5.0
MOST_BYTES = 2**19


class Refused(Exception):
    """The provider answers, and says no. `word` is its own for the reason (RFC 6749 §5.2)."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


@asynccontextmanager
async def asking() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client for the block; certificates are checked as the operating system's users do."""
    trusted = await asyncio.to_thread(ssl.create_default_context)
    async with httpx.AsyncClient(verify=trusted, follow_redirects=False, timeout=SECONDS) as client:
        yield client


def is_safe(url: object) -> bool:
    """Say whether an address is of https, or of http on this machine."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_plain = parts.scheme == "http" and is_loopback(host)
    return bool(host) and (parts.scheme == "https" or is_plain)


async def fetch_document(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    form: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
) -> dict[str, Any]:
    """Return the JSON object that a provider answers with.

    Raises:
        Refused: it answers with 400 or 401 and says why.
        Unavailable: it does not answer in time, or with something else.
    """
    if not is_safe(url):
        raise Unavailable("the identity provider names an address that is not https")
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    asked = client.build_request(method, url, headers=headers, data=form)
    try:
        async with asyncio.timeout(SECONDS):
            answer = await client.send(asked, stream=True, auth=auth)
            try:
                body = await _read(answer)
            finally:
                await answer.aclose()
    except (TimeoutError, httpx.HTTPError, OSError) as error:
        raise Unavailable("the identity provider does not answer") from error
    return _document(answer.status_code, body)


async def _read(answer: httpx.Response) -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Unavailable("the identity provider answers with too much")
    return body


def _document(status: int, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED) and isinstance(found, dict):
        raise Refused(str(found.get("error", ""))[:64])
    if status != HTTPStatus.OK or not isinstance(found, dict):
        raise Unavailable(f"the identity provider answers with {status}, or with no JSON object")
    return found
