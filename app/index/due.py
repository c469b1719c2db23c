"""What a rule takes now: counted and shown before it acts, then taken a Study at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.dicom.uids import StudyRef
from app.errors import Changed
from app.index.engine import Index
from app.index.holds import refuse_held
from app.index.keeping import share_rules
from app.index.pool import Connection
from app.index.removal import DELETED, remove
from app.index.retention_rules import IS_HELD, IS_KEPT, KEEPS, TAKES, Rule
from app.rights import Scope

SAMPLE = 10
"""Studies that a preview shows."""

_MATCHED = f"""
SELECT study.id, study_instance_uid, study_date, number_of_instances, size, version,
    {IS_HELD} AS held, {IS_KEPT} AS kept
FROM retention_rule rule JOIN study ON study.tenant_id = rule.tenant_id
WHERE rule.tenant_id = $1 AND rule.id = $2 AND ({TAKES} OR {KEEPS})
"""  # noqa: S608 - our own text, as below
PREVIEW = f"""
WITH matched AS MATERIALIZED ({_MATCHED}), taken AS (
    SELECT * FROM matched WHERE $3 OR NOT (held OR kept))
SELECT count(*) AS studies, coalesce(sum(number_of_instances), 0)::bigint AS instances,
    coalesce(sum(size), 0)::bigint AS bytes,
    (SELECT count(*) FROM matched WHERE held) AS held,
    (SELECT count(*) FROM matched WHERE kept AND NOT held) AS kept,
    ARRAY(SELECT study_instance_uid FROM taken ORDER BY study_date, id LIMIT {SAMPLE}) AS sample
FROM taken
"""  # noqa: S608
DUE = f"""
SELECT id, study_instance_uid, version FROM ({_MATCHED}) AS matched
WHERE id > $3 AND NOT (held OR kept) ORDER BY id LIMIT $4
"""  # noqa: S608
IS_ACTIVE = """
SELECT true FROM retention_rule
WHERE tenant_id = $1 AND id = $2 AND action = 'delete' AND activated_at IS NOT NULL
"""
LOCK = "SELECT 1 FROM study WHERE id = $1 FOR UPDATE"
IS_TAKEN = f"""
SELECT true FROM study JOIN retention_rule rule ON rule.tenant_id = study.tenant_id
WHERE study.id = $1 AND rule.id = $2 AND {TAKES}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would delete now, or what it keeps from deletion; `bytes` are of objects.

    `held` and `kept` are Studies that it would delete were there no hold and no rule that keeps.
    `sample` has the UIDs of the oldest Studies.
    """

    studies: int
    instances: int
    bytes: int
    held: int
    kept: int
    sample: Sequence[str]


@dataclass(frozen=True, slots=True)
class Due:
    """A Study that a rule takes, at the version at which it was found."""

    key: int
    study: str
    version: int


async def preview_rule(index: Index, tenant_id: int, rule: Rule) -> Preview:
    """Count what a rule takes now, active or not; what is held or kept is counted apart.

    Raises:
        Unavailable: the index does not answer in time.
    """
    keeps = rule.terms.action == "keep"
    (row,) = await index.search(PREVIEW, tenant_id, rule.id, keeps)
    if keeps:
        return Preview(**{**row, "held": 0, "kept": 0})
    return Preview(**row)


async def list_due(index: Index, tenant_id: int, rule: Rule, after: int, most: int) -> list[Due]:
    """Return up to `most` Studies that a rule takes now and whose keys come `after` one.

    Raises:
        Unavailable: the index does not answer in time.
    """
    rows = await index.search(DUE, tenant_id, rule.id, after, most)
    return [Due(*row) for row in rows]


async def remove_due(index: Index, tenant_id: int, rule: Rule, due: Due, actor: str) -> int:
    """Delete a Study by an active rule, if it is as it was found; return how many Instances.

    0: the rule is not active any more, or the Study is gone.

    Raises:
        Changed: the Study, or what labels it bears, has changed since.
        Conflict: it is held, or another rule keeps it.
        Unavailable: the index does not answer.
    """

    def guard(version: str, _: datetime | None) -> None:
        if version != f"{due.key}.{due.version}":
            raise Changed("the Study has changed since the rule found it")

    async def work(connection: Connection) -> int:
        await share_rules(connection, tenant_id)
        if not await connection.fetchval(IS_ACTIVE, tenant_id, rule.id):
            return 0
        await refuse_held(connection, tenant_id, due.study)
        await connection.execute(LOCK, due.key)  # whoever changes its labels waits
        if not await connection.fetchval(IS_TAKEN, due.key, rule.id):
            raise Changed("the rule does not take the Study any more")
        scope = Scope(tenant_id)
        return await remove(connection, scope, StudyRef(due.study), actor, DELETED, guard)

    index.known.clear()
    return await index.retrying(work)
