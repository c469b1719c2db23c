"""Legal holds: a Study that nobody removes, neither by hand nor by a rule nor by a purge.

A hold is of a Study's UID, so it stands while the Study has no row, too. Who removes anything of a
Study shares a lock on its UID until the transaction ends; who puts a hold on it takes that lock
alone. So when a hold has been answered for, whatever removed something before is over, and whatever
comes after sees the hold.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.errors import Conflict, NotFound
from app.index.access import VISIBLE, covered, covers, visible_arguments
from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import Scope

_KEY = "hashtextextended('hold ' || {tenant} || ' ' || {study}, 0)"

SHARE = f"""
SELECT pg_advisory_xact_lock_shared(key) FROM (
    SELECT DISTINCT {_KEY.format(tenant="tenant", study="study")} AS key
    FROM unnest($1::integer[], $2::text[]) AS wanted (tenant, study) ORDER BY 1
) AS ordered
"""  # noqa: S608 - our own text, as below
LOCK = f"SELECT pg_advisory_xact_lock({_KEY.format(tenant='$1::integer', study='$2::text')})"

IS_HELD = "SELECT true FROM hold WHERE tenant_id = $1 AND study_instance_uid = $2"

IS_KNOWN = f"""
SELECT true FROM study WHERE {VISIBLE} AND study_instance_uid = $3
UNION ALL
SELECT true FROM removed_instance WHERE tenant_id = $1 AND study_instance_uid = $3
    AND {covered("$3")}
LIMIT 1
"""  # noqa: S608

PUT = """
INSERT INTO hold AS old (tenant_id, study_instance_uid, reason, held_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, study_instance_uid) DO UPDATE
    SET reason = excluded.reason, held_by = excluded.held_by, held_at = now()
    WHERE old.reason <> excluded.reason
RETURNING true
"""
RELEASE = "DELETE FROM hold WHERE tenant_id = $1 AND study_instance_uid = $2 RETURNING true"
LIST = f"""
SELECT study_instance_uid, reason, held_by, held_at FROM hold
WHERE tenant_id = $1 AND {covered("hold.study_instance_uid")} AND study_instance_uid > $3
ORDER BY study_instance_uid LIMIT $4
"""  # noqa: S608
FIND = LIST.replace("> $3", "= $3")


@dataclass(frozen=True, slots=True)
class Hold:
    """That a Study is held: why, by whom and since when. The reason is for administrators."""

    study: str
    reason: str
    by: str
    at: datetime


async def share_locks(connection: Connection, studies: Collection[tuple[int, str]]) -> None:
    """Keep holds from being put on Studies (tenant and UID) until the transaction ends.

    Waits for those that are being put on; they can be seen after this, by a new statement.
    """
    tenants, uids = [tenant for tenant, _ in studies], [uid for _, uid in studies]
    await connection.fetch(SHARE, tenants, uids)


async def refuse_held(connection: Connection, tenant_id: int, study: str) -> None:
    """See that a Study is not held, and will not be until the transaction ends.

    Raises:
        Conflict: it is.
    """
    await share_locks(connection, [(tenant_id, study)])
    if await connection.fetchval(IS_HELD, tenant_id, study):
        raise Conflict(
            f"Study {study} is under legal hold, and nothing of it may go; its hold says why, to "
            "administrators"
        )


async def put_hold(index: Index, scope: Scope, study: str, actor: str, reason: str) -> Hold:
    """Put a hold on a Study, or give the one that is there another reason.

    Raises:
        NotFound: the archive neither has nor had such a Study, or the scope does not cover it.
        Unavailable: the index does not answer, or what removes something takes too long.
    """

    async def put(connection: Connection) -> None:
        await connection.fetchval(LOCK, scope.tenant_id, study)
        if not await connection.fetchval(IS_KNOWN, *visible_arguments(scope), study):
            raise NotFound("Study", study)
        if await connection.fetchval(PUT, scope.tenant_id, study, reason, actor):
            payload = {"study": study, "because": reason}
            await log_event(connection, scope.tenant_id, "held", actor, payload)

    await index.retrying(put)
    return await find_hold(index, scope, study)


async def release_hold(index: Index, scope: Scope, study: str, actor: str) -> None:
    """Take the hold off a Study.

    Raises:
        NotFound: there is none, or the scope does not cover the Study.
        Unavailable: the index does not answer.
    """

    async def release(connection: Connection) -> None:
        seen = await covers(connection, scope, study)
        if not seen or not await connection.fetchval(RELEASE, scope.tenant_id, study):
            raise NotFound("A hold on Study", study)
        await log_event(connection, scope.tenant_id, "released", actor, {"study": study})

    await index.retrying(release)


async def find_hold(index: Index, scope: Scope, study: str) -> Hold:
    """Return the hold on a Study.

    Raises:
        NotFound: there is none, or the scope does not cover the Study.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, *visible_arguments(scope), study, 1)
    if row is None:
        raise NotFound("A hold on Study", study)
    return Hold(*row)


async def list_holds(index: Index, scope: Scope, after: str, most: int) -> Sequence[Hold]:
    """Return up to `most` holds on Studies whose UIDs come `after` one, in order of UID.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Hold(*row) for row in await index.fetch(LIST, *visible_arguments(scope), after, most)]
