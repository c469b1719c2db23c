"""Storing under a scope: what is refused, what one learns by that, and labels at ingest."""

import asyncio
from typing import Any

import pytest

from app.archive.context import Archive, Place, open_archive
from app.archive.ingest_labels import add_label_rule, list_label_rules, remove_label_rule
from app.archive.labels import label_study, labels_of, unlabel_study
from app.archive.removal import delete, reject
from app.archive.restoring import restore_deleted
from app.archive.store import store_instances
from app.dicom.store_report import Failed, FailureReason, StoreReport
from app.dicom.uids import InstanceRef, StudyRef
from app.errors import Conflict, Gone, InvalidRequest, NotFound
from app.index.events import Position, read_events
from app.index.ingest_rules import Conditions
from app.index.overview import Overview, count_everything
from app.index.places import locate_instance
from app.mime.media_types import Form
from app.rights import Principal, Role, Scope, principal_of
from tests.archive.test_store import parts, rows, store
from tests.factories import make_part10, new_uid
from tests.waiting import until

ISSUER = "Fileroom"
ANY = [Form("*/*", multipart=True)]


def labelled(*labels: str, **others: Any) -> Principal:
    return Principal("+".join(labels), Scope(labels=frozenset(labels), **others))


def patients(*ids: str) -> Principal:
    return Principal("patients", Scope(patients=frozenset((one, ISSUER) for one in ids)))


UPLOADER = principal_of("modality", "key", [Role.UPLOADER], Scope())
A, B = labelled("a"), labelled("b")


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.leases.LEASE_SECONDS", 0)


async def sees(archive: Archive, principal: Principal, ref: InstanceRef) -> bool:
    try:
        await locate_instance(archive.index, principal.scope, ref)
    except (NotFound, Gone):
        return False
    return True


async def kinds(archive: Archive) -> list[str]:
    return [one.kind for one in await read_events(archive.index, 1, Position())]


async def objects_are(archive: Archive, count: int) -> None:
    """Wait until no more objects are left: those of what is refused go beside the answer."""

    async def so() -> bool:
        return len([key async for key in archive.objects.keys("t/")]) == count

    await until(so)


def said(report: StoreReport) -> set[tuple[int, str]]:
    return {(one.reason, one.comment) for one in report.failed}


def in_study(study: str, **keywords: Any) -> bytes:
    return make_part10(StudyInstanceUID=study, **keywords)


async def test_what_a_labelled_caller_stores_bears_its_labels_from_the_first_moment(
    archive: Archive,
) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    assert await labels_of(archive, A, stored.ref.study) == ["a"]
    assert await kinds(archive) == ["accepted", "labelled"]
    assert [await sees(archive, one, stored.ref) for one in (A, B)] == [True, False]
    (both,) = (await store(archive, labelled("a", "b"), make_part10())).stored
    assert await labels_of(archive, A, both.ref.study) == ["a", "b"]
    await store(archive, A, in_study(stored.ref.study))
    assert (await kinds(archive)).count("labelled") == 2  # what is there is labelled by people


@pytest.mark.parametrize("met_before", [False, True])
async def test_nothing_is_stored_into_a_study_that_one_does_not_see(
    archive: Archive, principal: Principal, met_before: bool
) -> None:
    series: dict[str, Any] = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    for _ in range(1 + met_before):
        await store(archive, principal, make_part10(**series))
    there = 1 + met_before, await rows(archive), await kinds(archive)
    mine = make_part10()
    refused = await store(
        archive, A, make_part10(**series), mine, in_study(series["StudyInstanceUID"])
    )
    assert [isinstance(one, Failed) for one in refused.results] == [True, False, True]
    assert said(refused) == {(FailureReason.NOT_AUTHORIZED, "not allowed to be stored here")}
    await objects_are(archive, there[0] + 1)
    assert await rows(archive) == there[1] + 1
    assert await kinds(archive) == [*there[2], "accepted", "labelled"]
    (row,) = await archive.index.fetch(
        "SELECT number_of_series, number_of_instances FROM study WHERE study_instance_uid = $1",
        series["StudyInstanceUID"],
    )
    assert tuple(row) == (1, 1 + met_before)


