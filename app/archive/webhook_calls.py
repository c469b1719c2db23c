"""How a webhook is called: signed by the Standard Webhooks scheme, bounded, and never redirected.

The signature is HMAC-SHA256 of `id.timestamp.body` with the webhook's secret. The receiver knows by
it who sends, and by the id (the same at each try) what it has had already.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from app import __version__
from app.errors import InvalidRequest, Unavailable
from app.index.webhooks import Webhook

CALL_SECONDS = 20.0
PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""
MOST_PORT = 65_535


def make_secret() -> str:
    """Return a new secret, in the form that receivers' libraries take."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def read_secret(text: str) -> str:
    """Return a secret that somebody else made, in that form.

    Raises:
        InvalidRequest: it is none.
    """
    secret = PREFIX + text.strip().removeprefix(PREFIX)
    try:
        size = len(_key(secret))
    except (binascii.Error, ValueError):
        size = 0
    if not SHORTEST <= size <= LONGEST:
        raise InvalidRequest(
            f"a secret is {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64, as "
            f"`echo {PREFIX}$(openssl rand -base64 32)` prints it"
        )
    return secret


def check_url(text: str) -> str:
    """Return a URL that can be called.

    Raises:
        InvalidRequest: it is none of http or https, has no such port, or a user or a fragment.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    good = url.scheme in ("http", "https") and url.host and not (url.userinfo or url.fragment)
    if not good or not (url.port is None or 0 < url.port <= MOST_PORT):
        raise InvalidRequest(
            "a webhook is an address such as https://ris.example.org/fileroom, with no user and "
            "no fragment in it"
        )
    return text


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature` of a message."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


class Caller:
    """Calls webhooks; made by `calling`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, webhook: Webhook, message_id: str, body: bytes) -> int:
        """Send a message; return the status of the answer, which is not read any further.

        Raises:
            Unavailable: nobody answers in time.
        """
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"fileroom/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(webhook.secret, message_id, timestamp, body),
        }
        asked = self._client.build_request("POST", webhook.url, content=body, headers=headers)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._client.send(asked, stream=True)
                await answer.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise Unavailable(f"there was no answer within {CALL_SECONDS:g} s") from None
        except (httpx.HTTPError, OSError) as error:
            raise Unavailable(
                f"it could not be called: {str(error) or type(error).__name__}"
            ) from None
        return answer.status_code


@asynccontextmanager
async def calling() -> AsyncIterator[Caller]:
    """Give a caller for the block; certificates are checked as the operating system's users do."""
    trusted = await asyncio.to_thread(ssl.create_default_context)
    async with httpx.AsyncClient(
        verify=trusted, follow_redirects=False, timeout=CALL_SECONDS
    ) as client:
        yield Caller(client)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
