"""A Scope as a predicate, in all of its forms."""

import itertools
from collections.abc import Iterable

import pytest

from app.index.access import (
    VISIBLE,
    WITHIN,
    covered_studies,
    scope_of,
    visible_arguments,
    visible_to,
)
from app.index.conditions import Arguments
from app.index.engine import Index
from app.index.instances import add_each_instance
from app.rights import Scope
from tests.index_factories import make_new_instance

LABELS = {"1.1": ["a"], "1.2": ["a", "b"], "1.3": ["c"], "1.4": [], "2.1": ["a"]}
PATIENTS = {"1.1": ("P", ""), "1.2": ("P", "X"), "1.3": ("X", "X"), "1.4": ("", "P")}


def scope(
    tenant: int = 1,
    studies: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    patients: Iterable[tuple[str, str]] | None = None,
    also: Iterable[str] = (),
) -> Scope:
    return Scope(
        tenant,
        None if studies is None else frozenset(studies),
        None if labels is None else frozenset(labels),
        None if patients is None else frozenset(patients),
        frozenset(also),
    )


SEEN = [
    (scope(), "1.1 1.2 1.3 1.4"),
    (scope(2), "2.1"),
    (scope(studies=["1.1", "1.3", "9.9"]), "1.1 1.3"),
    (scope(studies=[]), ""),
    (scope(2, studies=["1.1"]), ""),
    (scope(labels=["a"]), "1.1 1.2"),
    (scope(labels=["b", "c", "none"]), "1.2 1.3"),
    (scope(labels=[]), ""),
    (scope(2, labels=["a"]), "2.1"),
    (scope(patients=[("P", "")]), "1.1"),
    (scope(patients=[("P", "X")]), "1.2"),
    (scope(patients=[("X", "P")]), ""),  # neither the order nor one of the two will do
    (scope(patients=[("P", "X"), ("X", "X")]), "1.2 1.3"),
    (scope(patients=[]), ""),
    (scope(labels=["a"], patients=[("P", "X"), ("X", "X")]), "1.2"),
    (scope(studies=["1.1", "1.2"], labels=["b"]), "1.2"),
    (scope(studies=["1.1"], labels=["b"]), ""),
    (scope(labels=["b"], also=["1.3", "2.1"]), "1.2 1.3"),
    (scope(labels=[], also=["1.4"]), "1.4"),
    (scope(patients=[], also=["1.4"]), "1.4"),
    (scope(studies=["1.1"], labels=["b"], also=["1.3"]), "1.3"),
    (scope(2, labels=[], also=["1.1"]), ""),
    (scope(studies=["1.\0", "\ud800"], labels=["\0"], patients=[("\0", ""), ("", "\ud800")]), ""),
    (scope(studies=["1.1", "1.\0"], labels=["a", "\udfff"], also=["\0", "1.4"]), "1.1 1.4"),
]


@pytest.fixture
async def filled(index: Index) -> Index:
    """Four Studies of one tenant, and one of another, with labels and Patients."""
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    for uid in LABELS:
        patient, issuer = PATIENTS.get(uid, ("P", ""))
        one = make_new_instance(StudyInstanceUID=uid, PatientID=patient, IssuerOfPatientID=issuer)
        assert await add_each_instance(index, int(uid[0]), "tester", [one]) == [None]
    async with index.writing() as connection:
        for uid, labels in LABELS.items():
            await connection.executemany(
                "INSERT INTO study_label VALUES ($1, $2, $3)",
                [(int(uid[0]), uid, label) for label in labels],
            )
    return index


@pytest.mark.parametrize(("narrowed", "seen"), SEEN)
async def test_all_forms_let_through_what_the_scope_covers(
    filled: Index, narrowed: Scope, seen: str
) -> None:
    uids = "SELECT study_instance_uid FROM study"
    rows = await filled.fetch(
        f"{uids} WHERE {VISIBLE} ORDER BY 1",
        *visible_arguments(narrowed),
    )
    assert [row[0] for row in rows] == seen.split()
    arguments = Arguments(narrowed, None)
    statement = f"{uids} AS s WHERE {arguments.visible('s')} ORDER BY 1"
    rows = await filled.search(statement, *arguments)
    assert [row[0] for row in rows] == seen.split()
    mine = [uid for uid in LABELS if int(uid[0]) == narrowed.tenant_id]
    assert await covered_studies(filled, narrowed, mine) == set(seen.split())


