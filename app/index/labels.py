"""Labels: short words that people put on Studies, kept by the Study's UID.

While a Study has no row its labels stay and nobody sees them; they are there when it comes back.
They go with the last row that a purge takes of it. Who puts labels on or takes them off locks the
row of the Study, as who adds to it or removes from it does. So of two events about its labels the
one with the greater number is the later, and who deletes by a rule sees what was answered for.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from app.dicom.uids import StudyRef
from app.errors import Conflict
from app.index.absence import absence
from app.index.access import VISIBLE, visible_arguments
from app.index.conditions import Arguments
from app.index.engine import Index
from app.index.events import Event, log_event
from app.index.pool import Connection
from app.rights import Scope

MOST_LABELS = 64
"""On one Study."""

LOCK = f"""
SELECT study.id FROM study WHERE {VISIBLE} AND study_instance_uid = $3 FOR NO KEY UPDATE
"""  # noqa: S608 - our own text, as below
PUT = """
INSERT INTO study_label (tenant_id, study_instance_uid, label)
SELECT $1, $2, label FROM unnest($3::text[]) AS new (label)
ON CONFLICT DO NOTHING RETURNING label
"""
TAKE = """
DELETE FROM study_label
WHERE tenant_id = $1 AND study_instance_uid = $2 AND label = ANY($3) RETURNING label
"""
COUNT = "SELECT count(*) FROM study_label WHERE tenant_id = $1 AND study_instance_uid = $2"
OF_STUDY = f"""
SELECT ARRAY(
    SELECT label FROM study_label WHERE tenant_id = $1 AND study_instance_uid = $3 ORDER BY label
) AS labels FROM study WHERE {VISIBLE} AND study_instance_uid = $3
"""  # noqa: S608
_VISIBLE_LABELS = """
FROM study_label JOIN study ON study.tenant_id = study_label.tenant_id
    AND study.study_instance_uid = study_label.study_instance_uid
WHERE study_label.tenant_id = $1 AND {visible}
"""
ALL = f"""
SELECT label, count(*) AS studies {_VISIBLE_LABELS} AND label > {{after}}
GROUP BY label ORDER BY label LIMIT {{most}}
"""
LABELLED = f"""
SELECT study_label.study_instance_uid AS uid {_VISIBLE_LABELS} AND label = {{label}}
    AND study_label.study_instance_uid > {{after}}
ORDER BY 1 LIMIT {{most}}
"""

_THESE = "unnest($1::integer[], $2::text[]) AS these (tenant, uid)"
LOCK_OF_STUDIES = f"""
SELECT 1 FROM study_label
WHERE (tenant_id, study_instance_uid) IN (SELECT tenant, uid FROM {_THESE})
ORDER BY tenant_id, study_instance_uid, label FOR UPDATE
"""  # noqa: S608
FORGET = f"""
DELETE FROM study_label USING {_THESE}
WHERE tenant_id = tenant AND study_instance_uid = uid
    AND NOT EXISTS (SELECT FROM study WHERE study.tenant_id = tenant
        AND study.study_instance_uid = uid)
    AND NOT EXISTS (SELECT FROM removed_instance gone WHERE gone.tenant_id = tenant
        AND gone.study_instance_uid = uid)
