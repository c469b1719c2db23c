"""Legal holds: who may put one on a Study, take it off, and see it."""

from collections.abc import Sequence

from app.archive.context import Archive
from app.errors import Forbidden, InvalidRequest
from app.index import holds
from app.index.holds import Hold
from app.rights import Principal, Verb

LONGEST_REASON = 1000


async def hold_study(archive: Archive, principal: Principal, study: str, reason: str) -> Hold:
    """Put a Study under legal hold: nothing of it is deleted, rejected or purged from now on.

    One that is held already gets another reason. The reason goes into the log: it should name no
    Patient.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: there is no reason, or a very long one.
        NotFound: the archive neither has nor had such a Study, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    _check(principal)
    reason = reason.strip()
    if not 0 < len(reason) <= LONGEST_REASON or "\0" in reason:
        raise InvalidRequest(f"A reason of up to {LONGEST_REASON} characters was expected")
    scope = principal.scope
    held = await holds.put_hold(archive.index, scope, study, principal.name, reason)
    await archive.sealer.settle(scope.tenant_id)
    return held


async def release_study(archive: Archive, principal: Principal, study: str) -> None:
    """Take the hold off a Study.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is none, or `principal` may not see the Study.
        Unavailable: the index does not answer.
    """
    _check(principal)
    await holds.release_hold(archive.index, principal.scope, study, principal.name)
    await archive.sealer.settle(principal.scope.tenant_id)


async def find_hold(archive: Archive, principal: Principal, study: str) -> Hold:
    """Return the hold on a Study; reason and name are empty for who may not administer.

    Raises:
        Forbidden: `principal` may neither administer nor delete.
        NotFound: there is none, or `principal` may not see the Study.
        Unavailable: the index does not answer.
    """
    if not principal.verbs & {Verb.ADMINISTER, Verb.DELETE}:
        raise Forbidden("Holds are for those who delete or administer")
    found = await holds.find_hold(archive.index, principal.scope, study)
    if Verb.ADMINISTER in principal.verbs:
        return found
    return Hold(found.study, "", "", found.at)


async def list_holds(
    archive: Archive, principal: Principal, after: str, most: int
) -> Sequence[Hold]:
    """Return up to `most` holds on Studies whose UIDs come `after` one, in order of UID.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await holds.list_holds(archive.index, principal.scope, after, most)


def _check(principal: Principal) -> None:
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Holds are for administrators")