async def test_who_sees_all_is_asked_for_the_tenant_alone() -> None:
    assert visible_to(Scope(), "s", lambda _: "no more arguments") == "s.tenant_id = $1"


async def test_a_study_that_was_removed_is_known_by_its_labels(filled: Index) -> None:
    async with filled.writing() as connection:
        for table in ("instance", "series", "study"):
            await connection.execute(f"DELETE FROM {table}")  # noqa: S608
    for narrowed, covered in (
        (scope(labels=["a"]), {"1.1", "1.2"}),
        (scope(studies=["1.1"]), {"1.1"}),
        (scope(patients=[("P", "")]), set()),
        (scope(2, labels=["a"]), {"2.1"}),
        (scope(), set(LABELS)),
    ):
        assert await covered_studies(filled, narrowed, list(LABELS)) == covered


async def test_a_scope_that_was_kept_narrows_at_least_as_another(index: Index) -> None:
    order = [
        scope(),
        scope(labels=["a", "b"]),
        scope(labels=["a"]),
        scope(labels=["a"], studies=["1.1"]),
        scope(labels=["a"], studies=["1.1"], patients=[("P", "X")]),
    ]
    others = [scope(studies=["1.2"]), scope(patients=[("X", "P")]), scope(labels=["c"])]

    async def within(kept: Scope, mine: Scope) -> bool:
        statement = f"SELECT $1::integer, {WITHIN.format(scope='$3::jsonb')}"
        row = await index.fetchrow(statement, *visible_arguments(mine), visible_arguments(kept)[1])
        assert row is not None
        return row[1] is True

    for (i, wide), (j, narrow) in itertools.product(enumerate(order), enumerate(order)):
        assert await within(narrow, wide) == (i <= j), (wide, narrow)
    for one, other in itertools.product(order[1:], others):
        assert not await within(one, other)
        assert not await within(other, one)


@pytest.mark.parametrize("narrowed", [one for one, _ in SEEN[:-2]])
def test_a_scope_comes_back_from_what_is_kept_of_it(narrowed: Scope) -> None:
    assert scope_of(*visible_arguments(narrowed)) == narrowed


async def test_the_same_uid_lives_in_two_tenants(index: Index) -> None:
    async with index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    one = make_new_instance()
    assert await add_each_instance(index, 1, "tester", [one]) == [None]
    assert await add_each_instance(index, 2, "tester", [one]) == [None]


async def test_a_search_begins_with_a_rare_label_and_passes_by_a_common_one(index: Index) -> None:
    async with index.writing() as connection:
        await connection.execute("INSERT INTO patient (tenant_id, patient_id) VALUES (1, 'many')")
        await connection.execute(
            "INSERT INTO study (tenant_id, patient_key, study_instance_uid, document, study_date)"
            " SELECT 1, (SELECT max(id) FROM patient), '1.2.' || n, '', (20000101 + n)::text"
            " FROM generate_series(1, 20000) AS n"
        )
        await connection.execute(
            "INSERT INTO study_label SELECT 1, '1.2.' || n, 'common' FROM generate_series(1, 20000)"
            " AS n UNION ALL SELECT 1, '1.2.' || n, 'rare' FROM generate_series(1, 20000, 4000) n"
        )
    async with index.at_once() as connection:
        await connection.execute("ANALYZE study, study_label")

    async def plan(label: str) -> str:
        arguments = Arguments(scope(labels=[label]), None)
        rows = await index.search(
            f"EXPLAIN SELECT s.id FROM study s WHERE {arguments.visible('s')} ORDER BY"  # noqa: S608
            " s.study_date DESC, s.study_time DESC, s.study_instance_uid LIMIT 101",
            *arguments,
        )
        return "\n".join(row[0] for row in rows)

    assert "study_newest" in await plan("common")
    rare = await plan("rare")
    assert "study_label_label" in rare
    assert "study_newest" not in rare
