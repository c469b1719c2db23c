"""What a provider of OpenID Connect says of itself, looked at as an operator asks for it."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from app.errors import Unavailable
from app.web.oidc.fetching import SECONDS, asking
from app.web.oidc.provider import Metadata, discovery, fetch_provider


@dataclass(frozen=True, slots=True)
class Seen:
    """What a provider offers. `signing` are those of our algorithms that its keys sign by.

    `ahead` is by how many seconds its clock is ahead of ours, None if it tells no time.
    """

    metadata: Metadata
    keys: int
    signing: Collection[str]
    ahead: float | None


async def look_at(issuer: str, algorithms: Collection[str]) -> Seen:
    """Return what the provider says, asked as the archive does it.

    Raises:
        Unavailable: it does not answer, or with nothing that can be used; the message says what.
    """
    known = await fetch_provider(issuer)
    signing = [one for one in algorithms if any(key.signs(one) for key in known.keys)]
    return Seen(known.metadata, len(known.keys), signing, await _ahead(discovery(issuer)))


async def _ahead(place: str) -> float | None:
    try:
        async with asyncio.timeout(SECONDS), asking() as client:
            asked = time.time()
            async with client.stream("GET", place) as answer:
                said = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (TimeoutError, httpx.HTTPError, KeyError, ValueError):
        return None
    except OSError as error:
        raise Unavailable("the identity provider does not answer") from error
    return said - (asked + time.time()) / 2
