"""A Scope as a predicate on `study`: the one place that says which Studies a caller may see.

Every query that a caller's request leads to joins `study` and carries this predicate. It has three
forms, which one test holds against each other: `VISIBLE` is one text for every scope, for
statements that are planned once; `visible_to` says what one scope asks, for searches, which are
planned for their values; `covered` is for rows that name a Study of which no row may be left.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson

from app.dicom.uids import InstanceRef, Ref, SeriesRef
from app.errors import NotFound
from app.index.engine import Index
from app.index.pool import Connection
from app.rights import Scope

BEARS = """EXISTS (
    SELECT FROM study_label WHERE study_label.tenant_id = study.tenant_id
        AND study_label.study_instance_uid = study.study_instance_uid
        AND study_label.label = ANY({labels}))"""
"""That a Study bears one of some labels: for a statement that has `study` in it, as `VISIBLE`."""

_NAMED = "($2->'studies' IS NULL OR $2->'studies' ? {uid})"
_LABELLED = """($2->'labels' IS NULL OR EXISTS (
    SELECT FROM study_label WHERE study_label.tenant_id = $1
        AND study_label.study_instance_uid = {uid} AND $2->'labels' ? study_label.label))"""
# of two arrays of text one contains the other in whatever order, hence objects
_OF_PATIENT = """($2->'patients' IS NULL OR $2->'patients' @> jsonb_build_array(jsonb_build_object(
    'id', {table}.patient_id, 'issuer', {table}.issuer_of_patient_id)))"""
_ALSO = "coalesce($2->'also' ? {uid}, false)"
_UID = "study.study_instance_uid"

VISIBLE = f"""study.tenant_id = $1 AND ($2::jsonb IS NULL OR (
    {_NAMED.format(uid=_UID)} AND {_OF_PATIENT.format(table="study")}
    AND {_LABELLED.format(uid=_UID)}) OR {_ALSO.format(uid=_UID)})"""
"""For asyncpg: the first two arguments of the statement are those of `visible_arguments`."""


def visible_as(alias: str) -> str:
    """Return `VISIBLE` for a statement that calls `study` otherwise."""
    return VISIBLE.replace("study.", f"{alias}.")


NON_PATIENT = "non_patient_instance.tenant_id = $1 AND $2::jsonb IS NULL"
"""For asyncpg, with the same two arguments as `VISIBLE`: a caller who may see some Studies alone
sees no Instance that is in none."""

WITHIN = """($2::jsonb IS NULL OR (
    ($2->'studies' IS NULL OR {scope}->'studies' <@ ($2->'studies'))
    AND ($2->'labels' IS NULL OR {scope}->'labels' <@ ($2->'labels'))
    AND ($2->'patients' IS NULL OR {scope}->'patients' <@ ($2->'patients'))))"""
"""That a scope which was kept in a row narrows at least as the caller's does."""


def covered(uid: str) -> str:
    """Return the predicate, with the arguments of `VISIBLE`, on a Study that may have no row.

    `uid` is SQL that means the same in a subquery: a parameter, or a column with its table. Labels
    are of the UID, so whether a Study that was removed bears one can be told; of which Patient it
    was cannot.
    """
    of_patient = f"""($2->'patients' IS NULL OR EXISTS (
        SELECT FROM study AS live WHERE live.tenant_id = $1 AND live.study_instance_uid = {uid}
            AND {_OF_PATIENT.format(table="live")}))"""
    named, labelled = _NAMED.format(uid=uid), _LABELLED.format(uid=uid)
    also = _ALSO.format(uid=uid)
    return f"($2::jsonb IS NULL OR ({named} AND {labelled} AND {of_patient}) OR {also})"


COVERED = f"SELECT uid FROM unnest($3::text[]) AS these (uid) WHERE {covered('these.uid')}"  # noqa: S608


def visible_arguments(scope: Scope) -> tuple[int, str | None]:
    """Return the arguments `$1` and `$2` of `VISIBLE`: the tenant, and what narrows it as JSON."""
    if scope.is_whole:
        return scope.tenant_id, None
    narrowing: dict[str, object] = {}
    if scope.studies is not None:
        narrowing["studies"] = holdable(scope.studies)
    if scope.labels is not None:
        narrowing["labels"] = holdable(scope.labels)
    if scope.patients is not None:
        narrowing["patients"] = [{"id": one, "issuer": by} for one, by in _patients(scope.patients)]
    if scope.also:
        narrowing["also"] = holdable(scope.also)
    return scope.tenant_id, orjson.dumps(narrowing).decode()