async def test_a_series_that_was_met_before_is_added_to_by_who_sees_it(archive: Archive) -> None:
    series: dict[str, Any] = {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}
    for _ in range(3):
        assert (await store(archive, A, make_part10(**series))).stored
    assert (await store(archive, B, make_part10(**series))).failed
    await label_study(archive, Principal("operator"), series["StudyInstanceUID"], ["b"])
    assert (await store(archive, B, make_part10(**series))).stored
    await unlabel_study(archive, Principal("operator"), series["StudyInstanceUID"], ["b"])
    assert (await store(archive, B, make_part10(**series))).failed
    assert await rows(archive) == 4


async def test_of_two_who_make_a_study_at_once_one_is_refused(archive: Archive) -> None:
    for _ in range(5):
        study = new_uid()
        reports = await asyncio.gather(*(store(archive, one, in_study(study)) for one in (A, B)))
        assert sorted(len(report.stored) for report in reports) == [0, 1]
        labels = await labels_of(archive, Principal("operator"), study)
        assert len(labels) == 1
        winner = A if labels == ["a"] else B
        assert [bool(report.stored) for report in reports] == [winner is A, winner is B]


async def test_of_two_processes_that_make_a_study_at_once_one_is_refused(
    archive: Archive, database_url: str, tmp_path: Any
) -> None:
    place = Place(database_url, tmp_path / "objects", tmp_path / "other-cache")
    async with open_archive(place) as other:
        for _ in range(5):
            study = new_uid()
            reports = await asyncio.gather(
                store(archive, A, in_study(study)), store(other, B, in_study(study))
            )
            assert sorted(len(report.stored) for report in reports) == [0, 1]


async def test_a_uid_that_another_study_has_says_nothing_of_it(
    archive: Archive, principal: Principal
) -> None:
    uid = new_uid()
    data = make_part10(SOPInstanceUID=uid)
    await store(archive, principal, data)
    report = await store(archive, A, make_part10(SOPInstanceUID=uid), data)
    assert said(report) == {(FailureReason.NOT_AUTHORIZED, "not allowed to be stored here")}
    assert (len(report.failed), await rows(archive)) == (2, 1)
    await objects_are(archive, 1)
    seen = await store(archive, principal, make_part10(SOPInstanceUID=uid))
    assert [one.reason for one in seen.failed] == [FailureReason.DUPLICATE_INSTANCE]


async def test_what_was_deleted_of_another_label_is_no_new_study(
    archive: Archive, principal: Principal
) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    await delete(archive, principal, StudyRef(stored.ref.study))
    again = in_study(stored.ref.study)
    assert (await store(archive, B, again)).failed
    assert (await store(archive, patients("CT-1"), again)).failed
    assert (await store(archive, A, again)).stored
    assert (await restore_deleted(archive, principal, StudyRef(stored.ref.study))).instances == 1
    assert not await sees(archive, B, stored.ref)


async def test_a_patients_caller_stores_for_its_patients_alone(
    archive: Archive, principal: Principal
) -> None:
    mine = patients("1", "2")
    study = new_uid()
    assert (await store(archive, mine, in_study(study, PatientID="1"))).stored
    refused = await store(
        archive, mine, in_study(study, PatientID="3"), make_part10(PatientID="3"),
        make_part10(PatientID="1", IssuerOfPatientID="X"),
    )  # fmt: skip
    assert [one.reason for one in refused.failed] == [FailureReason.NOT_AUTHORIZED] * 3
    theirs = new_uid()
    await store(archive, principal, in_study(theirs, PatientID="3"))
    assert (await store(archive, mine, in_study(theirs, PatientID="1"))).failed
    assert await count_everything(archive.index, mine.scope) == Overview(
        1, 1, 1, (await count_everything(archive.index, mine.scope)).bytes
    )


