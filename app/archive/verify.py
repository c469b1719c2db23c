"""Verify: read every object again, and compare what is there with what the index says.

No object is changed unless a repair is wanted; but what is found lost is noted in the index, and
what is over is forgotten there, so that all who ask for findings know. Bytes that no row names may
be those of a store that is under way, so only old ones are told of: the key of each attempt says
when it was made.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from app.archive.answers import ahead
from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.looking_again import look_again
from app.archive.pace import Pace
from app.archive.repair import LOST, is_awaited, repair_object
from app.archive.stores import stores_of
from app.dicom.scanned import DERIVED_VERSION
from app.errors import Unavailable
from app.index.findings import LOST as LOST_AT_REBUILD
from app.index.findings import end_lost, list_faults, note_fault
from app.index.kept import KeptObject, find_named, list_kept
from app.index.quarantine import is_quarantined
from app.objects.base import LOG, KeyParts, ObjectStore, attempted_at, parse_key, study_prefix

AT_ONCE = 3
"""Objects that are read side by side."""
GRACE_SECONDS = 3600
"""Age from which bytes that no row names belong to no store that is under way."""
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Verified:
    """One object. `study` and `instance` are '' where its key does not say them; `store` is ''
    where all of them are meant."""

    state: State
    object_key: str
    study: str = ""
    instance: str = ""
    size: int = 0
    detail: str = ""
    store: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is verified: what was stored `since`, of one `study`, `rate` bytes a second.

    With `repair` what is lost is repaired, or put into quarantine.
    """

    since: datetime | None = None
    study: str | None = None
    rate: float = float("inf")
    repair: bool = False


async def verify_objects(
    archive: Archive, wanted: Wanted, tell: Callable[[Verified], None]
) -> None:
    """Read what rows name in every store, then look for what none does; `tell` of each object.

    With `since` only rows are looked at: when bytes came, no store says for sure.

    Raises:
        Unavailable: the index or a store does not answer.
        StorageFull: there is no room for a repair.
    """
    pace = Pace(wanted.rate)
    await look_again(archive, pace.take)
    kept = list_kept(archive.index, wanted.since, wanted.study)
    job = partial(_verify, archive, pace=pace, repair=wanted.repair)
    async for found in ahead(kept, job, AT_ONCE):
        for verified in found:
            tell(verified)
    if wanted.since is None:
        async for verified in _find_lost(archive, wanted.study):
            tell(verified)
        prefix = study_prefix(1, wanted.study) if wanted.study else ""
        for name, store in stores_of(archive.objects).items():
            async for verified in find_unnamed(archive, store, prefix):
                tell(replace(verified, store=name))


async def _find_lost(archive: Archive, study: str | None) -> AsyncIterator[Verified]:
    """Yield what a rebuild found nowhere whole, and nobody has sent again."""
    await end_lost(archive.index)
    after = 0
    while page := await list_faults(archive.index, after=after, state=LOST_AT_REBUILD):
        for one in page:
            after = one.id
            if study in {None, one.study}:
                names = (one.study, one.instance)
                yield Verified(State.LOST, one.object_key, *names, detail=one.detail)


async def _verify(
    archive: Archive, kept: KeptObject, *, pace: Pace, repair: bool
) -> list[Verified]:
    """Return what an object is worth in each store, or what came of its repair."""
    if is_quarantined(kept.object_key):
        all_ = [_verified(kept, State.QUARANTINED, "no store has it whole")]
    else:
        stores = stores_of(archive.objects).items()
        all_ = [await _look(archive, kept, name, store, pace) for name, store in stores]
    lost = [one for one in all_ if one.state in (*LOST, State.QUARANTINED)]
    if not (repair and lost):
        await _note(archive, kept, all_)
        return all_
    return await _repair(archive, kept, pace, lost)


async def _repair(
    archive: Archive, kept: KeptObject, pace: Pace, looked_at: Sequence[Verified]
) -> list[Verified]:
    """Return what came of a repair; a store that does not answer at all ends the pass."""
    try:
        outcome = await repair_object(archive, kept.key, pace.take)
    except Unavailable as error:
        for store in stores_of(archive.objects).values():
            await store.check()
        await _note(archive, kept, looked_at)
        return [replace(one, detail=f"{one.detail}; not repaired: {error}") for one in looked_at]
    if outcome is None:
        return []  # it was purged this moment
    if outcome is State.QUARANTINED:
        return [_verified(kept, outcome, "no store has it whole")]
    said = "; ".join(f"{one.store}: {one.detail}" for one in looked_at)
    return [_verified(kept, State.REPAIRED, said)]


async def _note(archive: Archive, kept: KeptObject, looked_at: Sequence[Verified]) -> None:
    for one in looked_at:
        if one.state in LOST:
            await note_fault(archive.index, kept, one.store, one.state, one.detail)


async def _look(
    archive: Archive, kept: KeptObject, name: str, store: ObjectStore, pace: Pace
) -> Verified:
    state, detail = await examine(store, kept, pace.take)
    if state in LOST and await is_awaited(archive, name, kept.key):
        state, detail = State.WAITING, "it is still to be copied"
    elif state is State.WHOLE and kept.derived_version != DERIVED_VERSION:
        state, detail = State.OUTDATED, f"it was described by version {kept.derived_version}"
    return _verified(kept, state, detail, name)


def _verified(kept: KeptObject, state: State, detail: str, store: str = "") -> Verified:
    return Verified(state, kept.key, kept.study, kept.instance, kept.size, detail, store)


async def find_unnamed(
    archive: Archive, store: ObjectStore, prefix: str, latest: float | None = None
) -> AsyncIterator[Verified]:
    """Yield objects below a prefix that no row names and whose attempt was before `latest`.

    `latest` is in seconds since 1970, `GRACE_SECONDS` ago unless it is given. What is no
    Instance's by its name has neither `study` nor `instance`.

    Raises:
        Unavailable: the index or the store does not answer.
    """
    page: list[tuple[str, KeyParts]] = []
    latest = time.time() - GRACE_SECONDS if latest is None else latest
    async for key in store.keys(prefix):
        if key.startswith(LOG):
            continue
        parts = parse_key(key)
        if parts is None:
            yield Verified(State.UNNAMED, key, detail="its name is none of an Instance's")
        elif attempted_at(parts.attempt) < latest:
            page.append((key, parts))
        if len(page) == _PAGE:
            async for verified in _unnamed_of(archive, page):
                yield verified
            page = []
    async for verified in _unnamed_of(archive, page):
        yield verified


async def _unnamed_of(
    archive: Archive, page: list[tuple[str, KeyParts]]
) -> AsyncIterator[Verified]:
    for tenant in {parts.tenant_id for _, parts in page}:
        mine = {key: parts for key, parts in page if parts.tenant_id == tenant}
        named = await find_named(
            archive.index,
            tenant,
            mine,
            [parts.study for parts in mine.values()],
            [parts.instance for parts in mine.values()],
        )
        for key, parts in mine.items():
            if key not in named:
                yield Verified(
                    State.UNNAMED,
                    key,
                    parts.study,
                    parts.instance,
                    detail="an attempt to store it that was given up, or its row is lost",
                )
