"""Rebuild: a new index from the object store alone.

First the sealed log is replayed: it says which objects were accepted, and which of them were
deleted, rejected or given up since. Then each of those objects is read, checked against the digest
of its acceptance, and scanned as at a store; what no store has whole becomes a finding. Last, all
objects are listed: a whole one that is younger than the last seal may have been acknowledged, so it
is admitted and told of; an older one that no event names is left out and told of.

A segment is taken from the first store that has it as it was signed, and in its place. One that no
store has so ends the rebuild, for what it says may be invented; only who allows it goes on with the
best there is (`doubtful`), and is told of it.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from app.archive.answers import ahead, each
from app.archive.context import Archive
from app.archive.seal_keys import SealKey, seal_secret
from app.archive.sealing import segment_row
from app.archive.segment import Chain, read_entry
from app.archive.segment_choice import choose_segment
from app.archive.stores import stores_of
from app.archive.verify import GRACE_SECONDS
from app.dicom.identity import identify, identify_non_patient, sop_class_of
from app.dicom.non_patient import category_of
from app.dicom.scan import scan
from app.dicom.uids import InstanceRef
from app.errors import Conflict, Forbidden, InvalidDataset, NotFound, Unavailable
from app.index.findings import note_lost
from app.index.instances import NewInstance, add_each_instance
from app.index.named import Named, find_in_log
from app.index.non_patient import add_non_patient
from app.index.rebuilding import (
    Item,
    bring_in,
    claim_unused,
    finish,
    next_items,
)
from app.index.replaying import LIVE, apply_next, log_goes_on, replay, replayed
from app.index.tenants import list_tenants, restore_tenants
from app.objects.base import (
    LOG,
    KeyParts,
    ObjectStore,
    attempted_at,
    non_patient_key,
    object_key,
    parse_key,
    segment_key,
)
from app.rights import Principal, Scope

AT_ONCE = 6
_PAGE = 200
NO_LOG = (
    "there is no log beside these objects: what was deleted comes back, and holds, labels and "
    "rules do not; if another store has the log, put it beside them and rebuild from there"
)


GIVEN_UP = "an attempt to store it that was given up before the last seal"


class Outcome(StrEnum):
    """What became of an object or a segment."""

    LIVE = "live"
    REMOVED = "removed"
    """Deleted or rejected; its bytes are there still."""
    ADMITTED = "admitted"
    """No sealed event names it, and it is whole and young enough to have been acknowledged."""
    LEFT_OUT = "left out"
    """No sealed event names it."""
    LOST = "lost"
    """It was accepted, and is not there as it was stored."""
    DOUBTFUL = "doubtful"
    """A segment of the log that no store has as it was signed; or there is no log at all."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One object or segment; `detail` says why it is not simply live or removed."""

    outcome: Outcome
    object_key: str
    detail: str = ""


Tell = Callable[[Rebuilt], None]


async def rebuild_index(
    archive: Archive, principal: Principal, tell: Tell, *, doubtful: bool = False
) -> None:
    """Make the index of an archive anew; `tell` of each object. One that broke off goes on.

    With `doubtful` segments that no store has as they were signed are believed all the same.

    Raises:
        Forbidden: `principal` may not administer.
        Conflict: the index is in use.
        Damaged: no store has a segment as it was signed.
        Unavailable: index or store do not answer.
    """
    if not principal.administers_all:
        raise Forbidden("Rebuilding is for administrators")
    first = principal.scope.tenant_id
    if await replayed(archive.index, first) is None and not await claim_unused(archive.index):
        raise Conflict("the index is in use: a rebuild makes a new one from the objects")
    await _take_in(archive, first, tell, doubtful=doubtful)
    # the first one's log has the names of the others
    await restore_tenants(archive.index, await _logged_tenants(archive))
    tenants = [tenant.number for tenant in await list_tenants(archive.index)]
    for tenant_id in tenants:
        if tenant_id != first:
            await _take_in(archive, tenant_id, tell, doubtful=doubtful)
    await log_goes_on(archive.index)
    for live in (False, True):
        while items := await next_items(archive.index, live=live):
            await _bring_in(archive, items, tell)
    for tenant_id in tenants:
        await _admit(archive, replace(principal, scope=Scope(tenant_id)), tell)
    await finish(archive.index)


