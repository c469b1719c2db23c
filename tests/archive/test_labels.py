"""Labels on Studies: who puts them on, who sees them, and how long they stay."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.archive.context import Archive
from app.archive.labels import (
    label_study,
    labels_of,
    list_labelled,
    list_labels,
    unlabel_study,
)
from app.archive.purge import purge_deleted
from app.archive.removal import delete, reject, restore
from app.archive.restoring import restore_deleted
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Conflict, Forbidden, Gone, InvalidRequest, NotFound
from app.index import labels as index_labels
from app.index import purging
from app.index.access import BEARS, VISIBLE, visible_arguments
from app.index.events import Event, Position, read_events
from app.index.labels import Labelled
from app.index.purging import forget, list_deleted
from app.rights import Principal, Scope, Verb
from tests.archive.test_holds import is_waiting
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

LATER = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


@pytest.fixture
async def study(archive: Archive, principal: Principal) -> str:
    return await stored(archive, principal)


async def stored(archive: Archive, principal: Principal, uid: str = "", instances: int = 1) -> str:
    uid = uid or new_uid()
    made = [make_part10(StudyInstanceUID=uid) for _ in range(instances)]
    await store(archive, principal, *made)
    return uid


async def purge(archive: Archive, principal: Principal) -> None:
    before = datetime.now(UTC) + LATER
    await purge_deleted(archive, principal, before, lambda _: None, really=True)


async def told(archive: Archive) -> list[Event]:
    events = await read_events(archive.index, 1, Position())
    return [event for event in events if "labels" in event.payload]


async def kept(archive: Archive, study: str) -> list[str]:
    """Return the labels that the table has, seen or hidden."""
    rows = await archive.index.fetch(
        "SELECT label FROM study_label WHERE study_instance_uid = $1 ORDER BY 1", study
    )
    return [row["label"] for row in rows]


async def test_labels_are_put_on_listed_and_taken_off_and_each_change_is_told_once(
    archive: Archive, principal: Principal, study: str
) -> None:
    assert await label_study(archive, principal, study, ["teaching", "a"]) == ["a", "teaching"]
    assert await label_study(archive, Principal("other"), study, ["b", "a"]) == ["b"]
    assert await label_study(archive, principal, study, ["a", "b"]) == []
    assert await labels_of(archive, principal, study) == ["a", "b", "teaching"]
    assert await unlabel_study(archive, principal, study, ["b", "c"]) == ["b"]
    assert await unlabel_study(archive, principal, study, ["b"]) == []
    assert await labels_of(archive, principal, study) == ["a", "teaching"]
    assert [(one.kind, one.actor, one.payload) for one in await told(archive)] == [
        ("labelled", principal.name, {"study": study, "labels": ["a", "teaching"]}),
        ("labelled", "other", {"study": study, "labels": ["b"]}),
        ("unlabelled", principal.name, {"study": study, "labels": ["b"]}),
    ]
    assert await archive.sealer.seal_waiting() == 0  # all of it was sealed before the answer


async def test_labels_are_counted_and_their_studies_listed_in_pages(
    archive: Archive, principal: Principal
) -> None:
    uids = sorted([await stored(archive, principal) for _ in range(3)])
    for uid in uids:
        await label_study(archive, principal, uid, ["all", f"only:{uids.index(uid)}"])
    found = await list_labels(archive, principal, "", 2)
    assert found == [Labelled("all", 3), Labelled("only:0", 1)]
    rest = await list_labels(archive, principal, "only:0", 10)
    assert [one.label for one in rest] == ["only:1", "only:2"]
    assert await list_labelled(archive, principal, "all", "", 2) == uids[:2]
    assert await list_labelled(archive, principal, "all", uids[1], 2) == uids[2:]
    assert await list_labelled(archive, principal, "none", "", 2) == []


@pytest.mark.parametrize(
    "label", ["", "A", "ä", "a b", "a/b", "-a", ".", "..", "x" * 65, "a\0", "a\n", "١"]
)
async def test_what_is_no_label_is_refused_in_words(
    archive: Archive, principal: Principal, study: str, label: str
) -> None:
    for doing in (
        label_study(archive, principal, study, ["good", label]),
        unlabel_study(archive, principal, study, [label]),
        list_labelled(archive, principal, label, "", 10),
    ):
        with pytest.raises(InvalidRequest, match="up to 64 lower-case letters, digits"):
            await doing
    assert await labels_of(archive, principal, study) == []


async def test_a_study_bears_up_to_a_number_of_labels(
    archive: Archive, principal: Principal, study: str
) -> None:
    many = [f"label-{number:02}" for number in range(64)]
    await label_study(archive, principal, study, many)
    assert await label_study(archive, principal, study, many[:5]) == []
    with pytest.raises(Conflict, match="up to 64 labels"):
        await label_study(archive, principal, study, ["one.more"])
    with pytest.raises(InvalidRequest, match="at once"):
        await label_study(archive, principal, study, [*many, "one.more"])
    assert await labels_of(archive, principal, study) == many
    assert len(await told(archive)) == 1


async def test_who_may_not_see_a_study_learns_nothing_of_its_labels(
    archive: Archive, principal: Principal, study: str
) -> None:
    mine = await stored(archive, principal)
    await label_study(archive, principal, study, ["secret", "shared"])
    await label_study(archive, principal, mine, ["shared"])
    someone = Principal("someone", Scope(studies=frozenset({mine})))
    for hidden in (
        labels_of(archive, someone, study),
        label_study(archive, someone, study, ["mine"]),
        unlabel_study(archive, someone, study, ["secret"]),
    ):
        with pytest.raises(NotFound):
            await hidden
    assert await list_labels(archive, someone, "", 10) == [Labelled("shared", 1)]
    assert await list_labelled(archive, someone, "shared", "", 10) == [mine]
    assert await list_labelled(archive, someone, "secret", "", 10) == []
    elsewhere = Principal("elsewhere", Scope(tenant_id=2))
    assert await list_labels(archive, elsewhere, "", 10) == []
    assert await labels_of(archive, principal, study) == ["secret", "shared"]


async def test_who_may_search_sees_labels_and_who_administers_changes_them(
    archive: Archive, principal: Principal, study: str
) -> None:
    reader = Principal("reader", verbs=frozenset({Verb.SEARCH}))
    writer = Principal("writer", verbs=frozenset(Verb) - {Verb.SEARCH, Verb.ADMINISTER})
    await label_study(archive, principal, study, ["a"])
    assert await labels_of(archive, reader, study) == ["a"]
    assert await list_labels(archive, reader, "", 10) == [Labelled("a", 1)]
    for doing in (
        label_study(archive, reader, study, ["b"]),
        unlabel_study(archive, reader, study, ["a"]),
        label_study(archive, writer, study, ["b"]),
        labels_of(archive, writer, study),
        list_labels(archive, writer, "", 10),
        list_labelled(archive, writer, "a", "", 10),
    ):
        with pytest.raises(Forbidden):
            await doing


async def test_labels_are_hidden_with_their_study_and_come_back_with_it(
    archive: Archive, principal: Principal, study: str
) -> None:  # D-11
    ref = StudyRef(study)
    await label_study(archive, principal, study, ["a"])
    for rejected in (False, True):
        await (
            reject(archive, principal, ref, "113001^DCM")
            if rejected
            else delete(archive, principal, ref)
        )
        for doing in (
            labels_of(archive, principal, study),
            label_study(archive, principal, study, ["b"]),
            unlabel_study(archive, principal, study, ["a"]),
        ):
            with pytest.raises(Gone):
                await doing
        assert await list_labels(archive, principal, "", 10) == []
        assert await list_labelled(archive, principal, "a", "", 10) == []
        await (restore if rejected else restore_deleted)(archive, principal, ref)
        assert await labels_of(archive, principal, study) == ["a"]
    with pytest.raises(NotFound):
        await label_study(archive, principal, new_uid(), ["a"])


async def test_labels_of_a_study_stored_again_are_there_until_the_last_of_it_is_purged(
    archive: Archive, principal: Principal, study: str
) -> None:
    await label_study(archive, principal, study, ["a", "b"])
    await delete(archive, principal, StudyRef(study))
    await stored(archive, principal, study)
    assert await labels_of(archive, principal, study) == ["a", "b"]
    await purge(archive, principal)  # what was deleted; the rest is there
    assert await labels_of(archive, principal, study) == ["a", "b"]
    await delete(archive, principal, StudyRef(study))
    await purge(archive, principal)
    assert await kept(archive, study) == []
    assert [(one.kind, one.payload["labels"]) for one in await told(archive)] == [
        ("labelled", ["a", "b"]),
        ("unlabelled", ["a", "b"]),
    ]
    await stored(archive, principal, study)
    assert await labels_of(archive, principal, study) == []


async def test_labels_stay_while_something_rejected_of_the_study_does(
    archive: Archive, principal: Principal
) -> None:
    study = await stored(archive, principal, instances=2)
    await label_study(archive, principal, study, ["a"])
    row = await archive.index.fetchrow(
        "SELECT series_instance_uid, sop_instance_uid FROM instance"
        " JOIN series ON series.id = series_key ORDER BY instance.id LIMIT 1"
    )
    assert row is not None
    await reject(archive, principal, InstanceRef(study, *row), "113001^DCM")
    rest = await archive.index.fetchrow(
        "SELECT series_instance_uid FROM series JOIN study ON study.id = study_key"
    )
    assert rest is not None
    await delete(archive, principal, SeriesRef(study, rest[0]))
    await purge(archive, principal)
    assert await kept(archive, study) == ["a"]
    await restore(archive, principal, StudyRef(study))
    assert await labels_of(archive, principal, study) == ["a"]


async def test_two_purges_of_one_study_at_once_leave_no_label(
    archive: Archive, principal: Principal
) -> None:
    study = await stored(archive, principal, instances=2)
    await label_study(archive, principal, study, ["a"])
    await delete(archive, principal, StudyRef(study))
    table, before = "removed_instance", datetime.now(UTC) + LATER
    one, other = await list_deleted(archive.index, table, before)

    async def forget_other() -> None:
        await purging.forget_deleted(archive.index, table, before, [other], "x")

    async with archive.index.writing() as connection:
        assert len(await forget(connection, table, before, [one], "x")) == 1
        second = asyncio.create_task(forget_other())
        assert await is_waiting(second)
    await second
    assert await kept(archive, study) == []
    assert [one.kind for one in await told(archive)] == ["labelled", "unlabelled"]


async def test_of_two_requests_at_once_the_later_event_is_what_holds(
    archive: Archive, principal: Principal, study: str
) -> None:
    for _ in range(5):
        changed = await asyncio.gather(
            *(label_study(archive, principal, study, ["a"]) for _ in range(3)),
            *(unlabel_study(archive, principal, study, ["a"]) for _ in range(3)),
        )
        events = sorted(await told(archive), key=lambda one: one.position.number)
        kinds = [one.kind for one in events]
        assert kinds == ["labelled", "unlabelled"] * (len(kinds) // 2) + ["labelled"] * (
            len(kinds) % 2
        )
        assert len([one for one in changed if one]) >= 1
        there = await labels_of(archive, principal, study) == ["a"]
        assert there == (kinds[-1] == "labelled")


async def test_a_label_and_a_removal_of_one_study_wait_for_each_other(
    archive: Archive, principal: Principal, study: str
) -> None:
    async with archive.index.writing() as connection:
        lock = "SELECT id FROM study WHERE study_instance_uid = $1 FOR UPDATE"
        await connection.fetchval(lock, study)
        labelling = asyncio.create_task(label_study(archive, principal, study, ["a"]))
        assert await is_waiting(labelling)
    assert await labelling == ["a"]
    async with archive.index.writing() as connection:
        await connection.fetchval(index_labels.LOCK, *visible_arguments(Scope()), study)
        deleting = asyncio.create_task(delete(archive, principal, StudyRef(study)))
        assert await is_waiting(deleting)
    assert await deleting == 1
    with pytest.raises(Gone):
        await label_study(archive, principal, study, ["b"])


async def test_one_predicate_narrows_what_is_seen_to_studies_with_some_labels(
    archive: Archive, principal: Principal
) -> None:
    one, two, _ = [await stored(archive, principal) for _ in range(3)]
    await label_study(archive, principal, one, ["trial:1", "trial:2"])
    await label_study(archive, principal, two, ["trial:2"])
    statement = (
        f"SELECT study_instance_uid FROM study WHERE {VISIBLE}"  # noqa: S608
        f" AND {BEARS.format(labels='$3::text[]')}"
    )

    async def seen(*labels: str) -> set[str]:
        rows = await archive.index.fetch(statement, *visible_arguments(Scope()), list(labels))
        return {row[0] for row in rows}

    assert await seen("trial:1") == {one}
    assert await seen("trial:1", "trial:2", "none") == {one, two}
    assert await seen() == set()
    plan = await archive.index.fetch(
        f"EXPLAIN {statement}", *visible_arguments(Scope()), ["trial:1"]
    )
    assert any("study_label" in row[0] and "Index" in row[0] for row in plan)
