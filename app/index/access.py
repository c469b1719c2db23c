"""A Scope as a predicate on `study`: the one place that says which Studies a caller may see.

Every query that a caller's request leads to joins `study` and carries this predicate, in one of
two forms of the same thing: for SQLAlchemy, and as text for asyncpg.
"""

from sqlalchemy import ColumnElement, Text, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from app.index.tables import study
from app.rights import Scope

VISIBLE = "study.tenant_id = $1 AND ($2::text[] IS NULL OR study.study_instance_uid = ANY($2))"
"""For asyncpg: the first two arguments of the statement are those of `visible_arguments`."""


def visible_arguments(scope: Scope) -> tuple[int, list[str] | None]:
    """Return the arguments `$1` and `$2` of `VISIBLE`."""
    return scope.tenant_id, None if scope.studies is None else sorted(scope.studies)


def visible(scope: Scope) -> ColumnElement[bool]:
    """Return the predicate for a statement of SQLAlchemy that selects from `study`."""
    of_tenant = study.c.tenant_id == scope.tenant_id
    if scope.studies is None:
        return of_tenant
    named = bindparam("visible", sorted(scope.studies), ARRAY(Text), unique=True)
    return of_tenant & (study.c.study_instance_uid == any_(named))
