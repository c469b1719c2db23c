"""Retention rules: what they take and what they keep, and that whatever is in doubt stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.archive import retention
from app.archive.context import Archive
from app.archive.holds import hold_study
from app.archive.removal import delete, reject
from app.archive.retention import (
    act_by_rules,
    activate_rule,
    add_rule,
    deactivate_rule,
    list_rules,
    preview_rule,
    remove_rule,
)
from app.dicom.uids import SeriesRef, StudyRef
from app.errors import Changed, Conflict, Forbidden, InvalidRequest, NotFound
from app.index import retention_rules
from app.index.due import list_due, remove_due
from app.index.events import Position, read_events
from app.index.overview import count_everything
from app.index.retention_rules import Action, CountedFrom, Rule, Terms
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

DELETE_OLD = Terms("old", Action.DELETE, 3650)
KEEP_CT = Terms("ten years", Action.KEEP, 3650, modalities=("CT",))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were, and nobody has to be spared."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)


async def always() -> bool:
    return True


def dated(days: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y%m%d}"


async def make_study(
    archive: Archive, *series: dict[str, Any], date: str = "20010203", stored: float = 10
) -> str:
    """Store a Study of a Series each, and let it be so many days old in the archive."""
    uid = new_uid()
    made = [
        make_part10(StudyInstanceUID=uid, StudyDate=date, **keywords)
        for keywords in series or ({},)
    ]
    await store(archive, Principal("test"), *made)
    await age(archive, uid, stored)
    return uid


async def age(archive: Archive, study: str, days: float) -> None:
    async with archive.index.writing() as it:
        key = await it.fetchval("SELECT id FROM study WHERE study_instance_uid = $1", study)
        interval = "now() - $1::double precision * interval '1 day'"
        await it.execute(
            f"UPDATE study SET created_at = {interval}, updated_at = {interval} WHERE id = $2",  # noqa: S608
            float(days),
            key,
        )
        await it.execute(
            f"UPDATE instance SET stored_at = {interval} WHERE study_key = $2",  # noqa: S608
            float(days),
            key,
        )


async def make_rule(archive: Archive, terms: Terms, *, active: bool = True) -> Rule:
    administrator = Principal("test")
    rule = await add_rule(archive, administrator, terms)
    return await activate_rule(archive, administrator, rule.id) if active else rule


async def taken(archive: Archive, rule: Rule) -> set[str]:
    return {one.study for one in await list_due(archive.index, 1, rule, 0, 100)}


async def live(archive: Archive) -> set[str]:
    rows = await archive.index.fetch("SELECT study_instance_uid FROM study")
    return {row["study_instance_uid"] for row in rows}


async def test_a_rule_is_a_draft_that_does_nothing_until_it_is_activated(
    archive: Archive, principal: Principal
) -> None:
    study = await make_study(archive)
    rule = await make_rule(archive, DELETE_OLD, active=False)
    assert rule.activated_at is None
    assert (await preview_rule(archive, principal, rule.id)).sample == [study]
    assert await act_by_rules(archive, 1, always) == 0
    assert await live(archive) == {study}
    active = await activate_rule(archive, principal, rule.id)
    assert active.activated_at is not None
    assert await activate_rule(archive, principal, rule.id) == active
    assert await act_by_rules(archive, 1, always) == 1
    assert await live(archive) == set()
    events = await read_events(archive.index, 1, Position())
    assert [event.kind for event in events] == [
        "accepted", "rule-added", "rule-activated", "removed",
    ]  # fmt: skip
    assert events[-1].actor == f"retention rule {rule.id}: old"
    assert events[-1].payload["reason"] == "deleted"
    assert events[1].payload["rule"]["days"] == 3650


async def test_a_preview_counts_what_would_go_now(archive: Archive, principal: Principal) -> None:
    going = await make_study(archive, {}, {})
    held, kept = await make_study(archive), await make_study(archive, {"StationName": "CT09"})
    await make_study(archive, date=dated(10))
    await hold_study(archive, principal, held, "case 17")
    await make_rule(archive, Terms("long", Action.KEEP, 36_500, stations=("CT09",)))
    rule = await make_rule(archive, DELETE_OLD, active=False)
    size = (await count_everything(archive.index, Scope(studies=frozenset({going})))).bytes
    found = await preview_rule(archive, principal, rule.id)
    assert (found.studies, found.instances, found.bytes) == (1, 2, size)
    assert (found.held, found.kept, found.sample) == (1, 1, [going])
    assert await live(archive) >= {going, held, kept}


async def test_what_is_held_kept_or_young_is_never_taken(
    archive: Archive, principal: Principal
) -> None:
    held, kept = await make_study(archive), await make_study(archive, {"StationName": "CT09"})
    fresh = await make_study(archive, stored=0.9)
    undated = await make_study(archive, date="")
    young = await make_study(archive, date=dated(3649))
    old = await make_study(archive, date=dated(3651))
    await hold_study(archive, principal, held, "case 17")
    await make_rule(archive, Terms("long", Action.KEEP, 36_500, stations=("CT09",)))
    await make_rule(archive, DELETE_OLD)
    assert await act_by_rules(archive, 1, always) == 1
    assert await live(archive) == {held, kept, fresh, undated, young}
    assert old not in await live(archive)


@pytest.mark.parametrize(
    ("terms", "which"),
    [
        ({"modalities": ("CT",)}, {"ct"}),
        ({"modalities": ("CT", "SR")}, {"ct", "both"}),
        ({"modalities": ("SR",)}, set()),
        ({"stations": ("MR7",)}, {"mr"}),
        ({"stations": ("CT1", "MR7"), "institutions": ("North",)}, {"mr"}),
        ({"institutions": ("North", "South")}, {"ct", "both", "mr"}),
        ({"modalities": ("CT",), "stations": ("MR7",)}, set()),
        ({}, {"ct", "both", "mr", "bare"}),
    ],
)
async def test_each_series_of_a_study_has_to_meet_a_rule_that_deletes(
    archive: Archive, terms: dict[str, Any], which: set[str]
) -> None:
    ct = {"Modality": "CT", "StationName": "CT1", "InstitutionName": "South"}
    sr = {"Modality": "SR", "StationName": "CT1", "InstitutionName": "South"}
    mr = {"Modality": "MR", "StationName": "MR7", "InstitutionName": "North"}
    bare = dict.fromkeys(ct)
    made = {
        await make_study(archive, ct): "ct",
        await make_study(archive, ct, sr): "both",
        await make_study(archive, mr): "mr",
        await make_study(archive, bare): "bare",
    }
    rule = await make_rule(archive, Terms("some", Action.DELETE, 1, **terms))
    assert {made[uid] for uid in await taken(archive, rule)} == which


async def test_an_age_is_counted_from_the_last_instance_that_came(
    archive: Archive, principal: Principal
) -> None:
    old = await make_study(archive, stored=31)
    await make_study(archive, stored=29)
    grown = await make_study(archive, stored=31)
    await store(archive, principal, make_part10(StudyInstanceUID=grown))
    async with archive.index.writing() as it:  # it came 20 days ago
        await it.execute(
            "UPDATE instance SET stored_at = now() - interval '20 days'"
            " WHERE stored_at > now() - interval '1 day'"
        )
        await it.execute("UPDATE study SET updated_at = now() - interval '20 days'")
    rule = await make_rule(archive, Terms("month", Action.DELETE, 30, CountedFrom.STORED))
    assert await taken(archive, rule) == {old}


async def test_what_changes_after_it_was_found_is_passed_over(
    archive: Archive, principal: Principal
) -> None:
    study = await make_study(archive)
    rule = await make_rule(archive, DELETE_OLD)
    (found,) = await list_due(archive.index, 1, rule, 0, 100)
    await store(archive, principal, make_part10(StudyInstanceUID=study))
    with pytest.raises(Changed):
        await remove_due(archive.index, 1, rule, found, "rule")
    assert await act_by_rules(archive, 1, always) == 0
    await age(archive, study, 2)
    assert await act_by_rules(archive, 1, always) == 1


async def test_a_rule_that_is_taken_away_meanwhile_takes_nothing_more(
    archive: Archive, principal: Principal
) -> None:
    await make_study(archive)
    rule = await make_rule(archive, DELETE_OLD)
    (found,) = await list_due(archive.index, 1, rule, 0, 100)
    await remove_rule(archive, principal, rule.id)
    assert await remove_due(archive.index, 1, rule, found, "rule") == 0
    assert await list_rules(archive, principal) == []
    for doing in (
        remove_rule(archive, principal, rule.id),
        activate_rule(archive, principal, rule.id),
        deactivate_rule(archive, principal, rule.id),
        preview_rule(archive, principal, rule.id),
    ):
        with pytest.raises(NotFound):
            await doing


async def test_a_hold_that_comes_in_between_is_honoured(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await make_study(archive), await make_study(archive)
    await make_rule(archive, DELETE_OLD)
    take = remove_due

    async def holding(*arguments: Any) -> int:
        monkeypatch.setattr("app.index.due.remove_due", take)
        await hold_study(archive, principal, first, "case 17")
        return await take(*arguments)

    monkeypatch.setattr("app.index.due.remove_due", holding)
    assert await act_by_rules(archive, 1, always) == 1
    assert await live(archive) == {first}
    assert second not in await live(archive)


async def test_rules_act_in_pages_and_stop_between_them(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    for _ in range(5):
        await make_study(archive)
    await make_rule(archive, DELETE_OLD)
    asked = iter([True, False])

    async def twice() -> bool:
        return next(asked)

    assert await act_by_rules(archive, 1, twice) == 2
    assert await act_by_rules(archive, 1, always) == 3


async def test_what_is_to_be_kept_is_not_deleted_before_its_time(
    archive: Archive, principal: Principal
) -> None:  # D-10
    young = await make_study(archive, {"Modality": "CT"}, {"Modality": "SR"}, date=dated(3649))
    old = await make_study(archive, {"Modality": "CT"}, date=dated(3651))
    other = await make_study(archive, {"Modality": "MR"}, date=dated(10))
    undated = await make_study(archive, {"Modality": "CT"}, date="", stored=3649)
    rule = await make_rule(archive, KEEP_CT, active=False)
    found = await preview_rule(archive, principal, rule.id)
    assert (found.studies, set(found.sample)) == (2, {young, undated})
    await activate_rule(archive, principal, rule.id)
    row = await archive.index.fetchrow(
        "SELECT series_instance_uid FROM series JOIN study ON study.id = study_key"
        " WHERE study_instance_uid = $1 AND modality = 'SR'",
        young,
    )
    assert row is not None
    for ref in (StudyRef(young), SeriesRef(young, row[0]), StudyRef(undated)):
        with pytest.raises(Conflict, match="the retention rule 'ten years' keeps it"):
            await delete(archive, principal, ref)
    assert await delete(archive, principal, StudyRef(old)) == 1
    assert await delete(archive, principal, StudyRef(other)) == 1
    await remove_rule(archive, principal, rule.id)
    assert await delete(archive, principal, StudyRef(young)) == 2


async def test_what_is_to_be_kept_may_be_rejected_and_is_kept_then_too(
    archive: Archive, principal: Principal
) -> None:
    ct = await make_study(archive, {"Modality": "CT"}, date=dated(10))
    mr = await make_study(archive, {"Modality": "MR"}, date=dated(10))
    old = await make_study(archive, {"Modality": "CT"}, date=dated(3651))
    undated = await make_study(archive, {"Modality": "CT"}, date="")
    await make_rule(archive, KEEP_CT)
    for study in (ct, mr, old, undated):
        assert await reject(archive, principal, StudyRef(study), "113001^DCM") == 1
    for study in (ct, undated):
        with pytest.raises(Conflict, match="ten years"):
            await delete(archive, principal, StudyRef(study))
    for study in (mr, old):
        assert await delete(archive, principal, StudyRef(study)) == 1


async def test_a_deletion_waits_for_a_rule_that_is_being_activated(
    archive: Archive, principal: Principal
) -> None:
    study = await make_study(archive, date=dated(10))
    rule = await make_rule(archive, KEEP_CT, active=False)
    async with archive.index.writing() as changing:
        await changing.fetchval(retention_rules.LOCK, 1)
        await changing.fetchrow(retention_rules.ACTIVATE, 1, rule.id)
        deleting = asyncio.create_task(delete(archive, principal, StudyRef(study)))
        await asyncio.sleep(0.3)
        assert not deleting.done()
    with pytest.raises(Conflict, match="ten years"):
        await deleting


@pytest.mark.parametrize(
    "terms",
    [
        Terms("", Action.KEEP, 1),
        Terms("x" * 65, Action.KEEP, 1),
        Terms("a\nb", Action.KEEP, 1),
        Terms("x", Action.KEEP, 0),
        Terms("x", Action.DELETE, 36_501),
        Terms("x", Action.DELETE, 1, modalities=("",)),
        Terms("x", Action.DELETE, 1, stations=("\0",)),
        Terms("x", Action.DELETE, 1, institutions=("x",) * 101),
        Terms("x", Action.DELETE, 1, labels=("a",) * 101),
        Terms("x", Action.DELETE, 1, labels=("No label",)),
    ],
)
async def test_terms_that_are_none_make_no_rule(
    archive: Archive, principal: Principal, terms: Terms
) -> None:
    with pytest.raises(InvalidRequest):
        await add_rule(archive, principal, terms)
    assert await list_rules(archive, principal) == []


async def test_a_name_is_taken_once(archive: Archive, principal: Principal) -> None:
    await add_rule(archive, principal, KEEP_CT)
    with pytest.raises(Conflict, match="'ten years' already"):
        await add_rule(archive, principal, KEEP_CT)
    assert [rule.terms for rule in await list_rules(archive, principal)] == [KEEP_CT]


async def test_rules_are_for_administrators(archive: Archive) -> None:
    clerk = Principal("clerk", verbs=frozenset(Verb) - {Verb.ADMINISTER})
    for doing in (
        add_rule(archive, clerk, KEEP_CT),
        list_rules(archive, clerk),
        preview_rule(archive, clerk, 1),
        activate_rule(archive, clerk, 1),
        deactivate_rule(archive, clerk, 1),
        remove_rule(archive, clerk, 1),
    ):
        with pytest.raises(Forbidden):
            await doing
