"""Two at once, each held where it hurts most: two archives on one index and one store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.archive import removal, verify
from app.archive.context import Archive, Place, open_archive
from app.archive.examine import State
from app.archive.store import store_instances
from app.archive.sweep import sweep_unnamed
from app.dicom.store_report import FailureReason
from app.dicom.uids import InstanceRef, Ref, StudyRef
from app.index.events import Position, read_events
from app.index.removal import DELETED, remove_instances
from app.rights import Scope
from tests.archive.test_store import objects, parts, rows, store
from tests.archive.test_verify import found
from tests.factories import make_dataset, make_part10, new_uid
from tests.faults.names import Fault
from tests.faults.points import Point, When, fault
from tests.faults.scene import PRINCIPAL, Action, Scene, unnamed
from tests.killing.ledger import Sent

COVERED = frozenset(
    {
        Fault.SAME_UID_SAME_BYTES,
        Fault.SAME_UID_OTHER_BYTES,
        Fault.STORE_DURING_REMOVAL,
        Fault.REMOVAL_DURING_STORE,
        Fault.STORE_DURING_PURGE,
        Fault.STORE_DURING_SWEEP,
    }
)
HOLD = "SELECT FROM study WHERE study_instance_uid = $1 FOR UPDATE"
WAITERS = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)


@pytest.fixture
async def other(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """What another process would have: the same index and objects, nothing else in common."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "other-cache")
    async with open_archive(place) as opened:
        yield opened


@pytest.fixture
async def scene(archive: Archive, tmp_path: Path) -> Scene:
    scene = Scene.write(tmp_path / "sent")
    await scene.prepare(archive)
    return scene


