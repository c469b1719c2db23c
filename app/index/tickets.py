"""Tickets: rights to read one Study for a while, found by the SHA-256 of what their holders show.

A ticket holds what its maker could see when it was made. Whoever takes or changes the rights of a
maker ends the maker's tickets, in the same transaction (`end_tickets_of`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.dicom.uids import StudyRef
from app.errors import NotFound
from app.index.access import STUDY, reference_arguments, scope_of, visible_arguments
from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import Principal, Scope, Verb

_SEES = f"SELECT true {STUDY}"
_COLUMNS = (
    "id, study_instance_uid, verbs, made_by, maker_kind, made_at, expires_at, scope, tenant_id"
)
_ADD = f"""
INSERT INTO ticket (tenant_id, digest, study_instance_uid, verbs, scope, made_by, maker_kind,
    expires_at)
SELECT $1, $2, $3, $4, $5::text::jsonb, $6, $7, least(now() + make_interval(secs => $8), (
    SELECT expires_at FROM api_key WHERE $7 IN ('key', 'service') AND revoked_at IS NULL
        AND api_key.tenant_id = $1 AND name = $6))
RETURNING {_COLUMNS}
"""  # noqa: S608 - our own text, as below
_FIND = f"""
SELECT {_COLUMNS} FROM ticket WHERE digest = $1 AND revoked_at IS NULL AND expires_at > now()
"""  # noqa: S608
_LIST = f"""
SELECT {_COLUMNS} FROM ticket
WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now()
    AND ($2::text IS NULL OR (made_by = $2 AND maker_kind = $3)) AND id > $4
ORDER BY id LIMIT $5
"""  # noqa: S608
_REVOKE = """
UPDATE ticket SET revoked_at = now()
WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL AND expires_at > now()
    AND ($3::text IS NULL OR (made_by = $3 AND maker_kind = $4))
RETURNING study_instance_uid
"""
_END_OF = """
UPDATE ticket SET revoked_at = now()
WHERE tenant_id = $1 AND maker_kind = $2 AND made_by = $3 AND revoked_at IS NULL
    AND expires_at > now()
RETURNING id
"""
_FORGET = "DELETE FROM ticket WHERE expires_at < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket allows, on which Study, by whom it was made and until when."""

    number: int
    study: str
    verbs: frozenset[Verb]
    maker: str
    maker_kind: str
    made_at: datetime
    expires_at: datetime
    scope: Scope

    @property
    def principal(self) -> Principal:
        """Who shows it; the name says who has given it."""
        return Principal(f"{self.maker} (ticket {self.number})", self.scope, self.verbs, "ticket")


async def add_ticket(
    index: Index, maker: Principal, ticket: Principal, study: str, digest: bytes, seconds: float
) -> Ticket:
    """Make a ticket that allows what `ticket` may, for so many seconds, and log it.

    Those that are over since a day are forgotten.

    Raises:
        NotFound: there is no such Study, or the scope of `ticket` does not cover it.
        Unavailable: the index does not answer.
    """
    scope, verbs = ticket.scope, sorted(ticket.verbs)

    async def add(connection: Connection) -> Ticket:
        if not await connection.fetchval(_SEES, *reference_arguments(scope, StudyRef(study))):
            raise NotFound("Study", study)
        await connection.execute(_FORGET)
        values = (study, verbs, visible_arguments(scope)[1], maker.name, maker.kind, seconds)
        made = _read(await connection.fetchrow(_ADD, scope.tenant_id, digest, *values))
        until = made.expires_at.isoformat()
        payload = {"ticket": made.number, "study": study, "verbs": verbs, "until": until}
        await log_event(connection, scope.tenant_id, "ticket-made", maker.name, payload)
        return made

    return await index.retrying(add)


async def find_ticket(index: Index, digest: bytes) -> Ticket | None:
    """Return a ticket that is in force, None if there is none.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_FIND, digest)
    return None if row is None else _read(row)


async def list_tickets(
    index: Index, tenant_id: int, maker: Principal | None, after: int, most: int
) -> Sequence[Ticket]:
    """Return up to `most` tickets that are in force, by number, those of one maker or of all.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_LIST, tenant_id, *_maker(maker), after, most)
    return [_read(row) for row in rows]


async def revoke_ticket(
    index: Index, actor: Principal, number: int, maker: Principal | None
) -> None:
    """End a ticket, one of a maker or of anybody, and log it.

    Raises:
        NotFound: there is no such ticket in force.
        Unavailable: the index does not answer.
    """
    tenant_id = actor.scope.tenant_id

    async def revoke(connection: Connection) -> None:
        study = await connection.fetchval(_REVOKE, tenant_id, number, *_maker(maker))
        if study is None:
            raise NotFound("Ticket", str(number))
        payload = {"ticket": number, "study": study}
        await log_event(connection, tenant_id, "ticket-revoked", actor.name, payload)

    await index.retrying(revoke)


async def end_tickets_of(connection: Connection, tenant_id: int, kind: str, name: str) -> bool:
    """End all tickets of a maker, in the transaction that takes or changes the maker's rights.

    Says whether there were any.
    """
    return bool(await connection.fetch(_END_OF, tenant_id, kind, name))


def _maker(maker: Principal | None) -> tuple[str | None, str | None]:
    return (None, None) if maker is None else (maker.name, maker.kind)


def _read(row: Any) -> Ticket:
    return Ticket(
        number=row["id"],
        study=row["study_instance_uid"],
        verbs=frozenset(map(Verb, row["verbs"])),
        maker=row["made_by"],
        maker_kind=row["maker_kind"],
        made_at=row["made_at"],
        expires_at=row["expires_at"],
        scope=scope_of(row["tenant_id"], row["scope"]),
    )
