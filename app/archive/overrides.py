"""Break-glass: in an emergency somebody opens one Study beyond their scope, with a reason, loudly.

It is for people alone, whose role permits it, and for reading. Nothing is widened for long: it ends
by itself, and who may administer all can end it before.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from app.archive.context import Archive
from app.archive.remembered import LEASE_SECONDS
from app.errors import Forbidden, InvalidRequest
from app.index import overrides
from app.index.overrides import Override
from app.rights import Principal, Verb

SHORTEST_REASON, LONGEST_REASON = 10, 1000
PEOPLE = frozenset({"user", "token"})
"""Kinds of callers who can be in an emergency."""
_log = logging.getLogger(__name__)


def may_override(principal: Principal) -> bool:
    """Say whether somebody may open what they do not see."""
    return Verb.OVERRIDE in principal.verbs and principal.kind in PEOPLE


async def break_glass(
    archive: Archive, principal: Principal, study: str, reason: str, seconds: float
) -> Override:
    """Let a person see one Study of the tenant, beyond their scope, for so many seconds.

    When this returns every process lets them. The reason goes into the log: it should name no
    Patient.

    Raises:
        Conflict: the Study is seen anyway, or too many are open.
        Forbidden: it is no person, or one whose role does not permit it.
        InvalidRequest: the reason is very short or very long.
        NotFound: there is no such Study.
        Unavailable: the index does not answer.
    """
    if not may_override(principal):
        raise Forbidden("Opening a study in an emergency is not allowed to you")
    reason = " ".join(reason.split())
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise InvalidRequest(
            f"A reason of {SHORTEST_REASON} to {LONGEST_REASON} characters was expected"
        )
    caller = replace(principal, scope=replace(principal.scope, also=frozenset()))
    made = await overrides.add_override(archive.index, caller, study, reason, seconds)
    _log.warning(
        "in an emergency %s opens Study %s until %s (override %d)",
        *(made.name, study, f"{made.expires_at:%Y-%m-%d %H:%M:%S%z}", made.number),
    )
    await asyncio.sleep(LEASE_SECONDS)
    return made


async def widened(archive: Archive, principal: Principal) -> Principal:
    """Return a person with what they have opened in an emergency.

    Raises:
        Unavailable: the index does not answer.
    """
    also = await overrides.opened_studies(archive.index, principal)
    return replace(principal, scope=replace(principal.scope, also=also)) if also else principal


async def list_overrides(
    archive: Archive, principal: Principal, after: int, most: int
) -> Sequence[Override]:
    """Return up to `most` in force whose numbers are above `after`: one's own, or all of the tenant
    for who administers or audits all of it.

    Raises:
        Unavailable: the index does not answer.
    """
    watches = principal.verbs & {Verb.ADMINISTER, Verb.AUDIT} and principal.scope.is_whole
    whose = None if watches else principal
    return await overrides.list_overrides(
        archive.index, principal.scope.tenant_id, whose, after, most
    )


async def end_override(archive: Archive, principal: Principal, number: int) -> None:
    """End one of one's own, or any of the tenant for who administers all of it.

    When this returns no process shows the Study by it any more.

    Raises:
        NotFound: there is none of this number in force, or it is another's.
        Unavailable: the index does not answer.
    """
    whose = None if principal.administers_all else principal
    await overrides.end_override(archive.index, principal, number, whose)
    _log.warning("%s ends override %d", principal.name, number)
    await asyncio.sleep(LEASE_SECONDS)