def scope_of(tenant_id: int, narrowing: str | None) -> Scope:
    """Return the scope that has these `visible_arguments`."""
    if narrowing is None:
        return Scope(tenant_id)
    said: Mapping[str, Any] = orjson.loads(narrowing)
    patients = said.get("patients")
    return Scope(
        tenant_id,
        frozenset(said["studies"]) if "studies" in said else None,
        frozenset(said["labels"]) if "labels" in said else None,
        None if patients is None else frozenset((one["id"], one["issuer"]) for one in patients),
        frozenset(said.get("also", ())),
    )


_NOWHERE = re.compile("[\0\ud800-\udfff]")
"""What no text of the index holds, nor a parameter."""


def holdable(texts: Collection[str]) -> list[str]:
    """Return those texts in order that the index can hold: no others are the name of anything."""
    return sorted(text for text in texts if not _NOWHERE.search(text))


def _patients(patients: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(one for one in patients if not _NOWHERE.search("".join(one)))


def visible_to(scope: Scope, alias: str, add: Callable[[object], str]) -> str:
    """Return what `VISIBLE` asks in one scope, and nothing else, for a statement of its own plan.

    So a rare label is where the search begins, and a common one is looked up on the way. `$1` is
    the tenant, `alias` what the statement calls `study`, and `add` takes further arguments in.
    """
    met = []
    if scope.studies is not None:
        met.append(f"{alias}.study_instance_uid = ANY({add(holdable(scope.studies))}::text[])")
    if scope.labels is not None:
        labels = f"{add(holdable(scope.labels))}::text[]"
        met.append(BEARS.replace("study.", f"{alias}.").format(labels=labels))
    if scope.patients is not None:
        pairs = _patients(scope.patients)
        ids, issuers = add([one for one, _ in pairs]), add([by for _, by in pairs])
        met.append(
            f"({alias}.patient_id, {alias}.issuer_of_patient_id) IN ("  # noqa: S608
            f"SELECT * FROM unnest({ids}::text[], {issuers}::text[]))"
        )
    if met and scope.also:
        also = f"{alias}.study_instance_uid = ANY({add(holdable(scope.also))}::text[])"
        met = [f"(({' AND '.join(met)}) OR {also})"]
    return " AND ".join([f"{alias}.tenant_id = $1", *met])


async def covered_studies(index: Index, scope: Scope, studies: Collection[str]) -> frozenset[str]:
    """Return those of some Study UIDs that a scope covers, whether they have a row or not.

    Raises:
        Unavailable: the index does not answer.
    """
    if scope.is_whole or not studies:
        return frozenset(studies)
    rows = await index.fetch(COVERED, *visible_arguments(scope), list(studies))
    return frozenset(row["uid"] for row in rows)


async def covers(connection: Connection, scope: Scope, study: str) -> bool:
    """Say the same of one Study, in the caller's transaction."""
    if scope.is_whole:
        return True
    row = await connection.fetchrow(COVERED, *visible_arguments(scope), [study])
    return row is not None


STUDY = f"FROM study WHERE {VISIBLE} AND study.study_instance_uid = $3"

SERIES = f"""
FROM study JOIN series ON series.study_key = study.id AND series.tenant_id = study.tenant_id
WHERE {VISIBLE} AND study.study_instance_uid = $3 AND series.series_instance_uid = $4
"""

INSTANCE = f"""
FROM instance JOIN series ON series.id = instance.series_key
    JOIN study ON study.id = series.study_key
WHERE {VISIBLE} AND study.study_instance_uid = $3 AND series.series_instance_uid = $4
    AND instance.tenant_id = $1 AND instance.sop_instance_uid = $5
"""
"""For asyncpg: where what a reference names is found, by the arguments of `reference_arguments`.
An Instance under another Study or Series is not found (W-17)."""


def reference_arguments(scope: Scope, ref: Ref) -> tuple[object, ...]:
    """Return the arguments of `STUDY`, `SERIES` or `INSTANCE`, whichever fits `ref`."""
    uids: tuple[str, ...] = (ref.study,)
    if isinstance(ref, SeriesRef | InstanceRef):
        uids += (ref.series,)
    if isinstance(ref, InstanceRef):
        uids += (ref.instance,)
    return (*visible_arguments(scope), *uids)


def missing(ref: Ref) -> NotFound:
    """Return the error for what is not there, or not for this caller."""
    if isinstance(ref, InstanceRef):
        return NotFound("Instance", ref.instance)
    if isinstance(ref, SeriesRef):
        return NotFound("Series", ref.series)
    return NotFound("Study", ref.study)
