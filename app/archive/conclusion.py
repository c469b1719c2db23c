"""The second half of a Store request: all that was put becomes visible, and each gets its word."""

from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.destinations import Destination
from app.archive.mending import is_whole, mend
from app.archive.placed import Placed
from app.archive.same import is_same
from app.archive.writer import Result, discard_object
from app.dicom.store_report import Failed, FailureReason, Stored
from app.errors import InvalidDataset
from app.index.admission import NOT_ADMITTED
from app.index.events import append_event
from app.index.instances import NewInstance
from app.index.present import Present
from app.rights import Principal, Verb

_SEEING = frozenset({Verb.SEARCH, Verb.VIEW})
AT_ONCE = 1000
"""Instances of one request that are handed to the writer together, so that memory is bounded."""


async def conclude(
    archive: Archive,
    principal: Principal,
    destination: Destination,
    placed: Sequence[Placed | Failed],
) -> list[Stored | Failed]:
    """Make all that was put visible; return what became of each, in the order of the request.

    Raises:
        StorageFull, Unavailable: the index or the store fails. What had been handed over before
            may be in; the objects of the rest are deleted.
    """
    good = [one for one in placed if isinstance(one, Placed)]
    concluded: list[Stored | Failed] = []
    try:
        for start in range(0, len(good), AT_ONCE):
            some = good[start : start + AT_ONCE]
            concluded += await _add(archive, principal, destination, some)
    except BaseException:
        for one in good[len(concluded) + AT_ONCE :]:
            await discard_object(archive.objects, one.object_key)
        raise
    remaining = iter(concluded)
    return [one if isinstance(one, Failed) else next(remaining) for one in placed]


async def _add(
    archive: Archive, principal: Principal, destination: Destination, placed: Sequence[Placed]
) -> list[Stored | Failed]:
    new = [one.instance() for one in placed]
    results = await destination.add(archive, principal, new)
    pairs = list(zip(new, results, strict=True))
    unwanted = {one.object_key for one, result in pairs if isinstance(result, Present)}
    concluded = []
    try:
        for of, (one, result) in zip(placed, pairs, strict=True):
            said = await _conclude(archive, principal, one, result, of.sop_class_uid, unwanted)
            concluded.append(said)
        await _log_refusals(archive, principal, pairs, concluded)
    finally:
        for key in unwanted:
            await discard_object(archive.objects, key)
    if principal.verbs & _SEEING:
        return concluded
    return [
        said if not _is_taken(result) else _taken(of.sop_class_uid, one)
        for of, (one, result), said in zip(placed, pairs, concluded, strict=True)
    ]


def _is_taken(result: Result) -> bool:
    rejected = isinstance(result, InvalidDataset) and result.reason == FailureReason.NOT_AUTHORIZED
    return isinstance(result, Present) or (rejected and result is not NOT_ADMITTED)


def _taken(sop_class_uid: str, one: NewInstance) -> Failed:
    """Return what is said to who may see nothing of what is here already, or was rejected: not
    whether it is the same."""
    comment = "this SOP Instance UID is taken"
    return Failed(FailureReason.DUPLICATE_INSTANCE, comment, sop_class_uid, one.ref.instance)


async def _conclude(
    archive: Archive,
    principal: Principal,
    one: NewInstance,
    result: Result,
    sop_class_uid: str,
    unwanted: set[str],
) -> Stored | Failed:
    """Say what became of one Instance after the writer's result; one that lost bytes is mended.

    An object that a row may name by now leaves `unwanted`, also where nobody knows (the writer's
    rule): the sweeper takes it if none does.
    """
    uid, warnings = one.ref.instance, one.scanned.warnings
    if result is None:
        return Stored(one.ref, sop_class_uid, warnings=warnings)
    if isinstance(result, InvalidDataset):
        return Failed(result.reason, str(result), sop_class_uid, uid)
    if not await is_same(archive, one, result):
        comment = "another Instance has this SOP Instance UID; it stays"
        return Failed(FailureReason.DUPLICATE_INSTANCE, comment, sop_class_uid, uid)
    if await is_whole(archive, result):
        return Stored(result.ref, sop_class_uid, known=True, warnings=warnings)
    unwanted.discard(one.object_key)
    if await mend(archive, principal, result, one):
        return Stored(result.ref, sop_class_uid, warnings=warnings)
    unwanted.add(one.object_key)
    comment = "its stored bytes are lost; the very same ones would mend it"
    return Failed(FailureReason.PROCESSING_FAILURE, comment, sop_class_uid, uid)


async def _log_refusals(
    archive: Archive,
    principal: Principal,
    pairs: Sequence[tuple[NewInstance, Result]],
    concluded: Sequence[Stored | Failed],
) -> None:
    """Log that other content came under a UID that is taken: both digests, no patient data."""
    refused = [
        {
            "study": one.ref.study,
            "series": one.ref.series,
            "instance": one.ref.instance,
            "sha256": one.sha256.hex(),
            "present": {"study": result.ref.study, "sha256": result.sha256.hex()},
        }
        for (one, result), conclusion in zip(pairs, concluded, strict=True)
        if isinstance(result, Present) and isinstance(conclusion, Failed)
    ]
    if refused:
        tenant, name = principal.scope.tenant_id, principal.signature
        async with archive.transaction() as session:
            await append_event(session, tenant, name, "refused", {"instances": refused})