async def _take_in(archive: Archive, tenant_id: int, tell: Tell, *, doubtful: bool) -> None:
    """Take in the log of a tenant, and note what it says of each object."""
    await _replay(archive, tenant_id, tell, doubtful=doubtful)
    while await apply_next(archive.index, tenant_id):
        pass


async def _logged_tenants(archive: Archive) -> list[int]:
    """Return the numbers of the tenants that any store has a log of."""
    found = set()
    for store in stores_of(archive.objects).values():
        async for key in store.keys(LOG):
            found.add(int(key.removeprefix(LOG).partition("/")[0]))
    return sorted(found)


async def _replay(archive: Archive, tenant_id: int, tell: Tell, *, doubtful: bool) -> None:
    """Take in the segments that follow those that are replayed already."""
    public = await _public_keys(archive, tenant_id)
    chain = Chain(public.values(), tenant_id)
    done = await replayed(archive.index, tenant_id)
    stores = stores_of(archive.objects)
    key_number = 1
    async for key in _segment_keys(archive, tenant_id):
        segment, faults = await choose_segment(stores, key, chain, doubtful=doubtful)
        for fault in faults:
            tell(Rebuilt(Outcome.DOUBTFUL, key, fault))
        if segment is None:
            continue
        chain.faults(segment)
        key_number += segment.next_key is not None
        if done is None or segment.head.number > done[0]:
            events = [read_entry(line) for line in segment.lines]
            row = segment_row(segment, key_number)
            await replay(archive.index, tenant_id, row, events, public)


async def _segment_keys(archive: Archive, tenant_id: int) -> AsyncIterator[str]:
    """Yield the keys of all segments up to the last one that any store has, missing ones too."""
    prefix = segment_key(tenant_id, 0).rpartition("/")[0] + "/"
    last = 0
    for store in stores_of(archive.objects).values():
        async for key in store.keys(prefix):
            last = max(last, int(key.removeprefix(prefix).removesuffix(".json")))
    for number in range(1, last + 1):
        yield segment_key(tenant_id, number)


async def _public_keys(archive: Archive, tenant_id: int) -> dict[int, bytes]:
    """Return the public keys of the seal by number, as far as their secrets are there."""
    prefix = seal_secret(tenant_id)
    kept = await archive.objects.all_secrets()
    found = {
        name.removeprefix(prefix): seed for name, seed in kept.items() if name.startswith(prefix)
    }
    return {int(number): SealKey.of(int(number), seed).public for number, seed in found.items()}


async def _bring_in(archive: Archive, items: list[Item], tell: Tell) -> None:
    """Read a page of objects that the log names, and give them rows."""
    found: dict[Item, NewInstance] = {}
    async for item, new in ahead(each(items), lambda item: _load(archive, item), AT_ONCE):
        if isinstance(new, str):
            await _note_lost(archive, item, new)
            tell(Rebuilt(Outcome.LOST, _key_of(item), new))
        else:
            found[item] = new
            outcome = Outcome.LIVE if item.state == LIVE else Outcome.REMOVED
            tell(Rebuilt(outcome, new.object_key))
    await bring_in(archive.index, found, items)


def _key_of(item: Item) -> str:
    if item.category:
        return non_patient_key(item.tenant_id, item.category, item.instance, item.attempt)
    return object_key(item.tenant_id, item.study, item.series, item.instance, item.attempt)


async def _note_lost(archive: Archive, item: Item, detail: str) -> None:
    """Let it be seen that an object is lost, for as long as it is; what was removed may be."""
    if item.state == LIVE:
        names = (item.study, item.instance)
        await note_lost(archive.index, item.tenant_id, _key_of(item), names, detail)


async def _load(archive: Archive, item: Item) -> tuple[Item, NewInstance | str]:
    """Return an object as if it had just been put, from the first store that has it whole.

    If none has, return why that is.
    """
    faults = []
    for name, store in stores_of(archive.objects).items():
        found = await _load_from(archive, store, item)
        if isinstance(found, NewInstance):
            return item, found
        faults.append(f"{name}: {found}")
    return item, "; ".join(faults)


async def _load_from(archive: Archive, store: ObjectStore, item: Item) -> NewInstance | str:
    try:
        new = await _read(archive, store, _key_of(item))
    except (NotFound, InvalidDataset) as error:
        return str(error)
    except Unavailable as error:
        await store.check()  # a store that does not answer at all has lost nothing
        return str(error)
    if new.sha256 != item.sha256:
        return "its bytes are not those that were accepted"
    if new.ref != InstanceRef(item.study, item.series, item.instance):
        return "it is of another Instance than the one that was accepted"
    return new


