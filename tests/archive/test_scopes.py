"""Callers of a narrower scope: what they see, may store, and learn of others."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.archive import labels as archive_labels
from app.archive.changes import follow_changes, read_changes
from app.archive.commitment import check_commitment, request_commitment
from app.archive.context import Archive
from app.archive.exporting import export_study
from app.archive.findings import list_findings
from app.archive.frames import find_frames
from app.archive.holds import find_hold, hold_study, list_holds, release_study
from app.archive.indexed_tags import list_tags
from app.archive.ingest_labels import add_label_rule, list_label_rules, remove_label_rule
from app.archive.labels import label_study, labels_of, unlabel_study
from app.archive.manifests import open_manifest
from app.archive.removal import delete, reject, restore
from app.archive.restoring import list_deleted, restore_deleted
from app.archive.retention import list_rules
from app.archive.retrieve import find_instance, retrieve_instances
from app.archive.webhooks import list_all
from app.dicom.commitment import Reference
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Conflict, Forbidden, NotFound
from app.index.events import Position, read_events
from app.index.ingest_rules import Conditions
from app.index.places import locate_instance
from app.mime.media_types import Form
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.archive.test_storing_under_scope import UPLOADER, labelled, patients, sees
from tests.factories import make_part10, new_uid

ANY = [Form("*/*", multipart=True)]
A, B = labelled("a"), labelled("b")


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.leases.LEASE_SECONDS", 0)


async def test_what_concerns_all_is_not_for_an_administrator_of_some(archive: Archive) -> None:
    today = "2026-01-01"
    for refused in (
        list_findings(archive, A, 0, 10),
        list_rules(archive, A),
        list_all(archive, A),
        list_tags(archive, A),
        open_manifest(archive, A, today),
        list_label_rules(archive, A),
        add_label_rule(archive, A, "a", Conditions(sender="x")),
        remove_label_rule(archive, A, 1),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_the_feed_tells_of_what_is_seen_when_it_is_read(
    archive: Archive, principal: Principal
) -> None:
    (mine,) = (await store(archive, A, make_part10())).stored
    (other,) = (await store(archive, B, make_part10())).stored
    await add_label_rule(archive, principal, "x", Conditions(sender="y"))

    async def told(caller: Principal) -> list[tuple[str, str]]:
        events, place = await read_changes(archive, caller, Position(), 100, 0)
        assert place == (await read_events(archive.index, 1, Position()))[-1].position
        return [(one.kind, one.payload.get("study", "")) for one in events]

    assert await told(A) == [("accepted", mine.ref.study), ("labelled", mine.ref.study)]
    assert len(await told(principal)) == 5
    await delete(archive, principal, StudyRef(mine.ref.study))
    assert (await told(A))[-1] == ("removed", mine.ref.study)
    await label_study(archive, principal, other.ref.study, ["a"])
    assert ("accepted", other.ref.study) in await told(A)
    await unlabel_study(archive, principal, other.ref.study, ["a"])
    assert {study for _, study in await told(A)} == {mine.ref.study}


async def test_who_is_no_longer_the_same_follows_no_longer(archive: Archive) -> None:
    answers = iter([True, False])

    async def still() -> bool:
        return next(answers)

    async def followed() -> AsyncIterator[int]:
        async for events, _ in await follow_changes(archive, A, Position(), still):
            yield len(events)
            await store(archive, A, make_part10())

    await store(archive, A, make_part10())
    async with asyncio.timeout(20):
        assert [count async for count in followed()] == [2]


async def test_frames_are_not_given_out_after_a_label_is_taken_off(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0.2)
    monkeypatch.setattr("app.archive.leases.LEASE_SECONDS", 0.2)
    (stored,) = (await store(archive, A, make_part10())).stored
    for _ in range(3):
        await find_frames(archive, A, stored.ref, [1], ANY)
    await unlabel_study(archive, principal, stored.ref.study, ["a"])
    with pytest.raises(NotFound):
        await find_frames(archive, A, stored.ref, [1], ANY)


async def test_a_held_study_of_others_is_not_there(archive: Archive, principal: Principal) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    study = stored.ref.study
    await hold_study(archive, principal, study, "a case")
    for refused in (
        delete(archive, B, StudyRef(study)),
        reject(archive, B, StudyRef(study), "113001^DCM"),
        find_hold(archive, B, study),
        hold_study(archive, B, study, "mine"),
        release_study(archive, B, study),
        archive_labels.labels_of(archive, B, study),
    ):
        with pytest.raises(NotFound):
            await refused
    with pytest.raises(Conflict):
        await delete(archive, A, StudyRef(study))
    assert [len(await list_holds(archive, one, "", 9)) for one in (A, B)] == [1, 0]


async def test_what_was_removed_comes_back_for_who_saw_it(
    archive: Archive, principal: Principal
) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    study = StudyRef(stored.ref.study)
    await delete(archive, A, study)
    assert [len(await list_deleted(archive, one, "", 9)) for one in (A, B)] == [1, 0]
    with pytest.raises(NotFound):
        await restore_deleted(archive, B, study)
    with pytest.raises(NotFound):  # for whom not all is in sight nothing is gone
        await delete(archive, patients("CT-1"), study)
    assert (await restore_deleted(archive, A, study)).instances == 1
    await reject(archive, A, stored.ref, "113001^DCM")
    with pytest.raises(NotFound):
        await restore(archive, B, study)
    assert await restore(archive, A, study) == 1
    assert await sees(archive, A, stored.ref)


async def test_a_commitment_is_about_what_its_caller_saw(
    archive: Archive, principal: Principal
) -> None:
    (mine,) = (await store(archive, A, make_part10())).stored
    (other,) = (await store(archive, B, make_part10())).stored
    named = [Reference(one.sop_class_uid, one.ref.instance) for one in (mine, other)]
    transaction = new_uid()
    result = await request_commitment(archive, A, transaction, named)
    assert result is not None
    found = json.loads(result)
    for sequence, one in (("00081199", mine), ("00081198", other)):
        (item,) = found[sequence]["Value"]
        assert item["00081155"]["Value"] == [one.ref.instance]
    assert await check_commitment(archive, A, transaction) == result
    assert await check_commitment(archive, labelled("a", "c"), transaction) == result
    assert await check_commitment(archive, principal, transaction) == result
    with pytest.raises(NotFound):
        await check_commitment(archive, B, transaction)


async def test_whole_objects_are_for_who_may_download(archive: Archive, tmp_path: Any) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    onlooker = Principal("onlooker", verbs=frozenset({Verb.SEARCH, Verb.VIEW}))
    await find_frames(archive, onlooker, stored.ref, [1], ANY)
    for refused in (
        retrieve_instances(archive, onlooker, stored.ref, ANY),
        export_study(archive, onlooker, StudyRef(stored.ref.study), tmp_path, print),
        find_instance(archive, UPLOADER, stored.ref.instance),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_the_same_uid_in_two_tenants_is_two_instances(
    archive: Archive, principal: Principal
) -> None:
    async with archive.index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    other = Principal("theirs", Scope(2))
    names: dict[str, Any] = {
        name: new_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    ref = InstanceRef(*names.values())
    mine = make_part10(**names, PatientID="mine")
    theirs = make_part10(**names, PatientID="theirs")
    for caller, data in ((principal, mine), (other, theirs)):
        assert (await store(archive, caller, data)).stored
        (again,) = (await store(archive, caller, data)).stored
        assert again.known
        await label_study(archive, caller, ref.study, [caller.name])
    places = [await locate_instance(archive.index, one.scope, ref) for one in (principal, other)]
    assert [place.object_key.split("/")[:2] for place in places] == [["t", "1"], ["t", "2"]]
    assert await labels_of(archive, other, ref.study) == ["theirs"]
    for _ in range(3):  # leases, and what is remembered of Series, are of one tenant
        for caller, place in zip((principal, other), places, strict=True):
            found = await find_frames(archive, caller, ref, [1], ANY)
            assert found.instance.object_key == place.object_key
    await hold_study(archive, other, ref.study, "theirs")
    await delete(archive, principal, SeriesRef(ref.study, ref.series))
    assert not await sees(archive, principal, ref)
    assert await sees(archive, other, ref)
    assert [one.kind for one in await read_events(archive.index, 2, Position())] == [
        "accepted", "labelled", "held",
    ]  # fmt: skip
