"""Rules that keep: what has not been kept long enough is not deleted.

Who deletes shares the lock on rules until the transaction ends, so a rule that was answered for
holds for whatever comes after.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app.errors import Conflict
from app.index.clock import NOW
from app.index.packing import make_dictionary, unpack_metadata
from app.index.pool import Connection
from app.index.retention_rules import KEEPS, LIST, SHARE, Action, CountedFrom, Rule, make_rule

FIND_KEEPER = f"""
SELECT name FROM study JOIN retention_rule rule ON rule.tenant_id = study.tenant_id
WHERE study.tenant_id = $1 AND study_instance_uid = $2 AND activated_at IS NOT NULL AND {KEEPS}
ORDER BY rule.id LIMIT 1
"""  # noqa: S608 - our own text
LABELS_OF = "SELECT label FROM study_label WHERE tenant_id = $1 AND study_instance_uid = $2"
_STUDY_DATE, _MODALITY = "00080020", "00080060"
_INSTITUTION, _STATION = "00080080", "00081010"


async def share_rules(connection: Connection, tenant_id: int) -> None:
    """Keep rules from being changed until the transaction ends; those under way are waited for."""
    await connection.fetchval(SHARE, tenant_id)


async def refuse_kept(connection: Connection, tenant_id: int, study: str) -> None:
    """See that no rule keeps a Study; the lock on rules is shared.

    Raises:
        Conflict: one does.
    """
    name = await connection.fetchval(FIND_KEEPER, tenant_id, study)
    if name is not None:
        raise _kept(study, name)


async def refuse_kept_rejected(
    connection: Connection, tenant_id: int, study: str, page: Sequence[Any]
) -> None:
    """See that no rule keeps Instances that were rejected, by labels and what their Metadata says.

    Raises:
        Conflict: one does.
    """
    rules = [make_rule(row) for row in await connection.fetch(LIST, tenant_id)]
    keeping = [one for one in rules if one.terms.action is Action.KEEP and one.activated_at]
    if any(one.terms.labels for one in keeping):
        borne = {row["label"] for row in await connection.fetch(LABELS_OF, tenant_id, study)}
        keeping = [one for one in keeping if not one.terms.labels or borne & {*one.terms.labels}]
    seen: datetime = await connection.fetchval(NOW)
    for row in page if keeping else ():
        metadata = orjson.loads(unpack_metadata(make_dictionary(b""), row["metadata"]))
        for rule in keeping:
            if _keeps(rule, metadata, row["stored_at"], seen):
                raise _kept(study, rule.terms.name)


def _keeps(rule: Rule, metadata: dict[str, Any], stored_at: datetime, seen: datetime) -> bool:
    terms = rule.terms
    for wanted, tag in (
        (terms.modalities, _MODALITY),
        (terms.stations, _STATION),
        (terms.institutions, _INSTITUTION),
    ):
        if wanted and _text(metadata, tag) not in wanted:
            return False
    first = seen.astimezone(UTC) - timedelta(days=terms.days)
    date = _text(metadata, _STUDY_DATE)
    if terms.counted_from is CountedFrom.STUDY_DATE and len(date) == len("YYYYMMDD"):
        return date > f"{first:%Y%m%d}"
    return stored_at > first


def _text(metadata: dict[str, Any], tag: str) -> str:
    values = metadata.get(tag, {}).get("Value") or [""]
    return str(values[0] or "").strip()


def _kept(study: str, name: str) -> Conflict:
    return Conflict(f"Study {study} may not be deleted yet: the retention rule {name!r} keeps it")
