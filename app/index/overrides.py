"""Studies that somebody opened in an emergency: whose they are, why, and until when.

They widen the scope of the one who opened them; `access` reads them from its `also`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.dicom.uids import StudyRef
from app.errors import Conflict, NotFound
from app.index.access import STUDY, reference_arguments
from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import Principal, Scope

BROKE_GLASS, OVERRIDE_ENDED = "broke-glass", "override-ended"
"""Kinds of events."""
MOST = 20
"""That one caller has in force at once."""
_SEES = f"SELECT true {STUDY}"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 19))"
_IN_FORCE = "ended_at IS NULL AND expires_at > now()"
_COLUMNS = "id, study_instance_uid, name, kind, reason, begun_at, expires_at"
_ADD = f"""
INSERT INTO emergency_override (tenant_id, name, kind, study_instance_uid, reason, expires_at)
SELECT $1, $2, $3, $4, $5, now() + make_interval(secs => $6)
WHERE (SELECT count(*) FROM emergency_override
    WHERE tenant_id = $1 AND name = $2 AND kind = $3 AND {_IN_FORCE}) < {MOST}
RETURNING {_COLUMNS}
"""  # noqa: S608 - our own text, as below
_OPENED = f"""
SELECT study_instance_uid FROM emergency_override
WHERE tenant_id = $1 AND name = $2 AND kind = $3 AND {_IN_FORCE}
"""  # noqa: S608
_LIST = f"""
SELECT {_COLUMNS} FROM emergency_override
WHERE tenant_id = $1 AND {_IN_FORCE} AND ($2::text IS NULL OR (name = $2 AND kind = $3)) AND id > $4
ORDER BY id LIMIT $5
"""  # noqa: S608
_END = f"""
UPDATE emergency_override SET ended_at = now()
WHERE tenant_id = $1 AND id = $2 AND {_IN_FORCE} AND ($3::text IS NULL OR (name = $3 AND kind = $4))
RETURNING study_instance_uid, name
"""  # noqa: S608
_END_OF = """
UPDATE emergency_override SET ended_at = now()
WHERE tenant_id = $1 AND name = $2 AND kind = $3 AND ended_at IS NULL AND expires_at > now()
RETURNING id
"""
_FORGET = "DELETE FROM emergency_override WHERE expires_at < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Override:
    """A Study that somebody, who is `name` and `kind`, sees beyond their scope for a while."""

    number: int
    study: str
    name: str
    kind: str
    reason: str
    begun_at: datetime
    expires_at: datetime


async def add_override(
    index: Index, caller: Principal, study: str, reason: str, seconds: float
) -> Override:
    """Open a Study of the caller's tenant to the caller for so many seconds, and log it.

    Those that are over since a day are forgotten; the log has them.

    Raises:
        Conflict: the caller sees the Study anyway, or has opened too many.
        NotFound: the tenant has no such Study.
        Unavailable: the index does not answer.
    """
    scope = caller.scope

    async def add(connection: Connection) -> Override:
        ref, all_of_tenant = StudyRef(study), Scope(scope.tenant_id)
        if not await connection.fetchval(_SEES, *reference_arguments(all_of_tenant, ref)):
            raise NotFound("Study", study)
        if await connection.fetchval(_SEES, *reference_arguments(scope, ref)):
            raise Conflict("You see this Study as it is")
        await connection.execute(_FORGET)
        await connection.execute(_LOCK, f"{scope.tenant_id} {caller.kind} {caller.name}")
        values = (scope.tenant_id, caller.name, caller.kind, study, reason, seconds)
        row = await connection.fetchrow(_ADD, *values)
        if row is None:
            raise Conflict(f"You have opened {MOST} Studies; end one of them first")
        made = _read(row)
        payload = {
            "override": made.number,
            "study": study,
            "because": reason,
            "until": made.expires_at.isoformat(),
        }
        await log_event(connection, scope.tenant_id, BROKE_GLASS, caller.name, payload)
        return made

    return await index.retrying(add)


async def opened_studies(index: Index, caller: Principal) -> frozenset[str]:
    """Return the UIDs of what a caller has opened and may still see.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_OPENED, caller.scope.tenant_id, caller.name, caller.kind)
    return frozenset(row[0] for row in rows)


async def list_overrides(
    index: Index, tenant_id: int, whose: Principal | None, after: int, most: int
) -> Sequence[Override]:
    """Return up to `most` that are in force, by number, those of one caller or of all.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(_LIST, tenant_id, *_of(whose), after, most)
    return [_read(row) for row in rows]


async def end_override(
    index: Index, actor: Principal, number: int, whose: Principal | None
) -> None:
    """End one before its time, one of a caller or anybody's, and log it.

    Raises:
        NotFound: there is none of this number in force.
        Unavailable: the index does not answer.
    """
    tenant_id = actor.scope.tenant_id

    async def end(connection: Connection) -> None:
        row = await connection.fetchrow(_END, tenant_id, number, *_of(whose))
        if row is None:
            raise NotFound("Override", str(number))
        study, user = row["study_instance_uid"], {"name": row["name"]}
        payload = {"override": number, "study": study, "user": user}
        await log_event(connection, tenant_id, OVERRIDE_ENDED, actor.name, payload)

    await index.retrying(end)


async def end_overrides_of(connection: Connection, tenant_id: int, kind: str, name: str) -> bool:
    """End all of a caller, in the transaction that takes or changes the caller's rights.

    Says whether there were any.
    """
    return bool(await connection.fetch(_END_OF, tenant_id, name, kind))


def _of(whose: Principal | None) -> tuple[str | None, str | None]:
    return (None, None) if whose is None else (whose.name, whose.kind)


def _read(row: Any) -> Override:
    return Override(
        number=row["id"],
        study=row["study_instance_uid"],
        name=row["name"],
        kind=row["kind"],
        reason=row["reason"],
        begun_at=row["begun_at"],
        expires_at=row["expires_at"],
    )