RETURNING tenant_id, study_instance_uid, label
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label, and how many Studies bear it."""

    label: str
    studies: int


async def put_labels(
    index: Index, scope: Scope, study: str, actor: str, labels: Collection[str]
) -> Sequence[str]:
    """Put labels on a Study; return those that were not there, in order.

    Raises:
        Conflict: it would bear too many.
        NotFound, Gone: there is no such Study, or the scope does not cover it.
        Unavailable: the index does not answer, or what changes the Study takes too long.
    """

    async def put(connection: Connection, *where: object) -> list[str]:
        new = [row["label"] for row in await connection.fetch(PUT, *where, sorted(set(labels)))]
        if new and await connection.fetchval(COUNT, *where) > MOST_LABELS:
            raise Conflict(f"A Study bears up to {MOST_LABELS} labels")
        return sorted(new)

    return await _change(index, scope, study, ("labelled", actor), put)


async def take_labels(
    index: Index, scope: Scope, study: str, actor: str, labels: Collection[str]
) -> Sequence[str]:
    """Take labels off a Study; return those that were there, in order.

    Raises:
        NotFound, Gone: there is no such Study, or the scope does not cover it.
        Unavailable: the index does not answer, or what changes the Study takes too long.
    """

    async def take(connection: Connection, *where: object) -> list[str]:
        return sorted(row["label"] for row in await connection.fetch(TAKE, *where, list(labels)))

    return await _change(index, scope, study, ("unlabelled", actor), take)


async def _change(
    index: Index,
    scope: Scope,
    study: str,
    how: tuple[str, str],
    work: Callable[..., Awaitable[list[str]]],
) -> Sequence[str]:
    """Change the labels of a Study that is there, and log those that really changed."""
    kind, actor = how

    async def change(connection: Connection) -> list[str] | None:
        if await connection.fetchval(LOCK, *visible_arguments(scope), study) is None:
            return None
        changed = await work(connection, scope.tenant_id, study)
        if changed:
            payload = {"study": study, "labels": changed}
            await log_event(connection, scope.tenant_id, kind, actor, payload)
        return changed

    changed = await index.retrying(change)
    if changed is None:
        raise await absence(index, scope, StudyRef(study))
    return changed


async def labels_of(index: Index, scope: Scope, study: str) -> Sequence[str]:
    """Return the labels of a Study, in order.

    Raises:
        NotFound, Gone: there is no such Study, or the scope does not cover it.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(OF_STUDY, *visible_arguments(scope), study)
    if row is None:
        raise await absence(index, scope, StudyRef(study))
    return list(row["labels"])


async def list_labels(index: Index, scope: Scope, after: str, most: int) -> Sequence[Labelled]:
    """Return up to `most` labels after one, in order, with how many Studies of the scope bear each.

    Raises:
        Unavailable: the index does not answer in time.
    """
    rows = await _search(index, scope, ALL, after=after, most=most)
    return [Labelled(*row) for row in rows]


async def list_labelled(
    index: Index, scope: Scope, label: str, after: str, most: int
) -> Sequence[str]:
    """Return the UIDs of up to `most` Studies that bear a label, after one of them, in order.

    Raises:
        Unavailable: the index does not answer in time.
    """
    rows = await _search(index, scope, LABELLED, label=label, after=after, most=most)
    return [row["uid"] for row in rows]


async def _search(index: Index, scope: Scope, statement: str, **values: object) -> list[Any]:
    arguments = Arguments(scope, None)
    seen = arguments.visible("study")
    places = {name: arguments.add(value) for name, value in values.items()}
    return await index.search(statement.format(visible=seen, **places), *arguments)


async def lock_labels(connection: Connection, studies: Collection[tuple[int, str]]) -> None:
    """Let two purges of what is left of a Study (tenant and UID) come one after the other."""
    await connection.fetch(LOCK_OF_STUDIES, *_columns(studies))


async def forget_labels(
    connection: Connection, studies: Collection[tuple[int, str]], actor: str
) -> None:
    """Take the labels off those Studies (tenant and UID) of which nothing is left, and log it."""
    rows = sorted(tuple(row) for row in await connection.fetch(FORGET, *_columns(studies)))
    for (tenant_id, study), those in groupby(rows, itemgetter(0, 1)):
        payload = {"study": study, "labels": [label for _, _, label in those]}
        await log_event(connection, tenant_id, "unlabelled", actor, payload)


def _columns(studies: Collection[tuple[int, str]]) -> tuple[list[int], list[str]]:
    return [tenant for tenant, _ in studies], [uid for _, uid in studies]


async def apply_label_event(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again to labels what an event of the log says, in an index that is made anew."""
    statement = PUT if event.kind == "labelled" else TAKE
    study, labels = event.payload["study"], event.payload["labels"]
    await connection.fetch(statement, tenant_id, study, labels)
