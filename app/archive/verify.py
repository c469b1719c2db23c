"""Verify: read every object again, and compare what is there with what the index says.

Nothing is changed. Bytes that no row names may be those of a store that is under way, so only old
ones are told of: the key of each attempt says when it was made.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.archive.answers import ahead
from app.archive.context import Archive
from app.archive.digests import read_digest
from app.dicom.scanned import DERIVED_VERSION
from app.errors import NotFound, Unavailable
from app.index.kept import KeptObject, find_named, list_kept
from app.objects.base import LOG, attempted_at, study_prefix

AT_ONCE = 3
"""Objects that are read side by side."""
GRACE_SECONDS = 3600
"""Age from which bytes that no row names belong to no store that is under way."""
_PAGE = 500
_KEY = re.compile(
    r"t/([0-9]+)/(?:[0-9a-f]{2}/[0-9a-f]{2}/([0-9.]+)/[0-9.]+|[a-z-]+)"
    r"/([0-9.]+)\.([0-9A-Z]{26})\.dcm",
    re.ASCII,
)


class State(StrEnum):
    """What was found out about an object."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    """Its bytes are not those that were stored."""
    MISSING = "missing"
    """A row names it, and the store does not have it."""
    UNNAMED = "unnamed"
    """The store has it, and no row names it."""
    OUTDATED = "outdated"
    """Whole, but described in the index as an older version did it."""
    SEALED = "sealed"
    """A segment of the log, as it was signed (`sealed_log`)."""


@dataclass(frozen=True, slots=True)
class Verified:
    """One object. `study` and `instance` are '' where its key does not say them."""

    state: State
    object_key: str
    study: str = ""
    instance: str = ""
    size: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is verified: what was stored `since`, of one `study`, `rate` bytes a second."""

    since: datetime | None = None
    study: str | None = None
    rate: float = float("inf")


class Pace:
    """Holds readers back to a rate that all share."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, size: int) -> None:
        """Wait until `size` bytes more are within the rate."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size / self._rate
        if self._free_at > now + 0.01:
            await asyncio.sleep(self._free_at - now)


async def verify_objects(
    archive: Archive, wanted: Wanted, tell: Callable[[Verified], None]
) -> None:
    """Read what rows name, then look for what none does; `tell` of each object.

    With `since` only rows are looked at: when bytes came, no store says for sure.

    Raises:
        Unavailable: the index or the store does not answer.
    """
    pace = Pace(wanted.rate)
    kept = list_kept(archive.index, wanted.since, wanted.study)
    async for verified in ahead(kept, lambda one: _verify(archive, one, pace), AT_ONCE):
        tell(verified)
    if wanted.since is None:
        prefix = study_prefix(1, wanted.study) if wanted.study else ""
        async for verified in find_unnamed(archive, prefix):
            tell(verified)


async def _verify(archive: Archive, kept: KeptObject, pace: Pace) -> Verified:
    def found(state: State, detail: str = "") -> Verified:
        return Verified(state, kept.object_key, kept.study, kept.instance, kept.size, detail)

    where = (kept.object_key, kept.base_offset, kept.size)
    try:
        digest = await read_digest(archive.objects, *where, pace.take)
        size = await archive.objects.size(kept.object_key)
    except NotFound:
        return found(State.MISSING, "the store has no such object")
    except Unavailable as error:
        await archive.objects.check()  # a store that does not answer at all has damaged nothing
        return found(State.DAMAGED, f"it cannot be read as a whole: {error}")
    if digest != kept.sha256:
        detail = f"its SHA-256 is {digest.hex()}, and was {kept.sha256.hex()}"
        return found(State.DAMAGED, detail)
    if kept.base_offset == 0 and size != kept.size:
        return found(State.DAMAGED, f"it has {size} bytes, and had {kept.size}")
    if kept.derived_version != DERIVED_VERSION:
        return found(State.OUTDATED, f"it was described by version {kept.derived_version}")
    return found(State.WHOLE)


async def find_unnamed(
    archive: Archive, prefix: str, latest: float | None = None
) -> AsyncIterator[Verified]:
    """Yield objects below a prefix that no row names and whose attempt was before `latest`.

    `latest` is in seconds since 1970, `GRACE_SECONDS` ago unless it is given. What is no
    Instance's by its name has neither `study` nor `instance`.

    Raises:
        Unavailable: the index or the store does not answer.
    """
    page: list[re.Match[str]] = []
    latest = time.time() - GRACE_SECONDS if latest is None else latest
    async for key in archive.objects.keys(prefix):
        if key.startswith(LOG):
            continue
        match = _KEY.fullmatch(key)
        if match is None:
            yield Verified(State.UNNAMED, key, detail="its name is none of an Instance's")
        elif attempted_at(match[4]) < latest:
            page.append(match)
        if len(page) == _PAGE:
            async for verified in _unnamed_of(archive, page):
                yield verified
            page = []
    async for verified in _unnamed_of(archive, page):
        yield verified


async def _unnamed_of(archive: Archive, page: list[re.Match[str]]) -> AsyncIterator[Verified]:
    for tenant in {match[1] for match in page}:
        mine = [match for match in page if match[1] == tenant]
        named = await find_named(
            archive.index,
            int(tenant),
            [match[0] for match in mine],
            [match[2] or "" for match in mine],
            [match[3] for match in mine],
        )
        for match in mine:
            if match[0] not in named:
                yield Verified(
                    State.UNNAMED,
                    match[0],
                    match[2] or "",
                    match[3],
                    detail="an attempt to store it that was given up, or its row is lost",
                )
