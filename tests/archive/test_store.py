"""The Store transaction on the real index and local objects."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.archive.context import Archive
from app.archive.store import store_instances
from app.dicom.limits import Limits
from app.dicom.store_report import Failed, FailureReason, Outcome, Stored, StoreReport
from app.dicom.uids import StudyRef
from app.errors import (
    Forbidden,
    InvalidMultipart,
    InvalidRequest,
    StorageFull,
    TooLarge,
    Unavailable,
)
from app.rights import Principal, Scope, Verb
from tests.factories import make_dataset, make_part10, new_uid


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65536):
        yield data[at : at + 65536]


async def parts(*instances: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    for data in instances:
        yield chunks(data)


async def store(
    archive: Archive, principal: Principal, *instances: bytes, study: str | None = None
) -> StoreReport:
    ref = StudyRef(study) if study else None
    return await store_instances(archive, principal, parts(*instances), ref)


async def objects(archive: Archive) -> list[bytes]:
    found = []
    async for key in archive.objects.keys("t/"):
        stream = await archive.objects.stream(key)
        found.append(b"".join([chunk async for chunk in stream]))
    return found


async def rows(archive: Archive) -> int:
    return len(await archive.index.fetch("SELECT 1 FROM instance"))


def reasons(report: StoreReport) -> list[int]:
    return [one.reason for one in report.failed]


async def test_an_instance_is_stored_as_received(archive: Archive, principal: Principal) -> None:
    data = make_part10()
    report = await store(archive, principal, data)
    assert report.outcome is Outcome.ALL_STORED
    assert await objects(archive) == [data]
    (row,) = await archive.index.fetch("SELECT sha256, size, object_key FROM instance")
    assert row["sha256"] == hashlib.sha256(data).digest()
    assert await archive.objects.size(row["object_key"]) == row["size"] == len(data)


async def test_many_parts_are_stored_and_reported_in_order(  # S-30
    archive: Archive, principal: Principal
) -> None:
    uids = [new_uid() for _ in range(120)]
    report = await store(archive, principal, *(make_part10(SOPInstanceUID=uid) for uid in uids))
    assert [one.ref.instance for one in report.stored] == uids
    assert await rows(archive) == len(await objects(archive)) == 120


async def test_a_bad_instance_between_good_ones_fails_alone(  # S-05, S-22
    archive: Archive, principal: Principal
) -> None:
    good, cut = make_part10(), make_part10()[:-100]
    report = await store(archive, principal, good, b"no DICOM at all", cut, make_part10())
    assert [type(one) for one in report.results] == [Stored, Failed, Failed, Stored]
    assert report.outcome is Outcome.SOME_STORED
    assert reasons(report) == [FailureReason.CANNOT_UNDERSTAND, FailureReason.CUT_SHORT]
    assert report.failed[1].sop_instance_uid
    assert len(await objects(archive)) == 2


STUDY_UID = "1.2.826.0.1.3680043.8.498.77"


@pytest.mark.parametrize(
    ("present", "instead"),
    [
        (b"\x08\x00\x16\x00UI", b"\x08\x00\x17\x00UI"),
        (b"\x08\x00\x18\x00UI", b"\x08\x00\x19\x00UI"),
        (b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"),
        (b"\x20\x00\x0e\x00UI", b"\x20\x00\x0f\x00UI"),
        (STUDY_UID.encode(), b"../.." + STUDY_UID[5:].encode()),
        (STUDY_UID.encode(), b"1.2 x" + STUDY_UID[5:].encode()),
        (STUDY_UID.encode(), b" " * len(STUDY_UID)),
    ],
)
async def test_an_instance_without_proper_uids_is_refused(  # S-26, S-33, Z-01
    archive: Archive, principal: Principal, present: bytes, instead: bytes
) -> None:
    data = make_part10(StudyInstanceUID=STUDY_UID)
    report = await store(archive, principal, data.replace(present, instead))
    assert report.outcome is Outcome.NONE_STORED
    assert reasons(report) == [FailureReason.UID_MISSING_OR_INVALID]
    assert await objects(archive) == []


async def test_a_uid_over_64_characters_is_refused(  # S-33
    archive: Archive, principal: Principal
) -> None:
    data = make_part10(StudyInstanceUID=STUDY_UID)
    value = STUDY_UID.encode()
    old = b"UI" + len(value).to_bytes(2, "little") + value
    assert len(value) % 2 == 0
    report = await store(archive, principal, data.replace(old, b"UI\x42\x00" + b"1." * 32 + b"12"))
    assert reasons(report) == [FailureReason.UID_MISSING_OR_INVALID]


async def test_an_instance_of_another_study_fails(  # S-03
    archive: Archive, principal: Principal
) -> None:
    study = new_uid()
    mine, other = make_part10(StudyInstanceUID=study), make_part10()
    report = await store(archive, principal, mine, other, study=study)
    assert [type(one) for one in report.results] == [Stored, Failed]
    assert reasons(report) == [FailureReason.OTHER_STUDY]


async def test_an_unknown_transfer_syntax_is_refused(
    archive: Archive, principal: Principal
) -> None:
    data = make_part10().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0", 1)
    report = await store(archive, principal, data)
    assert reasons(report) == [FailureReason.TRANSFER_SYNTAX_NOT_SUPPORTED]


async def test_nobody_stores_without_the_right(archive: Archive) -> None:
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW}))
    with pytest.raises(Forbidden):
        await store(archive, viewer, make_part10())
    narrow = Principal("narrow", Scope(studies=frozenset({"1.2"})))
    report = await store(archive, narrow, make_part10())
    assert reasons(report) == [FailureReason.NOT_AUTHORIZED]


async def test_a_request_without_parts_is_invalid(archive: Archive, principal: Principal) -> None:
    with pytest.raises(InvalidRequest):  # S-24
        await store(archive, principal)


@pytest.mark.parametrize("size", [16, 200])
async def test_what_came_without_a_head_gets_one_and_keeps_its_data_set(  # S-21
    archive: Archive, principal: Principal, size: int, tmp_path: Path
) -> None:
    small = replace(archive, limits=Limits(memory_part_bytes=1000))
    data = make_part10(Rows=size, Columns=size)
    offset = data.index(b"\x08\x00\x05\x00")
    report = await store(small, principal, data[offset:])
    assert report.outcome is Outcome.ALL_STORED
    (kept,) = await objects(archive)
    assert kept[128:132] == b"DICM"
    assert kept.endswith(data[offset:])
    (row,) = await archive.index.fetch("SELECT * FROM instance")
    assert row["sha256"] == hashlib.sha256(kept).digest()
    assert row["dataset_sha256"] == hashlib.sha256(data[offset:]).digest()
    assert kept[row["frame_offset"] :][:100] == data[data.index(b"\xe0\x7f\x10\x00") + 12 :][:100]
    again = await store(small, principal, data[offset:])
    assert again.stored[0].known


async def test_meta_information_without_a_preamble_is_kept(
    archive: Archive, principal: Principal
) -> None:
    data = make_part10()
    await store(archive, principal, data[132:])
    assert await objects(archive) == [bytes(128) + data[128:]]


@pytest.mark.parametrize("limit", [1000, 10**6])
async def test_a_preamble_that_was_left_out_is_put_back(  # S-21
    archive: Archive, principal: Principal, limit: int
) -> None:
    small = replace(archive, limits=Limits(memory_part_bytes=limit))
    data = make_part10(Rows=200, Columns=200)
    report = await store(small, principal, data[128:])
    assert report.outcome is Outcome.ALL_STORED
    assert await objects(archive) == [bytes(128) + data[128:]]


async def test_storing_again_is_a_success_and_the_first_stays(  # S-15
    archive: Archive, principal: Principal
) -> None:
    data = make_part10()
    first = await store(archive, principal, data)
    other_meta = data.replace(b"PYDICOM", b"OTHERAE")
    assert other_meta != data
    for again in (data, other_meta):
        report = await store(archive, principal, again)
        assert [replace(one, known=False) for one in report.stored] == first.stored
        assert report.stored[0].known
    assert await objects(archive) == [data]
    assert await rows(archive) == 1


async def test_the_same_twice_in_one_request_is_stored_once(
    archive: Archive, principal: Principal
) -> None:
    data = make_part10()
    report = await store(archive, principal, data, data)
    assert [one.known for one in report.stored] == [False, True]
    assert await objects(archive) == [data]


async def test_other_content_under_a_uid_is_refused_and_the_first_stays(  # S-16
    archive: Archive, principal: Principal
) -> None:
    dataset = make_dataset()
    data = make_part10(dataset)
    await store(archive, principal, data)
    dataset.PatientName = "Other^Name"
    report = await store(archive, principal, make_part10(dataset))
    assert reasons(report) == [FailureReason.DUPLICATE_INSTANCE]
    assert await objects(archive) == [data]
    events = await archive.index.fetch("SELECT kind, payload FROM event ORDER BY id")
    assert [event["kind"] for event in events] == ["accepted", "refused"]
    assert dataset.SOPInstanceUID in events[1]["payload"]
    assert "Other" not in events[1]["payload"]


ENCODINGS = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("first", ENCODINGS)
async def test_another_uncompressed_encoding_is_the_same_instance(
    archive: Archive, principal: Principal, first: str, syntax: str
) -> None:
    dataset = make_dataset(Rows=600, Columns=600, PixelRepresentation=0)
    await store(archive, principal, make_part10(dataset, transfer_syntax=first))
    report = await store(archive, principal, make_part10(dataset, transfer_syntax=syntax))
    assert report.stored
    assert await rows(archive) == len(await objects(archive)) == 1


@pytest.mark.parametrize("syntax", ENCODINGS[1:])
async def test_one_other_pixel_in_another_encoding_is_another_instance(
    archive: Archive, principal: Principal, syntax: str
) -> None:
    dataset = make_dataset(Rows=600, Columns=600)
    await store(archive, principal, make_part10(dataset))
    dataset.PixelData = dataset.PixelData[:-1] + b"\7"
    report = await store(archive, principal, make_part10(dataset, transfer_syntax=syntax))
    assert reasons(report) == [FailureReason.DUPLICATE_INSTANCE]


async def broken(error: BaseException) -> AsyncIterator[AsyncIterator[bytes]]:
    for _ in range(20):
        yield chunks(make_part10())
    await asyncio.sleep(0.1)
    raise error


async def test_a_request_that_breaks_off_leaves_nothing(  # S-23
    archive: Archive, principal: Principal
) -> None:
    with pytest.raises(InvalidMultipart):
        await store_instances(archive, principal, broken(InvalidMultipart("cut")))
    assert await objects(archive) == []
    assert await rows(archive) == 0


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.05])
async def test_a_cancelled_request_leaves_all_or_nothing(
    archive: Archive, principal: Principal, delay: float
) -> None:
    data = [make_part10() for _ in range(30)]
    task = asyncio.create_task(store(archive, principal, *data))
    await asyncio.sleep(delay)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store(archive, principal, make_part10())  # the writer is through with what it had
    assert await rows(archive) == len(await objects(archive)) in {1, 31}


async def test_a_part_over_the_limit_refuses_the_request(
    archive: Archive, principal: Principal
) -> None:
    archive.staging._limits = Limits(memory_part_bytes=1000, part_bytes=100_000)
    with pytest.raises(TooLarge):
        await store(archive, principal, make_part10(), make_part10(Rows=300, Columns=300))
    assert await objects(archive) == []


async def test_a_full_disk_is_said_as_such(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "full")

    good = make_part10()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await store(archive, principal, good)
        report = await store(archive, principal, good, b"no DICOM")
        assert reasons(report) == [FailureReason.OUT_OF_RESOURCES, FailureReason.CANNOT_UNDERSTAND]
    assert (await store(archive, principal, good)).stored
    assert await objects(archive) == [good]


async def test_a_failing_disk_is_unavailable(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(Unavailable):
        await store(archive, principal, make_part10())


async def test_requests_side_by_side_all_get_their_own_answer(  # G-29
    archive: Archive, principal: Principal
) -> None:
    study, uids = new_uid(), [new_uid() for _ in range(60)]
    made = [make_part10(StudyInstanceUID=study, SOPInstanceUID=uid) for uid in uids]
    reports = await asyncio.gather(*(store(archive, principal, data) for data in made))
    assert [report.stored[0].ref.instance for report in reports] == uids
    (row,) = await archive.index.fetch("SELECT number_of_instances FROM study")
    assert row["number_of_instances"] == 60


async def test_a_race_for_one_uid_has_one_winner(archive: Archive, principal: Principal) -> None:
    dataset = make_dataset()
    variants = []
    for name in ("A", "B", "C", "D"):
        dataset.PatientName = name
        variants.append(make_part10(dataset))
    reports = await asyncio.gather(*(store(archive, principal, data) for data in variants))
    assert sorted(len(report.stored) for report in reports) == [0, 0, 0, 1]
    assert await rows(archive) == len(await objects(archive)) == 1


@pytest.mark.parametrize("uid", ["1..2", "1.2.", "1.2..3"])
@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
async def test_a_uid_that_no_url_can_name_is_refused(
    archive: Archive, principal: Principal, name: str, uid: str
) -> None:  # S-33
    (result,) = (await store(archive, principal, make_part10(make_dataset(**{name: uid})))).results
    assert isinstance(result, Failed)
    assert result.reason == FailureReason.UID_MISSING_OR_INVALID
