"""Performed steps in the index; what becomes of them shows on the worklist at once."""

from collections.abc import Callable

from app.dicom.performed_step import PerformedStep
from app.dicom.scheduled_step import OVER, SCHEDULED
from app.errors import Duplicate, NotFound
from app.index.access import covered, visible_arguments
from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import Scope

KIND = "step-performed"
_VISIBLE = f"""tenant_id = $1 AND ($2::jsonb IS NULL OR NOT EXISTS (
    SELECT FROM unnest(performed_step.studies) AS its (uid) WHERE NOT {covered("its.uid")}))"""
ADD = """
INSERT INTO performed_step (tenant_id, sop_instance_uid, status, studies, document)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, sop_instance_uid) DO NOTHING RETURNING id
"""
FIND = f"SELECT id, document FROM performed_step WHERE {_VISIBLE} AND sop_instance_uid = $3"  # noqa: S608
LOCK = f"{FIND} FOR UPDATE"
CHANGE = "UPDATE performed_step SET status = $2, document = $3, changed_at = now() WHERE id = $1"
SHOW = """
UPDATE scheduled_step SET status = $4, changed_at = now()
FROM unnest($2::text[], $3::text[]) AS performed (study, step)
WHERE tenant_id = $1 AND study_instance_uid = study AND step_id = step AND status <> $4
    AND (status <> ALL($5) OR $6)
"""
"""What the order's owner has said is over is not begun again by a step that goes on."""


async def add_performed(
    index: Index, tenant_id: int, actor: str, uid: str, step: PerformedStep
) -> None:
    """Add a performed step.

    Raises:
        Duplicate: there is one of this UID.
        Unavailable: the index does not answer.
    """
    values = (tenant_id, uid, step.status, step.studies, step.document)

    async def work(connection: Connection) -> None:
        if await connection.fetchval(ADD, *values) is None:
            raise Duplicate(f"There is a Performed Procedure Step {uid} already")
        await _tell(connection, tenant_id, actor, uid, step)

    await index.retrying(work)


async def change_performed(
    index: Index, scope: Scope, actor: str, uid: str, change: Callable[[str], PerformedStep]
) -> None:
    """Change a performed step: `change` makes the new one of its Data Set, or raises.

    Raises:
        NotFound: there is no such step, or the scope does not cover its Studies.
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> None:
        row = await connection.fetchrow(LOCK, *visible_arguments(scope), uid)
        if row is None:
            raise NotFound("Performed Procedure Step", uid)
        step = change(row["document"])
        if step.document == row["document"]:
            return
        await connection.execute(CHANGE, row["id"], step.status, step.document)
        await _tell(connection, scope.tenant_id, actor, uid, step)

    await index.retrying(work)


async def find_performed(index: Index, scope: Scope, uid: str) -> str:
    """Return the Data Set of a performed step as DICOM JSON.

    Raises:
        NotFound: there is no such step, or the scope does not cover its Studies.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, *visible_arguments(scope), uid)
    if row is None:
        raise NotFound("Performed Procedure Step", uid)
    return str(row["document"])


async def _tell(
    connection: Connection, tenant_id: int, actor: str, uid: str, step: PerformedStep
) -> None:
    """Show on the worklist and in the log how far a step is."""
    studies = [one.study_instance_uid for one in step.scheduled]
    names = [one.step_id for one in step.scheduled]
    status = step.scheduled_status
    again = status == SCHEDULED or status in OVER
    await connection.execute(SHOW, tenant_id, studies, names, status, list(OVER), again)
    for study in step.studies:
        said = {"study": study, "step": uid, "status": step.status, "sha256": step.digest}
        await log_event(connection, tenant_id, KIND, actor, said)
