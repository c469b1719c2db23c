"""A Scope as a predicate on `study`: the one place that says which Studies a caller may see.

Every query that a caller's request leads to joins `study` and carries this predicate, in one of
two forms of the same thing: for SQLAlchemy, and as text for asyncpg.
"""

from sqlalchemy import ColumnElement, Text, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from app.dicom.uids import InstanceRef, Ref, SeriesRef
from app.errors import NotFound
from app.index.tables import study
from app.rights import Scope

VISIBLE = "study.tenant_id = $1 AND ($2::text[] IS NULL OR study.study_instance_uid = ANY($2))"
"""For asyncpg: the first two arguments of the statement are those of `visible_arguments`."""


BEARS = """EXISTS (
    SELECT FROM study_label WHERE study_label.tenant_id = study.tenant_id
        AND study_label.study_instance_uid = study.study_instance_uid
        AND study_label.label = ANY({labels}))"""
"""That a Study bears one of some labels: for a statement that has `study` in it, as `VISIBLE`."""


def visible_arguments(scope: Scope) -> tuple[int, list[str] | None]:
    """Return the arguments `$1` and `$2` of `VISIBLE`."""
    return scope.tenant_id, None if scope.studies is None else sorted(scope.studies)


def visible_as(alias: str) -> str:
    """Return `VISIBLE` for a statement that calls `study` otherwise."""
    return VISIBLE.replace("study.", f"{alias}.")


def visible(scope: Scope) -> ColumnElement[bool]:
    """Return the predicate for a statement of SQLAlchemy that selects from `study`."""
    of_tenant = study.c.tenant_id == scope.tenant_id
    if scope.studies is None:
        return of_tenant
    named = bindparam("visible", sorted(scope.studies), ARRAY(Text), unique=True)
    return of_tenant & (study.c.study_instance_uid == any_(named))


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


NON_PATIENT = "non_patient_instance.tenant_id = $1 AND $2::text[] IS NULL"
"""For asyncpg, with the same two arguments as `VISIBLE`: a caller who may see named Studies alone
sees no Instance that is in none."""
