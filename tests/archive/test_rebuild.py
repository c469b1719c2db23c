"""A rebuild makes the index that there was, from what lies in the object store alone."""

import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import HangingProtocolStorage

from app.archive.commitment import request_commitment
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.forwarding import add_rule as add_forwarding_rule
from app.archive.forwarding import claim, put_destination, remove_destination, settle_claim
from app.archive.forwarding import remove_rule as remove_forwarding_rule
from app.archive.holds import hold_study, release_study
from app.archive.indexed_tags import index_tag, unindex_tag
from app.archive.ingest_labels import add_label_rule, remove_label_rule
from app.archive.labels import label_study, unlabel_study
from app.archive.non_patient import delete_non_patient
from app.archive.rebuild import Outcome, Rebuilt, rebuild_index
from app.archive.removal import delete, reject, restore
from app.archive.retention import activate_rule, add_rule, deactivate_rule, remove_rule
from app.archive.sealed_log import verify_log
from app.archive.store import store_instances
from app.archive.trail import access_of
from app.dicom.chosen_attributes import read_chosen
from app.dicom.commitment import Reference
from app.dicom.uids import InstanceRef, NonPatientRef, StudyRef
from app.errors import Conflict, Damaged, Forbidden
from app.index.events import Position, read_events
from app.index.forwarding_rules import Address
from app.index.forwarding_rules import Terms as Forwarded
from app.index.ingest_rules import Conditions
from app.index.overview import count_everything
from app.index.packing import make_dictionary, unpack_metadata
from app.index.reads import SEARCHED, VIEWED
from app.index.retention_rules import Action, Terms
from app.index.revisions import migrations_directory
from app.rights import Principal, Scope
from tests.archive.test_backup import spoil
from tests.archive.test_store import parts, store
from tests.archive.test_verify import files
from tests.factories import make_non_patient, make_part10, new_uid

Told = list[Rebuilt]

# What an index says, without numbers that are given anew and times of a Study or Series
CONTENT = {
    "instance": """
        SELECT study_instance_uid, series_instance_uid, metadata_dictionary, instance.*
        FROM instance
        JOIN series ON series.id = series_key JOIN study ON study.id = series.study_key
        ORDER BY sop_instance_uid""",
    "series": """
        SELECT study_instance_uid, series.* FROM series JOIN study ON study.id = study_key
        ORDER BY series_instance_uid""",
    "study": "SELECT * FROM study ORDER BY study_instance_uid",
    "patient": "SELECT * FROM patient WHERE number_of_studies > 0 ORDER BY patient_id",
    "removed": "SELECT * FROM removed_instance ORDER BY sop_instance_uid, object_key",
    "other": "SELECT * FROM non_patient_instance ORDER BY sop_instance_uid",
    "removed other": "SELECT * FROM removed_non_patient_instance ORDER BY sop_instance_uid",
    "hold": "SELECT * FROM hold ORDER BY 2",
    "rule": "SELECT id AS number, * FROM retention_rule ORDER BY id",
    "destination": "SELECT * FROM destination ORDER BY ae_title",
    "forwarding rule": """
        SELECT r.id AS number, ae_title, sources, modalities, sop_classes, r.made_by, r.made_at
        FROM forwarding_rule r JOIN destination d ON d.id = destination_id ORDER BY r.id""",
    "forwarding": "SELECT * FROM forwarding",
    "label": "SELECT * FROM study_label ORDER BY 2, 3",
    "label rule": "SELECT id AS number, * FROM ingest_label_rule ORDER BY id",
    "tag": "SELECT tenant_id, name, level, vr, state, chosen_at FROM indexed_attribute ORDER BY 2",
    "value": """
        SELECT name, coalesce(study_instance_uid, series_instance_uid, sop_instance_uid) AS owner,
            position, items, value
        FROM attribute_value JOIN indexed_attribute a ON a.id = attribute_id
        LEFT JOIN study ON level = 0 AND study.id = owner_key
        LEFT JOIN series ON level = 1 AND series.id = owner_key
        LEFT JOIN instance ON level = 2 AND instance.id = owner_key
        ORDER BY 1, 2, 3""",
    "event": "SELECT xid::text AS place, * FROM event ORDER BY event.xid, id",
    "segment": "SELECT * FROM segment ORDER BY number",
    "key": "SELECT number, public_key FROM seal_key ORDER BY number",
}
NUMBERS = {"id", "study_key", "series_key", "patient_key"}
GIVEN_ANEW = {
    "study": {"version", "created_at", "updated_at"},
    "series": {"version", "created_at", "updated_at"},
}


