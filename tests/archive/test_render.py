"""Rendering on a real archive: who may, what is kept, and what is too much."""

import asyncio
from typing import Any

import pytest

from app.archive import described, rendered_images
from app.archive.context import Archive
from app.archive.render import RenderRequest, plan_frames, plan_instance, plan_many, plan_object
from app.archive.rendered_images import picture_of
from app.archive.thumbnails import plan_thumbnail
from app.dicom.pictures import Wanted
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Forbidden, InvalidDataset, NotFound
from app.mime.media_types import Form
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10
from tests.rendering_oracle import open_sample

ANYTHING = RenderRequest([Form("*/*", multipart=False)])
PNG = Wanted("image/png")


@pytest.fixture
async def stored(archive: Archive) -> InstanceRef:
    """An image with a VOI LUT that is Bulk Data, big endian."""
    table = make_dataset(Rows=None)
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = b"".join((n * 16).to_bytes(2, "little") for n in range(4096))
    table["LUTData"].VR = "OW"
    for keyword in list(table.dir()):
        if not keyword.startswith("LUT"):
            delattr(table, keyword)
    dataset = make_dataset(
        WindowCenter=None,
        WindowWidth=None,
        RescaleSlope=None,
        RescaleIntercept=None,
        VOILUTSequence=[table],
        NumberOfFrames=3,
    )
    await store(archive, Principal("storer"), make_part10(dataset))
    return InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


async def subject_of(archive: Archive, ref: InstanceRef) -> described.Subject:
    return described.Subject(await described.describe(archive, Principal("reader"), ref), 2)


@pytest.mark.parametrize(
    ("nobody", "error"),
    [
        (Principal("storer", verbs=frozenset({Verb.STORE})), Forbidden),
        (Principal("stranger", Scope(studies=frozenset())), NotFound),
    ],
)
async def test_only_who_may_view_a_study_sees_pictures(
    archive: Archive, stored: InstanceRef, nobody: Principal, error: type[Exception]
) -> None:
    study, series = StudyRef(stored.study), SeriesRef(stored.study, stored.series)
    attempts: list[Any] = [
        plan_instance(archive, nobody, stored, ANYTHING),
        plan_frames(archive, nobody, stored, [1], ANYTHING),
        plan_object(archive, nobody, stored, None, None, ANYTHING),
        *[plan_many(archive, nobody, ref, ANYTHING) for ref in (study, series)],
        *[plan_thumbnail(archive, nobody, r, ANYTHING, None) for r in (study, series, stored)],
    ]
    for attempt in attempts:
        with pytest.raises(error):
            await attempt


async def test_tables_are_read_up_to_a_limit(
    archive: Archive, stored: InstanceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await subject_of(archive, stored)
    appearance = await described.load_appearance(archive, subject)
    assert appearance.voi_table is not None
    assert appearance.voi_table.entries.tolist() == [n * 16 for n in range(4096)]
    monkeypatch.setattr(described, "MOST_BULK_BYTES", 8191)
    with pytest.raises(InvalidDataset):
        await described.load_appearance(archive, subject)
    (path,) = [path for path in subject.described.bulk_values if path.endswith("3006")]
    with pytest.raises(InvalidDataset):
        await described.read_bulk_value(archive, subject.described, path)


async def test_tables_of_a_big_endian_instance_are_turned(archive: Archive) -> None:
    dataset = make_dataset(
        PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7
    )
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [4000, 0, 16])
        name = f"{colour}PaletteColorLookupTableData"
        setattr(dataset, name, b"\x01\x02" * 4000)
        dataset[name].VR = "OW"
    data = make_part10(dataset, transfer_syntax="1.2.840.10008.1.2.2")
    await store(archive, Principal("storer"), data)
    ref = InstanceRef(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    subject = await subject_of(archive, ref)
    palette = (await described.load_appearance(archive, subject)).palette
    expected = open_sample(data).appearance().palette
    assert palette is not None
    assert expected is not None
    assert palette[0].entries.tolist() == expected[0].entries.tolist()


async def test_pictures_wanted_at_once_are_made_once(archive: Archive, stored: InstanceRef) -> None:
    subject = await subject_of(archive, stored)
    asked = [picture_of(archive, Principal("reader"), subject, PNG) for _ in range(5)]
    pictures = await asyncio.gather(*asked)
    assert len(set(pictures)) == 1
    assert len(list(archive.cache.directory.glob("rendered-*"))) == 1


async def test_a_cache_that_cannot_be_used_stops_nobody(
    archive: Archive, stored: InstanceRef
) -> None:
    subject, reader = await subject_of(archive, stored), Principal("reader")
    first = await picture_of(archive, reader, subject, PNG)
    (kept,) = archive.cache.directory.glob("rendered-*")
    kept.unlink()
    kept.mkdir()  # can be found, and neither read nor replaced
    assert await picture_of(archive, reader, subject, PNG) == first


async def test_a_worker_that_returns_no_picture_is_not_believed(
    archive: Archive, stored: InstanceRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered_images, "_RENDER", "builtins:print")
    with pytest.raises(InvalidDataset):
        await picture_of(archive, Principal("reader"), await subject_of(archive, stored), PNG)
