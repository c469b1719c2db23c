"""Each step fails: the caller is told, nothing is half there, and doing it again succeeds."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from app.archive import removal, verify
from app.archive.context import Archive, Place, open_archive
from app.archive.store import store_instances
from app.dicom.limits import Limits
from app.errors import StorageFull
from tests.archive.test_store import chunks
from tests.factories import make_part10
from tests.faults import points
from tests.faults.names import Fault
from tests.faults.points import Act, Point, When, fault
from tests.faults.scene import PRINCIPAL, Action, Scene, unnamed
from tests.faults.test_deaths import check_and_repeat

_TRANSACTIONS = (Action.STORE, Action.REMOVE, Action.BRING_BACK, Action.PURGE, Action.MEND)
_FILES = (Action.STORE, Action.STORE_LARGE)
_STORE = (Action.STORE,)
_MORE = (Action.STORE_MORE,)

Given = tuple[Point, When, Act, tuple[Action, ...]]
DISK: dict[Fault, Given] = {
    Fault.EIO_AT_WRITE: (Point.WRITE, When.BEFORE, points.EIO, _FILES),
    Fault.EIO_AT_FSYNC: (Point.FSYNC, When.BEFORE, points.EIO, _FILES),
    Fault.EIO_AT_LINK: (Point.LINK, When.BEFORE, points.EIO, _FILES),
    Fault.EIO_AT_MKDIR: (Point.MKDIR, When.BEFORE, points.EIO, _STORE),
    Fault.EIO_AT_DIRECTORY_FSYNC: (Point.DIRECTORY_FSYNC, When.BEFORE, points.EIO, _FILES),
    Fault.EIO_AT_UNSTAGING: (Point.UNSTAGE, When.BEFORE, points.EIO, _STORE),
    Fault.EIO_AT_UNLINK: (
        Point.UNLINK,
        When.BEFORE,
        points.EIO,
        (Action.PURGE, Action.STORE_AGAIN),
    ),
    Fault.ENOSPC_AT_WRITE: (Point.WRITE, When.BEFORE, points.ENOSPC, _FILES),
    Fault.ENOSPC_AT_FSYNC: (Point.FSYNC, When.BEFORE, points.ENOSPC, _FILES),
    Fault.ENOSPC_AT_LINK: (Point.LINK, When.BEFORE, points.ENOSPC, _FILES),
    Fault.ENOSPC_AT_MKDIR: (Point.MKDIR, When.BEFORE, points.ENOSPC, _STORE),
    Fault.ENOSPC_AT_DIRECTORY_FSYNC: (Point.DIRECTORY_FSYNC, When.BEFORE, points.ENOSPC, _FILES),
}
INDEX: dict[Fault, Given] = {
    Fault.FULL_INDEX: (Point.COMMIT, When.BEFORE, points.index_is_full, _TRANSACTIONS),
    Fault.LOST_AFTER_COMMIT: (Point.COMMIT, When.AFTER, points.lose_answer, _TRANSACTIONS),
    Fault.LOST_AFTER_STATEMENT: (Point.STATEMENT, When.AFTER, points.lose_answer, _MORE),
}
CUT: dict[Fault, tuple[Point, tuple[Action, ...]]] = {
    Fault.LOST_BEFORE_COMMIT: (Point.COMMIT, _TRANSACTIONS),
    Fault.LOST_BEFORE_STATEMENT: (Point.STATEMENT, _MORE),
}
COVERED = frozenset(DISK) | frozenset(INDEX) | frozenset(CUT) | {Fault.FULL_DISK, Fault.GIVEN_UP}
ANSWERED = {Fault.EIO_AT_UNLINK, Fault.EIO_AT_UNSTAGING}
"""What may be told a success all the same: a file is left that nobody needs."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)


@pytest.fixture
async def scene(archive: Archive, tmp_path: Path) -> Scene:
    scene = Scene.write(tmp_path / "sent")
    await scene.prepare(archive)
    return scene


def staged(archive: Archive) -> list[Path]:
    return list(archive.staging.directory.iterdir())


def each(cases: dict[Fault, Given]) -> list[object]:
    return [
        pytest.param(name, given[:3], action, id=f"{name.name}-{action.name}")
        for name, given in cases.items()
        for action in given[3]
    ]