async def content(archive: Archive) -> dict[str, list[dict[str, object]]]:
    found = {}
    for name, statement in CONTENT.items():
        left_out = (set() if name == "event" else NUMBERS) | GIVEN_ANEW.get(name, set())
        rows = await archive.index.search(statement)
        found[name] = [_plain(dict(row), left_out) for row in rows]
    return found


def _plain(row: Mapping[str, object], left_out: Collection[str]) -> dict[str, object]:
    """Return a row with its Metadata unpacked, which is packed with what came first."""
    values = {name: value for name, value in row.items() if name not in left_out}
    dictionary = values.pop("metadata_dictionary", None)
    if "metadata" in values:
        packed = values["metadata"]
        assert isinstance(packed, bytes)
        assert isinstance(dictionary, bytes | None)
        values["metadata"] = unpack_metadata(dictionary or make_dictionary(b""), packed)
    return values


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


async def rebuilt(archive: Archive, principal: Principal) -> Told:
    told: Told = []
    await rebuild_index(archive, principal, told.append)
    return told


def outcomes(told: Told) -> dict[Outcome, int]:
    return {one: sum(it.outcome is one for it in told) for one in {it.outcome for it in told}}


async def eventful(archive: Archive, principal: Principal) -> None:
    """Store, delete, reject, bring back and store again, in one Study and in several."""
    study, series = new_uid(), new_uid()
    made = [
        make_part10(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            PatientAge=f"03{number}Y",
            ProtocolName=f"P{number}",
            ImageType=["ORIGINAL", f"{number}"],
            KVP=100 + number,
        )
        for number in range(6)
    ]
    await store(archive, principal, *made)
    refs = [
        InstanceRef(study, series, event)
        for one in await read_events(archive.index, 1, Position())
        for event in one.payload["series"][series]
    ]
    await delete(archive, principal, refs[0])
    await reject(archive, principal, refs[1], "113001^DCM")
    await reject(archive, principal, refs[2], "113037^DCM")
    await restore(archive, principal, refs[2])
    await delete(archive, principal, refs[3])
    await store(archive, principal, *made)  # what was deleted comes again, under new keys
    await delete(archive, principal, refs[3])
    for _ in range(2):
        await store(
            archive, principal, *(make_part10(StudyInstanceUID=new_uid()) for _ in range(3))
        )
    held, freed = new_uid(), new_uid()
    for uid in (held, freed):
        await store(archive, principal, make_part10(StudyInstanceUID=uid))
        await hold_study(archive, principal, uid, "case 17")
    await release_study(archive, principal, freed)
    await ruled(archive, principal)
    await forwarded(archive, principal)
    await labelled_and_chosen(archive, principal, held, freed)
    gone = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=gone))
    await label_study(archive, principal, gone, ["hidden"])
    await delete(archive, principal, StudyRef(gone))
    await request_commitment(archive, principal, new_uid(), [Reference("1.2", refs[0].instance)])
    palette = make_non_patient(HangingProtocolStorage)
    into = NonPatientRef("hanging-protocols", None)
    await store_instances(archive, principal, parts(make_part10(palette)), into)
    await delete_non_patient(archive, principal, "hanging-protocols", palette.SOPInstanceUID)
    await store_instances(archive, principal, parts(make_part10(palette)), into)


async def ruled(archive: Archive, principal: Principal) -> None:
    """Make rules: one that acts, one that is taken away, and one that rests; and two for labels."""
    await add_label_rule(archive, principal, "x", Conditions(calling_ae="X", institution="Site"))
    gone = await add_label_rule(archive, principal, "y", Conditions(sender="somebody"))
    await remove_label_rule(archive, principal, gone.id)
    kept = await add_rule(
        archive, principal, Terms("ten years", Action.KEEP, 3653, modalities=("PX",))
    )
    await activate_rule(archive, principal, kept.id)
    other = await add_rule(archive, principal, Terms("old", Action.DELETE, 9000))
    await remove_rule(archive, principal, other.id)
    rests = await add_rule(archive, principal, Terms("rests", Action.KEEP, 9, labels=("a", "b")))
    await activate_rule(archive, principal, rests.id)
    await deactivate_rule(archive, principal, rests.id)


