"""Under what terms Instances come in, decided in the transaction that adds them.

Who may see some Studies alone adds to those, and makes new ones, which bear the labels of its scope
from then on. Whether a Study is one of those is asked when its row is locked: of two who make the
same Study at once the second finds that of the first. A Study of which there is no row, but which
was removed and may come back, is judged by the labels that are left.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from app.dicom.attributes import series_values
from app.dicom.scanned import ScannedInstance
from app.errors import InvalidDataset
from app.index.access import VISIBLE, covered, holdable, visible_arguments
from app.index.events import log_event
from app.index.ingest_rules import Arrival, load_rules
from app.index.labels import MOST_LABELS, PUT
from app.index.parents import Parents, SeriesName
from app.index.pool import Connection
from app.index.present import Present
from app.rights import Scope

SEEN = f"SELECT study_instance_uid FROM study WHERE {VISIBLE} AND study_instance_uid = ANY($3)"  # noqa: S608
OTHERS = f"""
SELECT uid FROM unnest($3::text[]) AS these (uid)
WHERE ($2::jsonb->'patients' IS NOT NULL OR NOT {covered("these.uid")}) AND (
    EXISTS (SELECT FROM removed_instance gone
        WHERE gone.tenant_id = $1 AND gone.study_instance_uid = these.uid)
    OR EXISTS (SELECT FROM study_label
        WHERE study_label.tenant_id = $1 AND study_label.study_instance_uid = these.uid))
"""  # noqa: S608 - our own text
"""New Studies of which something was there before that the sender could not see."""

NOT_ADMITTED = InvalidDataset("not allowed to be stored here", 0x0124)
"""What is said of all that may not come in, whatever is there."""

_Result: TypeAlias = Present | InvalidDataset | None


@dataclass(frozen=True, slots=True)
class Admission:
    """What the sender may see, the AE that a service says it sends for, and the sender's name."""

    scope: Scope = field(default_factory=Scope)
    calling_ae: str = ""
    sender: str = ""


async def refused_studies(
    connection: Connection, under: Admission | None, parents: Parents
) -> frozenset[str]:
    """Return the UIDs of those locked Studies that a sender may not add to."""
    if under is None or under.scope.is_whole:
        return frozenset()
    arguments = visible_arguments(under.scope)
    made = [uid for uid, study in parents.studies.items() if study.created]
    found = parents.studies.keys() - set(made)
    refused = set(found)
    if found:
        refused -= {row[0] for row in await connection.fetch(SEEN, *arguments, list(found))}
    if made:
        refused |= {row["uid"] for row in await connection.fetch(OTHERS, *arguments, made)}
    return frozenset(refused)


async def admitted_only(
    connection: Connection,
    under: Admission | None,
    admitted: Collection[str],
    results: Sequence[_Result],
) -> list[_Result]:
    """Return what became of Instances of admitted Studies, without what the sender may not know.

    What was rejected, or is here in a Study that it may not see, may not come in.
    """
    if under is None or under.scope.is_whole:
        return [*results]
    seen = set(admitted)
    elsewhere = {one.ref.study for one in results if isinstance(one, Present)} - seen
    if elsewhere:
        arguments = (*visible_arguments(under.scope), list(elsewhere))
        seen |= {row[0] for row in await connection.fetch(SEEN, *arguments)}
    return [_told(one, seen) for one in results]


def _told(result: _Result, seen: Collection[str]) -> _Result:
    if isinstance(result, Present) and result.ref.study not in seen:
        return NOT_ADMITTED
    if isinstance(result, InvalidDataset) and result.reason == NOT_ADMITTED.reason:
        return NOT_ADMITTED
    return result


async def label_new_studies(
    connection: Connection,
    tenant_id: int,
    actor: str,
    under: Admission | None,
    parents: Parents,
    first: Mapping[SeriesName, ScannedInstance],
) -> None:
    """Put labels on Studies that were made now: those of the sender's scope, and of rules."""
    made = {uid for uid, study in parents.studies.items() if study.created and study.gained}
    if under is None or not made:
        return
    rules = await load_rules(connection, tenant_id)
    for uid in sorted(made):
        labels = set(under.scope.labels or ())
        if rules:
            scanned = next(one for (study, _), one in first.items() if study == uid)
            institution = str(series_values(scanned.fragments)["institution_name"])
            arrival = Arrival(under.calling_ae, institution, under.sender or actor)
            labels |= {rule.label for rule in rules if rule.fits(arrival)}
        if chosen := holdable(labels)[:MOST_LABELS]:
            new = sorted(row[0] for row in await connection.fetch(PUT, tenant_id, uid, chosen))
            if new:  # a Study that comes again has some already
                payload = {"study": uid, "labels": new}
                await log_event(connection, tenant_id, "labelled", actor, payload)
