"""Retention rules that name labels, rules that rest, and those of another tenant."""

import asyncio
from dataclasses import replace

import pytest

from app.archive import retention
from app.archive.context import Archive
from app.archive.holds import hold_study
from app.archive.labels import label_study, unlabel_study
from app.archive.removal import delete, reject
from app.archive.retention import (
    act_by_all_rules,
    act_by_rules,
    activate_rule,
    add_rule,
    deactivate_rule,
    list_rules,
    preview_rule,
)
from app.dicom.uids import StudyRef
from app.errors import Changed, Conflict
from app.index import labels as index_labels
from app.index.due import list_due, remove_due
from app.index.events import Position, read_events
from app.index.instances import add_each_instance
from app.index.retention_rules import Action, Terms
from app.rights import Principal, Scope
from tests.archive.test_retention import (
    DELETE_OLD,
    age,
    always,
    dated,
    live,
    make_rule,
    make_study,
)
from tests.index_factories import make_new_instance


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were, and nobody has to be spared."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)


async def test_a_rule_of_labels_takes_studies_that_bear_one_of_them_as_they_are_now(
    archive: Archive, principal: Principal
) -> None:
    ct, mr = {"Modality": "CT"}, await make_study(archive, {"Modality": "MR"})
    one, two, other, held = [await make_study(archive, ct) for _ in range(4)]
    for uid, label in ((one, "a"), (two, "b"), (other, "c"), (held, "a"), (mr, "a")):
        await label_study(archive, principal, uid, [label])
    await hold_study(archive, principal, held, "case 17")
    terms = Terms("labelled", Action.DELETE, 30, modalities=("CT",), labels=("a", "b"))
    rule = await make_rule(archive, terms, active=False)
    found = await preview_rule(archive, principal, rule.id)
    assert (found.studies, found.held, set(found.sample)) == (2, 1, {one, two})
    await unlabel_study(archive, principal, one, ["a"])
    await label_study(archive, principal, other, ["b"])
    assert set((await preview_rule(archive, principal, rule.id)).sample) == {two, other}
    await activate_rule(archive, principal, rule.id)
    assert await act_by_rules(archive, 1, always) == 2
    assert await live(archive) == {one, held, mr}


async def test_a_label_that_is_taken_off_after_a_study_was_found_saves_it(
    archive: Archive, principal: Principal
) -> None:
    study = await make_study(archive)
    await label_study(archive, principal, study, ["a"])
    rule = await make_rule(archive, replace(DELETE_OLD, labels=("a",)))
    (found,) = await list_due(archive.index, 1, rule, 0, 100)
    async with archive.index.writing() as unlabelling:
        await unlabelling.fetchval(index_labels.LOCK, 1, None, study)
        await unlabelling.fetch(index_labels.TAKE, 1, study, ["a"])
        removing = asyncio.create_task(remove_due(archive.index, 1, rule, found, "rule"))
        await asyncio.sleep(0.3)
        assert not removing.done()
    with pytest.raises(Changed):
        await removing
    assert await live(archive) == {study}


async def test_what_bears_a_label_is_kept_rejected_or_not_while_it_bears_it(
    archive: Archive, principal: Principal
) -> None:
    one, rejected, other = [await make_study(archive, date=dated(10)) for _ in range(3)]
    for uid in (one, rejected):
        await label_study(archive, principal, uid, ["trial"])
    rule = await make_rule(archive, Terms("trial", Action.KEEP, 3650, labels=("trial", "x")))
    assert await reject(archive, principal, StudyRef(rejected), "113001^DCM") == 1
    assert (await preview_rule(archive, principal, rule.id)).sample == [one]
    for study in (one, rejected):
        with pytest.raises(Conflict, match="the retention rule 'trial' keeps it"):
            await delete(archive, principal, StudyRef(study))
    assert await delete(archive, principal, StudyRef(other)) == 1
    await unlabel_study(archive, principal, one, ["trial"])
    assert await delete(archive, principal, StudyRef(one)) == 1


async def test_a_rule_that_rests_does_nothing_until_it_is_activated_again(
    archive: Archive, principal: Principal
) -> None:
    study = await make_study(archive, date=dated(10))
    rule = await make_rule(archive, Terms("all", Action.KEEP, 3650))
    resting = await deactivate_rule(archive, principal, rule.id)
    assert resting == replace(rule, activated_at=None)
    assert await deactivate_rule(archive, principal, rule.id) == resting
    assert await list_rules(archive, principal) == [resting]
    await activate_rule(archive, principal, rule.id)
    with pytest.raises(Conflict):
        await delete(archive, principal, StudyRef(study))
    await deactivate_rule(archive, principal, rule.id)
    assert await delete(archive, principal, StudyRef(study)) == 1
    kinds = [event.kind for event in await read_events(archive.index, 1, Position())]
    assert kinds[1:-1] == [
        "rule-added",
        *(("rule-activated", "rule-deactivated") * 2),
    ]


async def test_rules_of_each_tenant_act_on_its_own_studies(archive: Archive) -> None:
    mine = await make_study(archive)
    async with archive.index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    theirs = make_new_instance(StudyDate="20010203")
    assert await add_each_instance(archive.index, 2, "test", [theirs]) == [None]
    await age(archive, theirs.ref.study, 10)
    other = Principal("other", Scope(tenant_id=2))
    assert await act_by_all_rules(archive, always) == 0
    rule = await add_rule(archive, other, DELETE_OLD)
    assert await act_by_all_rules(archive, always) == 0
    await activate_rule(archive, other, rule.id)
    assert await act_by_all_rules(archive, always) == 1
    assert await live(archive) == {mine}