async def forwarded(archive: Archive, principal: Principal) -> None:
    """Set destinations and rules, some of them taken away; store what meets one, and send it."""
    for host in ("10.0.0.1", "10.0.0.2"):
        await put_destination(archive, principal, Address("STATION", host, 104))
    await put_destination(archive, principal, Address("GONE", "10.0.0.3", 104))
    other = await add_forwarding_rule(archive, principal, Forwarded("GONE"))
    await remove_forwarding_rule(archive, principal, other.id)
    await remove_destination(archive, principal, "GONE")
    await add_forwarding_rule(archive, principal, Forwarded("STATION", ("CT01",), ("CT",)))
    await store(archive, replace(principal, calling_ae="CT01"), make_part10())
    made = await claim(archive, principal, None, 10, 60)
    assert made is not None
    await settle_claim(archive, principal, made[0], [one.id for one in made[1].items], {})


async def labelled_and_chosen(archive: Archive, principal: Principal, one: str, other: str) -> None:
    """Put labels on and take some off; choose attributes for the index and give one up."""
    await label_study(archive, principal, one, ["a", "b"])
    await label_study(archive, principal, other, ["a", "trial:4"])
    await unlabel_study(archive, principal, one, ["b"])
    await unlabel_study(archive, principal, other, ["a"])
    await label_study(archive, principal, other, ["a"])
    for tag in ("ProtocolName", "ImageType", "PatientAge", "KVP"):
        await index_tag(archive, principal, read_chosen(tag), lambda _: None)
    await unindex_tag(archive, principal, read_chosen("KVP"))


async def test_the_new_index_is_the_old_one(
    archive: Archive, again: Archive, principal: Principal
) -> None:
    await eventful(archive, principal)
    await archive.sealer.settle(1)
    told = await rebuilt(again, principal)
    assert outcomes(told).keys() == {Outcome.LIVE, Outcome.REMOVED}
    before, after = await content(archive), await content(again)
    for name in CONTENT:
        assert after[name] == before[name], name
    assert before["label"]
    assert before["value"]
    assert before["forwarding rule"]
    assert await count_everything(again.index, Scope()) == await count_everything(
        archive.index, Scope()
    )


@pytest.mark.parametrize("removed", [True, False])
async def test_a_series_is_made_of_the_same_instance_whoever_came_first(
    archive: Archive, again: Archive, principal: Principal, *, removed: bool
) -> None:
    study, series = new_uid(), new_uid()
    uids = [f"1.2.826.9.{number}" for number in (85, 105, 9)]  # in text 105 comes before 85
    made = [
        make_part10(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid)
        for uid in uids
    ]
    await store(archive, principal, *made)
    if removed:
        await delete(archive, principal, InstanceRef(study, series, min(uids)))
    await archive.sealer.settle(1)
    await rebuilt(again, principal)
    before, after = await content(archive), await content(again)
    assert [before[name] for name in ("study", "series")] == [
        after[name] for name in ("study", "series")
    ]


async def test_the_log_and_its_seal_go_on(
    archive: Archive, again: Archive, principal: Principal
) -> None:
    await eventful(archive, principal)
    await archive.sealer.settle(1)
    old = await read_events(archive.index, 1, Position(), limit=1000)
    await rebuilt(again, principal)
    await store(again, principal, make_part10())
    events = await read_events(again.index, 1, Position(), limit=1000)
    assert events[:-1] == old
    assert await again.sealer.seal_waiting() == 1
    assert {one.state async for one in verify_log(again, 1)} == {State.SEALED}


async def test_what_is_not_sealed_is_admitted_and_told_of(
    archive: Archive, again: Archive, principal: Principal
) -> None:
    await store(archive, principal, make_part10())
    await archive.sealer.seal_waiting()
    await store(archive, principal, make_part10())
    told = await rebuilt(again, principal)
    assert outcomes(told) == {Outcome.LIVE: 1, Outcome.ADMITTED: 1}
    assert (await count_everything(again.index, Scope())).instances == 2


