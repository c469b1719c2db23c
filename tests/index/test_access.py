"""A Scope as a predicate, in both of its forms."""

import pytest
from sqlalchemy import select

from app.index.access import VISIBLE, visible, visible_arguments
from app.index.engine import Index
from app.index.instances import add_each_instance
from app.index.tables import study
from app.rights import Scope
from tests.index_factories import make_new_instance

STUDIES = ("1.1", "1.2", "1.3")


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        (Scope(), STUDIES),
        (Scope(studies=frozenset({"1.1", "1.3", "9.9"})), ("1.1", "1.3")),
        (Scope(studies=frozenset()), ()),
        (Scope(tenant_id=2), ("2.1",)),
        (Scope(tenant_id=2, studies=frozenset({"1.1"})), ()),
    ],
)
async def test_both_forms_let_through_what_the_scope_covers(
    index: Index, scope: Scope, seen: tuple[str, ...]
) -> None:
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    mine = [make_new_instance(StudyInstanceUID=uid) for uid in STUDIES]
    await add_each_instance(index, 1, "tester", mine)
    await add_each_instance(index, 2, "tester", [make_new_instance(StudyInstanceUID="2.1")])
    sql = f"SELECT study_instance_uid FROM study WHERE {VISIBLE} ORDER BY 1"  # noqa: S608
    rows = await index.fetch(sql, *visible_arguments(scope))
    assert tuple(row[0] for row in rows) == seen
    statement = (
        select(study.c.study_instance_uid).where(visible(scope)).order_by("study_instance_uid")
    )
    async with index.transaction() as session:
        assert tuple(await session.scalars(statement)) == seen


async def test_the_same_uid_lives_in_two_tenants(index: Index) -> None:
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    one = make_new_instance()
    assert await add_each_instance(index, 1, "tester", [one]) == [None]
    assert await add_each_instance(index, 2, "tester", [one]) == [None]
