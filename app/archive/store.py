"""Store transaction (PS3.18 §10.5, §12.5): parts come in, a report on each goes out.

How a request flows. Each part is staged as it streams; then, while the next ones arrive, it is
scanned, checked and put into the object store under a key of its own. When the last part has been
read (so the closing delimiter was seen) all that was put goes to the writer, which makes it durable
and visible together with what other requests have waiting.

Rules that must hold:
* Nothing of a request is visible before its end was seen; a request that breaks off, is cancelled
  or malformed leaves neither rows nor objects.
* An Instance stands or falls alone: what is wrong with it goes into the report, not to the caller.
* The stored bytes are those received. Only a Data Set that came without preamble or File Meta
  Information gets one before it, always the same for the same Data Set.
* The first Instance under a UID stays; the same one again is a success.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import lru_cache

from app.archive.blocks import keep_digests
from app.archive.conclusion import conclude
from app.archive.context import Archive
from app.archive.destinations import Destination, destination
from app.archive.placed import Placed, Placing
from app.archive.writer import discard_object
from app.dicom.file_meta import HEAD_BYTES, add_file_meta, find_bare_prefix
from app.dicom.identity import Identity, identify_non_patient, media_storage_uids
from app.dicom.limits import Limits
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.store_report import Failed, FailureReason, StoreReport
from app.dicom.transfer_syntaxes import find
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import (
    ArchiveError,
    Forbidden,
    InvalidDataset,
    InvalidRequest,
    StorageFull,
    TooLarge,
    Unavailable,
)
from app.index.instances import NewInstance
from app.objects.staged import InMemory, Staged
from app.rights import Principal, Verb
from app.turns import Work, asker

IN_FLIGHT = 8
"""Parts of one request that are being scanned and put while the next one arrives."""

_NO_INSTANCE = {
    FailureReason.CANNOT_UNDERSTAND,
    FailureReason.CUT_SHORT,
    FailureReason.OVER_A_LIMIT,
    FailureReason.UID_MISSING_OR_INVALID,
}
_PREAMBLE = bytes(128) + b"DICM"
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00"


async def admit_upload(archive: Archive, principal: Principal) -> None:
    """Let a request in before its body is read; it has a turn until its answer has ended.

    Raises:
        Forbidden: `principal` may not store.
        Busy: too many are being read already.
    """
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Storing is not allowed to you")
    one = asker()
    await one.hold(archive.budgets.uploads)
    one.turn_to(Work.STORE)


async def store_instances(
    archive: Archive,
    principal: Principal,
    parts: AsyncIterator[AsyncIterator[bytes]],
    into: StudyRef | NonPatientRef | None = None,
    calling_ae: str = "",
) -> StoreReport:
    """Store each part as an Instance and report on each; success means durable and visible.

    `parts` are read once, in order, each to its end. A part that raises InvalidDataset fails alone;
    whatever else is raised comes through, and then nothing of the request was stored. With `into`,
    Instances of other Studies or categories fail; without it those of no Patient do. Those of a
    Study, or of a Patient, that `principal` may not see fail with no word of what is there; a Study
    that is new bears the labels of its scope and those of rules, which may go by `calling_ae`.

    Raises:
        Forbidden: `principal` may not store.
        InvalidRequest: there are no parts.
        TooLarge: a part is longer than the limit, or too many are no Instances.
        StorageFull, Unavailable: no Instance could be stored for want of room or of an engine.
    """
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Storing is not allowed to you")
    place = destination(into, principal.scope, calling_ae)
    with archive.running.noted():
        return await _store(archive, principal, parts, place)


async def _store(
    archive: Archive,
    principal: Principal,
    parts: AsyncIterator[AsyncIterator[bytes]],
    place: Destination,
) -> StoreReport:
    request = _Request(archive, principal, place)
    try:
        placed = await request.place_all(parts)
    except BaseException:
        await asyncio.shield(request.give_up())
        raise
    if not placed:
        raise InvalidRequest("at least one part with an Instance was expected")
    report = StoreReport(await conclude(archive, principal, place, placed))
    for series in {one.series for one in placed if isinstance(one, Placed) and one.series.series}:
        archive.upcoming.note(principal.scope.tenant_id, series)
    request.raise_if_all_failed_for_us(report)
    return report


class _Request:
    """One request while its parts come in."""

    def __init__(self, archive: Archive, principal: Principal, destination: Destination) -> None:
        self._archive = archive
        self._principal = principal
        self._destination = destination
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._begun: list[asyncio.Task[Placed | Failed] | Failed] = []
        self._staged: set[Staged] = set()
        self._faults: list[ArchiveError] = []
        self._refused = self._nameless = 0
        self._placing = Placing()

    async def place_all(self, parts: AsyncIterator[AsyncIterator[bytes]]) -> list[Placed | Failed]:
        """Stage all parts in order, and place each while the next ones arrive."""
        async for part in parts:
            await self._slots.acquire()
            begun = await self._begin(part)
            if isinstance(begun, Failed):
                self._slots.release()
                await self._let_others_go_on()
            self._begun.append(begun)
            if self._nameless > (most := self._archive.limits.refused_parts):
                raise TooLarge(f"more than {most} parts of the request are no Instances")
        return [one if isinstance(one, Failed) else await one for one in self._begun]

    async def _begin(self, part: AsyncIterator[bytes]) -> asyncio.Task[Placed | Failed] | Failed:
        """Stage a part and begin to place it; what is soon seen to be wrong costs no more."""
        try:
            received = await self._archive.staging.stage(part)
        except InvalidDataset as error:
            return self._noted(Failed(error.reason, str(error), *error.uids))
        try:
            looked = self._quick_look(received)
        except InvalidDataset as error:
            failed = _failed(error, error.reason, None, received)
            received.discard()
            return self._noted(failed)
        self._staged.add(received)
        return asyncio.create_task(self._place(received, looked))

    def _noted(self, result: Failed) -> Failed:
        """Count a part that is no Instance at all."""
        self._nameless += not result.sop_instance_uid and result.reason in _NO_INSTANCE
        return result

    async def _let_others_go_on(self) -> None:
        """Give other requests their turn between many parts that wait for nothing."""
        self._refused += 1
        if self._refused % IN_FLIGHT == 0:
            await asyncio.sleep(0)

    async def give_up(self) -> None:
        """Delete what was put."""
        tasks = [one for one in self._begun if isinstance(one, asyncio.Task)]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Placed):
                await discard_object(self._archive.objects, result.object_key)
        for received in self._staged:  # of tasks that were cancelled before they began
            received.discard()

    def raise_if_all_failed_for_us(self, report: StoreReport) -> None:
        """Raise what kept us from storing anything, if it was nothing in the data."""
        if self._faults and len(self._faults) == len(report.results):
            raise self._faults[0]

    async def _place(self, received: Staged, looked: ScannedInstance | None) -> Placed | Failed:
        """Scan, check and put one part; what is wrong with it is a `Failed`."""
        identity: Identity | None = None
        staged = received
        try:
            if looked is not None:
                scanned = looked
            else:
                run = self._archive.staging.threads.run
                scanned, staged = await run(self._examine, received)
            identity = self._checked(scanned)
            return await self._put(staged, scanned, identity)
        except InvalidDataset as error:
            return self._noted(_failed(error, error.reason, identity, received))
        except StorageFull as error:
            self._faults.append(error)
            return _failed(error, FailureReason.OUT_OF_RESOURCES, identity, received)
        except Unavailable as error:
            self._faults.append(error)
            return _failed(error, FailureReason.PROCESSING_FAILURE, identity, received)
        finally:
            staged.discard()
            received.discard()
            self._staged.remove(received)
            self._slots.release()

    def _quick_look(self, staged: Staged) -> ScannedInstance | None:
        """Scan a part that is quickly scanned and needs nothing added; None for all others.

        A small header takes less time than the hop to a thread. What is large, or made to look
        small, is left to `_examine`.

        Raises:
            InvalidDataset: it is bad, whatever the limits.
        """
        if not isinstance(staged, InMemory):
            return None
        try:
            scanned = scan(staged.source(), _quick(self._archive.limits), self._archive.memo)
        except InvalidDataset as error:
            if error.reason != FailureReason.OVER_A_LIMIT:
                raise
            return None
        if not _has_head(staged, scanned):
            return None
        staged.dataset_offset = scanned.dataset_offset
        return scanned

    def _examine(self, staged: Staged) -> tuple[ScannedInstance, Staged]:
        """Scan a part, and give it the head it lacks. For a thread."""
        limits, memo = self._archive.limits, self._archive.memo
        scanned = scan(staged.source(), limits, memo)
        if _has_head(staged, scanned):
            return scanned, staged
        meta = staged.source().read(0, scanned.dataset_offset)
        staged = staged.with_head(*self._missing_head(scanned, meta))
        try:
            return scan(staged.source(), limits, memo), staged
        except BaseException:
            staged.discard()
            raise

    @staticmethod
    def _missing_head(scanned: ScannedInstance, meta: bytes) -> tuple[bytes, int]:
        """Return what to put before the received bytes, and how many of those to leave out."""
        if _TRANSFER_SYNTAX in meta:
            return _PREAMBLE, len(find_bare_prefix(meta))
        identity = identify_non_patient(scanned)  # for any destination: the meta names no Study
        uids = identity.sop_class_uid, identity.ref.instance, scanned.transfer_syntax_uid
        return add_file_meta(*uids), len(meta)

    def _checked(self, scanned: ScannedInstance) -> Identity:
        identity = self._destination.check(scanned, self._principal.scope)
        if find(scanned.transfer_syntax_uid) is None:
            raise InvalidDataset(
                "the Transfer Syntax is unknown", FailureReason.TRANSFER_SYNTAX_NOT_SUPPORTED
            )
        return identity

    async def _put(self, staged: Staged, scanned: ScannedInstance, identity: Identity) -> Placed:
        ref = identity.ref
        key = self._destination.new_key(self._principal.scope.tenant_id, identity)
        try:
            await self._archive.objects.put(key, staged)
        except asyncio.CancelledError:  # the put itself may have come to its end
            await discard_object(self._archive.objects, key)
            raise
        if digests := staged.block_digests:
            await keep_digests(self._archive, staged.sha256, digests)
        sums = staged.sha256, staged.dataset_sha256
        source = self._principal.calling_ae
        new = NewInstance(ref, scanned, key, staged.size, *sums, source=source)
        return self._placing.place(new, identity.sop_class_uid)


@lru_cache(maxsize=8)
def _quick(limits: Limits) -> Limits:
    """Return the limits of what is scanned on the spot, well below a frame's worth of time."""
    return replace(
        limits,
        header_bytes=min(limits.header_bytes, 2**18),
        elements=min(limits.elements, 2000),
        fragments=min(limits.fragments, 2000),
        inflated_bytes=min(limits.inflated_bytes, 2**18),
    )


def _has_head(staged: Staged, scanned: ScannedInstance) -> bool:
    meta = staged.source().read(0, scanned.dataset_offset)
    return meta.startswith(b"DICM", 128) and _TRANSFER_SYNTAX in meta


def _failed(error: ArchiveError, reason: int, identity: Identity | None, staged: Staged) -> Failed:
    if identity is not None:
        return Failed(reason, str(error), identity.sop_class_uid, identity.ref.instance)
    return Failed(reason, str(error), *media_storage_uids(staged.source().read(0, HEAD_BYTES)))