@pytest.mark.parametrize("what", ["same", "other", "rejected"])
async def test_an_uploader_learns_of_a_duplicate_nothing_but_that(
    archive: Archive, principal: Principal, what: str
) -> None:
    uid = new_uid()
    data = make_part10(SOPInstanceUID=uid)
    (stored,) = (await store(archive, UPLOADER, data)).stored
    if what == "rejected":
        await reject(archive, principal, stored.ref, "113001^DCM")
    again = data if what == "same" else make_part10(SOPInstanceUID=uid)
    report = await store(archive, UPLOADER, again)
    assert said(report) == {(FailureReason.DUPLICATE_INSTANCE, "this SOP Instance UID is taken")}
    assert [one.sop_instance_uid for one in report.failed] == [uid]
    if what == "same":
        assert (await store(archive, principal, data)).stored


async def test_who_sees_nothing_stores_nothing(archive: Archive) -> None:
    report = await store(archive, labelled(), make_part10())
    assert [one.reason for one in report.failed] == [FailureReason.NOT_AUTHORIZED]
    await objects_are(archive, 0)


async def test_a_narrow_uploader_is_refused_what_it_may_not_see(archive: Archive) -> None:
    (stored,) = (await store(archive, A, make_part10())).stored
    narrow = principal_of("m", "key", [Role.UPLOADER], B.scope)
    report = await store(archive, narrow, in_study(stored.ref.study))
    assert said(report) == {(FailureReason.NOT_AUTHORIZED, "not allowed to be stored here")}


async def test_rules_label_what_comes_in_as_they_say(
    archive: Archive, principal: Principal
) -> None:
    rules = [
        ("echo", Conditions(calling_ae="ECHO1")),
        ("site:7", Conditions(institution="Site 7")),
        ("trial", Conditions(institution="Site 7", sender="gateway")),
    ]
    made = [await add_label_rule(archive, principal, *rule) for rule in rules]
    assert await list_label_rules(archive, principal) == made

    async def labels(name: str, institution: str, calling: str = "") -> list[str]:
        sender = Principal(name, labelled("a").scope if name == "a" else Scope())
        data = make_part10(InstitutionName=institution)
        report = await store_instances(archive, sender, parts(data), None, calling)
        return [*await labels_of(archive, principal, report.stored[0].ref.study)]

    assert await labels("x", "Site 8") == []
    assert await labels("x", "Site 7", "ECHO1") == ["echo", "site:7"]
    assert await labels("gateway", "Site 7") == ["site:7", "trial"]
    assert await labels("gateway", "Site 8", "ECHO2") == []
    assert await labels("a", "Site 7") == ["a", "site:7"]
    await remove_label_rule(archive, principal, made[1].id)
    assert await labels("x", "Site 7") == []
    logged = [kind for kind in await kinds(archive) if kind.startswith("label-rule")]
    assert logged == ["label-rule-added"] * 3 + ["label-rule-removed"]


async def test_rules_that_are_none_are_refused(archive: Archive, principal: Principal) -> None:
    for label, conditions in (
        ("a", Conditions()),
        ("Not A Label", Conditions(sender="x")),
        ("a", Conditions(calling_ae="x" * 17)),
        ("a", Conditions(institution=" x")),
        ("a", Conditions(institution="x\0")),
        ("a", Conditions(sender="x" * 65)),
    ):
        with pytest.raises(InvalidRequest):
            await add_label_rule(archive, principal, label, conditions)
    await add_label_rule(archive, principal, "a", Conditions(sender="x"))
    with pytest.raises(Conflict):
        await add_label_rule(archive, principal, "a", Conditions(sender="x"))
    with pytest.raises(NotFound):
        await remove_label_rule(archive, principal, 99)
