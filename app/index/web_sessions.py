"""Browser sessions: found by the SHA-256 of what the cookie holds."""

from typing import Any

from app.index.access import scope_of, visible_arguments
from app.index.engine import Index
from app.index.pool import Connection
from app.rights import Principal, Verb

SEEN_SECONDS = 60
"""How exactly it is known when a session was last used, at least a tenth of the time allowed."""
_ADD = """
INSERT INTO web_session (digest, tenant_id, name, kind, verbs, scope, expires_at)
VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, now() + make_interval(secs => $7))
"""
_FIND = f"""
SELECT tenant_id, name, kind, verbs, scope,
    last_seen_at < now() - make_interval(secs => least({SEEN_SECONDS}, $2::float8 / 10)) AS unseen
FROM web_session
WHERE digest = $1 AND ended_at IS NULL AND expires_at > now()
    AND last_seen_at > now() - make_interval(secs => $2::float8)
"""  # noqa: S608 - our own number
_SEE = """
UPDATE web_session SET last_seen_at = greatest(last_seen_at, now())
WHERE digest = $1 AND ended_at IS NULL
"""
_END = """
UPDATE web_session SET ended_at = now() WHERE digest = $1 AND ended_at IS NULL
RETURNING tenant_id, name, kind, verbs, scope
"""
_END_OF = """
UPDATE web_session SET ended_at = now()
WHERE tenant_id = $1 AND name = $2 AND ended_at IS NULL AND expires_at > now()
RETURNING true
"""
_FORGET = "DELETE FROM web_session WHERE expires_at < now() - interval '1 day'"


async def add_session(index: Index, digest: bytes, principal: Principal, seconds: float) -> None:
    """Begin a session of a caller, which ends after so many seconds at the latest.

    Those that are over since a day are forgotten.

    Raises:
        Unavailable: the index does not answer.
    """
    scope = principal.scope
    kept = (principal.name, principal.kind, sorted(principal.verbs), visible_arguments(scope)[1])
    async with index.writing() as connection:
        await connection.execute(_FORGET)
        await connection.execute(_ADD, digest, scope.tenant_id, *kept, seconds)


async def find_session(index: Index, digest: bytes, idle_seconds: float) -> Principal | None:
    """Return whose session it is, and note that it was used; None if it is over or none.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_FIND, digest, idle_seconds)
    if row is None:
        return None
    if row["unseen"]:
        await index.fetch(_SEE, digest)
    return _principal(row)


async def end_session(index: Index, digest: bytes) -> Principal | None:
    """End a session; return whose it was, None if there was none.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(_END, digest)
    return None if row is None else _principal(row)


async def end_sessions_of(connection: Connection, tenant_id: int, name: str) -> bool:
    """End all sessions of a user, in the transaction that takes or changes the user's rights.

    Says whether there were any.
    """
    return bool(await connection.fetch(_END_OF, tenant_id, name))


def _principal(row: Any) -> Principal:
    scope = scope_of(row["tenant_id"], row["scope"])
    return Principal(row["name"], scope, frozenset(map(Verb, row["verbs"])), row["kind"])
