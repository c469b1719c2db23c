"""Tickets: links to one Study for viewers and `<img>`, which can send no header.

Whoever may view can give a part of that right on, for hours at most: reading, of one Study.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace

from app.archive.context import Archive
from app.archive.remembered import LEASE_SECONDS
from app.errors import Forbidden, InvalidRequest
from app.index import tickets
from app.index.overrides import end_overrides_of
from app.index.tickets import Ticket
from app.index.web_sessions import end_sessions_of
from app.rights import Principal, Verb

PREFIX = "frt_"
MOST_MINUTES = 480
GIVEN = frozenset({Verb.SEARCH, Verb.VIEW, Verb.DOWNLOAD})
"""What a ticket can allow."""


def ticket_digest(value: str) -> bytes:
    """Return what a ticket is found by."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


async def make_ticket(
    archive: Archive, principal: Principal, study: str, minutes: float, verbs: Collection[Verb]
) -> tuple[Ticket, str]:
    """Return a new ticket for a Study, and the secret that its holder shows, which is not kept.

    It allows those of `verbs` that `principal` has, on what of the Study `principal` may see.

    Raises:
        Forbidden: `principal` may do nothing of it, or is a ticket.
        InvalidRequest: too many minutes, or a verb that no ticket allows.
        NotFound: there is no such Study, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    if not 0 < minutes <= MOST_MINUTES:
        raise InvalidRequest(f"A ticket is for up to {MOST_MINUTES} minutes")
    if not verbs or not GIVEN.issuperset(verbs):
        raise InvalidRequest(f"A ticket allows {', '.join(sorted(GIVEN))}, or some of that")
    allowed = principal.verbs.intersection(verbs)
    if not allowed or principal.kind == "ticket":
        raise Forbidden("You may give no right that you do not have")
    value = PREFIX + secrets.token_urlsafe(32)
    scope, seen = principal.scope, frozenset({study})
    if scope.studies is not None:
        seen &= scope.studies
    bearer = Principal("ticket", replace(scope, studies=seen, also=frozenset()), allowed, "ticket")
    digest, seconds = ticket_digest(value), 60 * minutes
    made = await tickets.add_ticket(archive.index, principal, bearer, study, digest, seconds)
    return made, value


async def find_ticket(archive: Archive, value: str) -> Ticket | None:
    """Return the ticket that somebody shows, None if there is none in force.

    Raises:
        Unavailable: the index does not answer.
    """
    return await tickets.find_ticket(archive.index, ticket_digest(value))


async def list_tickets(
    archive: Archive, principal: Principal, after: int, most: int
) -> Sequence[Ticket]:
    """Return up to `most` tickets in force whose numbers are above `after`: one's own, or all of
    the tenant for who administers all of it.

    Raises:
        Unavailable: the index does not answer.
    """
    maker = _whose(principal)
    return await tickets.list_tickets(archive.index, principal.scope.tenant_id, maker, after, most)


async def revoke_ticket(archive: Archive, principal: Principal, number: int) -> None:
    """End a ticket of one's own, or any of the tenant for who administers all of it.

    When this returns no process lets anybody in by it any more.

    Raises:
        NotFound: there is no such ticket in force, or it is another's.
        Unavailable: the index does not answer.
    """
    await tickets.revoke_ticket(archive.index, principal, number, _whose(principal))
    await asyncio.sleep(LEASE_SECONDS)


async def end_given(archive: Archive, tenant_id: int, kind: str, name: str) -> None:
    """End what somebody was given, opened or gave on just before their rights were over.

    For who withdraws rights: after no process knows them any more. When this returns no process
    knows of that either.

    Raises:
        Unavailable: the index does not answer.
    """
    async with archive.index.writing() as connection:
        tickets_ended = await tickets.end_tickets_of(connection, tenant_id, kind, name)
        opened = await end_overrides_of(connection, tenant_id, kind, name)
        late = kind == "user" and await end_sessions_of(connection, tenant_id, name)
    if tickets_ended or opened or late:
        await asyncio.sleep(LEASE_SECONDS)


def _whose(principal: Principal) -> Principal | None:
    """Return whose tickets somebody sees: all, where nothing is hidden, else the caller's own."""
    sees_all = Verb.ADMINISTER in principal.verbs and principal.scope.is_whole
    return None if sees_all else principal