async def test_without_any_log_all_that_is_whole_is_admitted(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path
) -> None:
    await store(archive, principal, *(make_part10() for _ in range(3)))
    damaged, *_ = files(tmp_path)
    damaged.chmod(0o600)
    damaged.write_bytes(b"no DICOM any more")
    told = await rebuilt(again, principal)
    assert outcomes(told) == {Outcome.DOUBTFUL: 1, Outcome.ADMITTED: 2, Outcome.LEFT_OUT: 1}
    assert "no log" in told[0].detail


async def test_what_no_event_names_is_left_out_when_it_is_old(
    archive: Archive, again: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.rebuild.GRACE_SECONDS", -60)
    await store(archive, principal, make_part10())
    await archive.sealer.seal_waiting()
    await store(archive, principal, make_part10())
    told = await rebuilt(again, principal)
    assert outcomes(told) == {Outcome.LIVE: 1, Outcome.LEFT_OUT: 1}


async def test_what_was_accepted_and_is_lost_is_told_of(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path
) -> None:
    await store(archive, principal, *(make_part10() for _ in range(3)))
    await archive.sealer.seal_waiting()
    missing, damaged, _ = files(tmp_path)
    missing.unlink()
    spoil(damaged)
    told = await rebuilt(again, principal)
    assert outcomes(told) == {Outcome.LIVE: 1, Outcome.LOST: 2}


async def test_what_was_chosen_for_the_index_before_it_was_logged_is_logged_then(
    archive: Archive, principal: Principal
) -> None:
    await index_tag(archive, principal, read_chosen("ProtocolName"), lambda _: None)
    (event,) = await read_events(archive.index, 1, Position())
    path = migrations_directory() / "versions" / "0014_labels.py"
    specification = importlib.util.spec_from_file_location("labels", path)
    assert specification is not None
    assert specification.loader is not None
    migration = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(migration)
    async with archive.index.writing() as connection:
        await connection.execute(migration.TELL_OF_TAGS)
    _, again = await read_events(archive.index, 1, Position())
    assert (again.kind, again.payload) == (event.kind, event.payload)


async def test_a_segment_that_was_tampered_with_is_believed_only_if_that_is_said(
    archive: Archive, again: Archive, principal: Principal, tmp_path: Path
) -> None:
    await store(archive, principal, make_part10())
    await archive.sealer.seal_waiting()
    (segment,) = (tmp_path / "objects" / "log").rglob("*.json")
    segment.chmod(0o600)
    segment.write_bytes(segment.read_bytes().replace(b'"actor":"test"', b'"actor":"tset"'))
    with pytest.raises(Damaged, match="as it was signed: first: its entries are not those"):
        await rebuilt(again, principal)
    told: Told = []
    await rebuild_index(again, principal, told.append, doubtful=True)
    assert outcomes(told) == {Outcome.DOUBTFUL: 1, Outcome.LIVE: 1}


async def test_what_was_broken_off_goes_on(
    archive: Archive, again: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.rebuilding.PAGE", 2)
    await eventful(archive, principal)
    await archive.sealer.settle(1)
    told: Told = []

    def tell(one: Rebuilt) -> None:
        told.append(one)
        if len(told) % 5 == 0:
            raise ZeroDivisionError

    for _ in range(50):
        try:
            await rebuild_index(again, principal, tell)
            break
        except ZeroDivisionError:
            continue
    before, after = await content(archive), await content(again)
    for name in CONTENT:
        assert after[name] == before[name], name


async def test_an_index_in_use_is_never_made_anew(archive: Archive, principal: Principal) -> None:
    await store(archive, principal, make_part10())
    with pytest.raises(Conflict, match="in use"):
        await rebuilt(archive, principal)
    with pytest.raises(Forbidden):
        await rebuilt(archive, Principal("x", verbs=frozenset()))


async def test_who_read_what_comes_back_and_who_looked_at_the_empty_index_is_forgotten(
    archive: Archive, again: Archive, principal: Principal
) -> None:
    study = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=study))
    await archive.trail.write(access_of(principal, VIEWED, study))
    assert await archive.sealer.seal_waiting() == 1
    await again.trail.write(access_of(principal, SEARCHED))
    await rebuilt(again, principal)
    before, after = await content(archive), await content(again)
    assert after["event"] == before["event"]
    assert [event["kind"] for event in after["event"]] == ["accepted", VIEWED]
    assert [one.state async for one in verify_log(again, 1)] == [State.SEALED]