@pytest.mark.parametrize(("name", "given", "action"), each(DISK) + each(INDEX))
async def test_a_step_that_fails_is_told_and_can_be_done_again(
    archive: Archive,
    scene: Scene,
    database_url: str,
    name: Fault,
    given: tuple[Point, When, Act],
    action: Action,
) -> None:
    if action is Action.MEND:
        await scene.lose(archive, "first")
    await scene.warm(archive, action)
    with fault(*given) as met:
        answered = await scene.act(archive, action)
    assert met
    assert not answered or name in ANSWERED
    if name is not Fault.EIO_AT_UNSTAGING:
        assert staged(archive) == []
    await check_and_repeat(archive, scene, action, database_url)


async def test_bytes_that_came_again_stay_though_the_answer_to_their_commit_is_lost(
    archive: Archive, scene: Scene, database_url: str
) -> None:
    await scene.lose(archive, "first")
    await scene.warm(archive, Action.MEND)
    with fault(Point.COMMIT, When.AFTER, points.lose_answer):
        assert not await scene.act(archive, Action.MEND)
    assert await scene.wrong(archive, database_url) == []


@pytest.mark.parametrize(
    ("point", "action"),
    [
        pytest.param(point, action, id=f"{name.name}-{action.name}")
        for name, (point, actions) in CUT.items()
        for action in actions
    ],
)
async def test_a_connection_that_is_lost_leaves_nothing_half_done(
    archive: Archive, scene: Scene, database_url: str, point: Point, action: Action
) -> None:
    if action is Action.MEND:
        await scene.lose(archive, "first")
    await scene.warm(archive, action)
    with fault(point, When.BEFORE, points.lose_connection(database_url)) as met:
        assert not await scene.act(archive, action)
    assert met
    await check_and_repeat(archive, scene, action, database_url)


# --- a disk that is really full -----------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB. Only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(params=[4096, -(2**40)], ids=["looked up", "met"])
async def on_small_disk(
    database_url: str, small_disk: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Archive]:
    """An archive that looks how much room there is, and one that is sure that there is enough."""
    limits = Limits(reserve_bytes=request.param)
    place = Place(database_url, small_disk / "objects", small_disk / "cache", limits=limits)
    async with open_archive(place) as opened:
        yield opened


async def test_a_disk_that_is_really_full_is_told_and_room_is_enough(
    on_small_disk: Archive, small_disk: Path, tmp_path: Path, database_url: str
) -> None:
    archive, scene = on_small_disk, Scene.write(tmp_path / "sent")
    await scene.prepare(archive)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 * 2**20))
    for action in (Action.STORE_LARGE, Action.STORE_LARGE):
        with pytest.raises(StorageFull):
            await scene._act(archive, action)
        assert staged(archive) == []
        assert await unnamed(archive) == []
    assert await scene.wrong(archive, database_url) == []
    ballast.unlink()
    await asyncio.sleep(0.3)  # the room is looked up a few times a second
    await scene.again(archive, Action.STORE_LARGE)
    assert await scene.wrong(archive, database_url) == []


# --- a client that gives up ---------------------------------------------------------------------


async def _two_parts(first: bytes, then: Callable[[], None]) -> AsyncIterator[AsyncIterator[bytes]]:
    yield chunks(first)
    then()
    await asyncio.sleep(60)


async def test_a_client_that_gives_up_leaves_nothing(
    archive: Archive, scene: Scene, database_url: str
) -> None:
    reached = asyncio.Event()
    incoming = _two_parts(make_part10(), reached.set)
    storing = asyncio.create_task(store_instances(archive, PRINCIPAL, incoming))
    await reached.wait()
    await asyncio.sleep(0.2)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    assert staged(archive) == []
    assert await unnamed(archive) == []
    assert await scene.wrong(archive, database_url) == []


async def test_a_client_that_gives_up_at_the_commit_gets_all_or_nothing(
    archive: Archive, scene: Scene, database_url: str
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        reached.set()
        await go_on.wait()

    with fault(Point.COMMIT, When.BEFORE, wait):
        storing = asyncio.create_task(scene.act(archive, Action.STORE))
        await reached.wait()
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        go_on.set()
        await scene.store(archive, "more")  # the writer goes on, one batch after another
    await check_and_repeat(archive, scene, Action.STORE, database_url)
