"""What is remembered of the index, and that it is not remembered for long."""

import asyncio

import pytest
from sqlalchemy import text

from app.archive import leases
from app.archive.context import Archive
from app.archive.leases import FrameLeases
from app.archive.store import store_instances
from app.dicom.uids import InstanceRef
from app.errors import NotFound, Unavailable
from app.index.frames import list_native_frames, locate_frames
from app.rights import Principal, Scope
from tests.archive.test_store import parts
from tests.factories import make_part10, make_series

SCOPE = Scope()


async def store_series(archive: Archive, count: int, **keywords: object) -> list[InstanceRef]:
    series = make_series(count, **keywords)
    await store_instances(archive, Principal("test"), parts(*map(make_part10, series)))
    return [InstanceRef(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID) for d in series]


async def test_a_lease_answers_what_the_index_answers(archive: Archive) -> None:
    refs = await store_series(archive, 3, NumberOfFrames=4)
    for _ in range(2):
        for ref in refs:
            for numbers in ([1], [4, 2]):
                found = await archive.leases.locate(SCOPE, ref, numbers)
                assert found == await locate_frames(archive.index, SCOPE, ref, numbers)


async def test_many_at_once_ask_for_a_series_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = await store_series(archive, 20)
    asked = 0

    async def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return await list_native_frames(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("app.archive.leases.list_native_frames", counted)
    await asyncio.gather(*(archive.leases.locate(SCOPE, ref, [1]) for ref in refs))
    assert asked == 1


async def test_what_is_stored_during_a_lease_is_there_at_once(archive: Archive) -> None:  # S-25
    (first,) = await store_series(archive, 1)
    for _ in range(2):
        await archive.leases.locate(SCOPE, first, [1])
    more = make_series(1, StudyInstanceUID=first.study, SeriesInstanceUID=first.series)
    await store_instances(archive, Principal("test"), parts(make_part10(more[0])))
    new = InstanceRef(first.study, first.series, more[0].SOPInstanceUID)
    assert (await archive.leases.locate(SCOPE, new, [1])).instance.ref == new


async def test_a_lease_is_of_one_scope(archive: Archive) -> None:
    (ref,) = await store_series(archive, 1)
    for _ in range(2):
        await archive.leases.locate(SCOPE, ref, [1])
        with pytest.raises(NotFound):
            await archive.leases.locate(Scope(studies=frozenset()), ref, [1])


async def test_a_lease_runs_out(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.05)
    (ref,) = await store_series(archive, 1)
    for _ in range(2):
        await archive.leases.locate(SCOPE, ref, [1])
    async with archive.transaction() as session:
        await session.execute(text("DELETE FROM instance"))
    await asyncio.sleep(0.06)
    for _ in range(2):
        with pytest.raises(NotFound):
            await archive.leases.locate(SCOPE, ref, [1])


async def test_a_frame_beyond_is_not_found_in_a_lease_either(archive: Archive) -> None:
    (ref,) = await store_series(archive, 1)
    for _ in range(3):
        with pytest.raises(NotFound):
            await archive.leases.locate(SCOPE, ref, [2])


async def test_leases_are_bounded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_SERIES", 2)
    refs = [(await store_series(archive, 1))[0] for _ in range(3)]
    for ref in refs * 2:
        await archive.leases.locate(SCOPE, ref, [1])
    assert len(archive.leases._series) <= 2


async def test_an_index_that_does_not_answer_is_unavailable(archive: Archive) -> None:
    (ref,) = await store_series(archive, 1)
    lost = FrameLeases(archive.index)
    await lost.locate(SCOPE, ref, [1])
    await archive.index.pool.close()
    with pytest.raises(Unavailable):
        await lost.locate(SCOPE, ref, [1])