async def _read(archive: Archive, store: ObjectStore, key: str) -> NewInstance:
    """Return an object as if it had just been put.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
        InvalidDataset: it is no Instance that may be stored.
    """
    store.forget(key)
    staged = await archive.staging.stage(await store.stream(key))
    try:
        look = archive.staging.threads.run
        scanned = await look(scan, staged.source(), archive.limits, archive.memo)
        of_patient = category_of(sop_class_of(scanned)) is None
        ref = (identify if of_patient else identify_non_patient)(scanned).ref
        return NewInstance(ref, scanned, key, staged.size, staged.sha256, staged.dataset_sha256)
    finally:
        staged.discard()


async def _admit(archive: Archive, principal: Principal, tell: Tell) -> None:
    """Look at all objects for those that the log does not name."""
    tenant_id = principal.scope.tenant_id
    done = await replayed(archive.index, tenant_id)
    sealed_at = done[1].timestamp() if done else 0.0
    page: list[tuple[str, KeyParts]] = []
    logless = done is None
    async for key in archive.objects.keys(f"t/{tenant_id}/"):
        if logless:
            tell(Rebuilt(Outcome.DOUBTFUL, segment_key(tenant_id, 1), NO_LOG))
            logless = False
        parts = parse_key(key)
        if parts is None:
            tell(Rebuilt(Outcome.LEFT_OUT, key, "its name is none of an Instance's"))
            continue
        page.append((key, parts))
        if len(page) == _PAGE:
            await _admit_page(archive, principal, page, sealed_at, tell)
            page = []
    await _admit_page(archive, principal, page, sealed_at, tell)


async def _admit_page(
    archive: Archive,
    principal: Principal,
    page: list[tuple[str, KeyParts]],
    sealed_at: float,
    tell: Tell,
) -> None:
    uids = {parts.instance for _, parts in page}
    log = await find_in_log(archive.index, principal.scope.tenant_id, uids)
    for key, parts in page:
        named, at = log.get(parts.instance, Named()), attempted_at(parts.attempt)
        if parts.attempt in named.attempts:
            continue
        if why := _objection(at, sealed_at) or named.objection(at):
            tell(Rebuilt(Outcome.LEFT_OUT, key, why))
        else:
            tell(await _admit_one(archive, principal, key, parts, named.sha256))


def _objection(attempted_at: float, sealed_at: float) -> str:
    """Say why nothing that was attempted then can have been acknowledged; "" if it can.

    `sealed_at` is the time of the last seal, 0 if there is no log. A clock that was set back since
    makes nothing a thing of the future.
    """
    if sealed_at and attempted_at > max(time.time(), sealed_at) + GRACE_SECONDS:
        return "its name is of a time to come"
    return GIVEN_UP if attempted_at < sealed_at - GRACE_SECONDS else ""


async def _admit_one(
    archive: Archive, principal: Principal, key: str, parts: KeyParts, sha256: bytes
) -> Rebuilt:
    """Give an object a row if it is whole; with `sha256`, if it is what was accepted."""
    try:
        new = await _read(archive, archive.objects, key)
    except (NotFound, InvalidDataset, Unavailable) as error:
        await archive.objects.check()
        return Rebuilt(Outcome.LEFT_OUT, key, str(error))
    if (new.ref.study, new.ref.instance) != (parts.study, parts.instance):
        return Rebuilt(Outcome.LEFT_OUT, key, "it is of another Instance than its name says")
    if sha256 not in {b"", new.sha256}:
        return Rebuilt(Outcome.LEFT_OUT, key, "its bytes are not those that were accepted")
    tenant_id, name = principal.scope.tenant_id, principal.name
    if parts.study:
        (added,) = await add_each_instance(archive.index, tenant_id, name, [new])
    else:
        category = key.split("/")[2]
        (added,) = await add_non_patient(archive.index, tenant_id, name, category, [new])
    if added is None:
        return Rebuilt(Outcome.ADMITTED, key, "no sealed event names it")
    return Rebuilt(Outcome.LEFT_OUT, key, "another object of its Instance is there")