@asynccontextmanager
async def held(point: Point, when: When, work: Awaitable[bool]) -> AsyncIterator[None]:
    """Begin `work`, hold it at a point during the block, then let it go on to its end."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        reached.set()
        await go_on.wait()

    with fault(point, when, wait):
        task = asyncio.ensure_future(work)
        await asyncio.wait_for(reached.wait(), 10)
        yield
        go_on.set()
        assert await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def someone_waits(archive: Archive) -> bool:
    (row,) = await archive.index.fetch(WAITERS)
    return bool(row[0])


async def whole(archive: Archive, scene: Scene, url: str) -> None:
    """All that was acknowledged is so, and no object is without a row."""
    assert await scene.wrong(archive, url) == []
    assert await unnamed(archive) == []
    assert set(await found(archive)) == {State.WHOLE}


async def test_the_same_instance_many_times_at_once_is_one(
    archive: Archive, other: Archive
) -> None:
    data = make_part10()
    reports = await asyncio.gather(
        *(store(one, PRINCIPAL, data, data) for one in (archive, other) for _ in range(6))
    )
    assert all(len(report.stored) == 2 for report in reports)
    assert sum(not one.known for report in reports for one in report.stored) == 1
    assert await rows(archive) == len(await objects(archive)) == 1


async def test_of_two_instances_with_one_uid_one_stays_and_the_other_is_refused(
    archive: Archive, other: Archive
) -> None:
    dataset = make_dataset()
    both = [make_part10(dataset)]
    dataset.PatientName = "Another^One"
    both.append(make_part10(dataset))
    reports = await asyncio.gather(
        *(store(one, PRINCIPAL, data) for one in (archive, other) for data in both for _ in "abc")
    )
    refused = [one.reason for report in reports for one in report.failed]
    assert refused == [FailureReason.DUPLICATE_INSTANCE] * 6
    assert (await objects(archive))[0] in both
    assert await rows(archive) == len(await objects(archive)) == 1


@pytest.mark.parametrize("met_before", [False, True], ids=["new to it", "met before"])
@pytest.mark.parametrize("level", [InstanceRef, StudyRef])
async def test_what_is_stored_while_it_is_removed_is_there_anew(
    archive: Archive,
    other: Archive,
    scene: Scene,
    database_url: str,
    level: type[Ref],
    met_before: bool,
) -> None:
    first, second = scene.named["first"], scene.named["second"]
    gone = [first] if level is InstanceRef else [first, second]
    if met_before:
        await scene.store(other, "earlier")
        gone += [scene.named["earlier"]] if level is StudyRef else []
    async with held(Point.COMMIT, When.BEFORE, removed(archive, ref_of(first, level))):
        storing = asyncio.create_task(scene.act(other, Action.STORE_AGAIN))
        await until(lambda: someone_waits(other))
    assert await storing
    scene.ledger.acknowledge(gone, removed=True)
    scene.ledger.acknowledge([first])
    await whole(archive, scene, database_url)


def ref_of(one: Sent, level: type[Ref]) -> Ref:
    if level is StudyRef:
        return StudyRef(one.study)
    return InstanceRef(one.study, one.series, one.instance)


async def removed(archive: Archive, ref: Ref) -> bool:
    return bool(await removal.delete(archive, PRINCIPAL, ref))


async def test_what_is_removed_while_others_come_into_its_series_leaves_them(
    archive: Archive, other: Archive, scene: Scene, database_url: str
) -> None:
    async with held(Point.COMMIT, When.BEFORE, scene.act(archive, Action.STORE_MORE)):
        removing = asyncio.create_task(scene.act(other, Action.REMOVE))
        await until(lambda: someone_waits(other))
    assert await removing
    await whole(archive, scene, database_url)


@pytest.mark.parametrize("when", list(When))
async def test_what_is_stored_while_its_removed_self_is_purged_keeps_its_bytes(
    archive: Archive, other: Archive, scene: Scene, database_url: str, when: When
) -> None:
    deleted = scene.named["deleted"]
    async with held(Point.COMMIT, when, scene.act(archive, Action.PURGE)):
        scene.ledger.begin([deleted])
        data = parts(scene.bytes_of("deleted"))
        assert (await store_instances(other, PRINCIPAL, data)).stored
        scene.ledger.acknowledge([deleted])
    await whole(archive, scene, database_url)


@pytest.mark.parametrize("when", list(When))
async def test_what_is_stored_while_a_sweep_looks_at_its_object_keeps_it(
    archive: Archive,
    other: Archive,
    scene: Scene,
    database_url: str,
    when: When,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.archive.sweep.SHORTEST_GRACE", -60.0)
    async with held(Point.COMMIT, when, scene.act(archive, Action.STORE)):
        sweep = sweep_unnamed(other, PRINCIPAL, -60.0, lambda _: None, really=True)
        sweeping = asyncio.create_task(sweep)
        if when is When.BEFORE:  # its object is there, and no row that others see
            await until(lambda: someone_waits(other))
        else:
            await sweeping
    await sweeping
    await whole(archive, scene, database_url)


async def test_the_numbers_of_events_are_the_order_of_what_happened_to_one_study(
    archive: Archive, other: Archive, scene: Scene, database_url: str
) -> None:
    """A transaction may be older than another, and change a Study after it: numbers tell."""
    studies = sorted(new_uid() for _ in range(3))
    last = make_part10(StudyInstanceUID=studies[2])
    for study in studies[:2]:
        await store(archive, PRINCIPAL, make_part10(StudyInstanceUID=study))
    await store(archive, PRINCIPAL, last)
    some = [make_part10(StudyInstanceUID=study) for study in studies[:2]]
    async with archive.index.writing() as holder:
        await holder.execute(HOLD, studies[1])
        storing = asyncio.create_task(store(other, PRINCIPAL, *some, last))
        await until(lambda: someone_waits(other))  # it has the first Study, and is older from now
        gone = StudyRef(
            studies[2]
        )  # not by `delete`, which waits for a seal, and so for the holder
        await remove_instances(archive.index, Scope(), gone, "test", DELETED, removal.unconditional)
    assert len((await storing).stored) == 3
    live: set[str] = set()
    events = await read_events(archive.index, 1, Position())
    for event in sorted(events, key=lambda event: event.position.number):
        named = {uid for uids in event.payload.get("series", {}).values() for uid in uids}
        live = live | named if event.kind == "accepted" else live - named
    there = await archive.index.fetch("SELECT sop_instance_uid FROM instance")
    assert live == {row["sop_instance_uid"] for row in there}
