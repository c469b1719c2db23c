"""Requests that ask for too much, over every path that reads."""

import pytest

from tests.hostile.instances import Raw
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.hostile.test_bombs import bounded
from tests.raw_elements import explicit

COVERED = frozenset(
    {
        Hostile.QUERY_KEYS,
        Hostile.QUERY_LENGTH,
        Hostile.QUERY_WILDCARDS,
        Hostile.QUERY_UIDS,
        Hostile.FRAME_LIST,
        Hostile.VIEWPORT,
        Hostile.RANGES,
        Hostile.ACCEPT,
    }
)
OCTETS = 'multipart/related; type="application/octet-stream"'
MOST_FRAMES = 20_000


TOO_LONG = (
    "&".join(f"0010{number:04X}=x" for number in range(1000)),
    "&".join(["PatientID=x"] * 201),
    "PatientName=" + "x" * 70_000,
    "includefield=" + ",".join(["PatientID"] * 10_000),
    "&".join(["%00" * 100] * 200),
)
KEYS = ("PatientName", "StudyDescription", "AccessionNumber", "00204000", "PatientComments")
WILD = ("*a" * 200 + "*b", "?" * 500, "*" * 5000, "*?" * 500 + "b", "a*" * 30 + "b")


@pytest.fixture(autouse=True)
def _long_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of these tests sends no URL over 64 KiB; others do."""
    monkeypatch.setattr("httpx._urlparse.MAX_URL_LENGTH", 10**6)


async def test_a_query_that_is_too_long_is_400(scene: Scene) -> None:
    for query in TOO_LONG:
        with bounded(3):
            answer = await scene.client.get(f"/studies?{query}")
        assert answer.status_code == 400, query[:40]


@pytest.mark.slow
async def test_wildcards_that_try_everything_are_answered_soon(scene: Scene) -> None:
    raw = Raw(patient=b"a" * 60, more=explicit(0x00204000, "LT", b"a" * 10_000))
    assert (await scene.store(raw)).status_code == 200
    for key in KEYS:
        for pattern in WILD:
            with bounded(3):
                answer = await scene.client.get("/instances", params={key: pattern})
            assert answer.status_code in {200, 204, 400}, (key, pattern[:10])


async def test_a_list_of_very_many_uids_is_answered_or_400(scene: Scene) -> None:
    uids = ",".join(f"1.2.{number}" for number in range(8000))
    with bounded(3):
        answer = await scene.client.get(f"/instances?StudyInstanceUID={uids}")
    assert answer.status_code in {204, 400}


@pytest.mark.slow
async def test_a_list_of_very_many_frames_is_bounded(scene: Scene) -> None:
    raw = Raw()
    assert (await scene.store(raw)).status_code == 200
    for count, status in ((MOST_FRAMES, 200), (100_001, 400)):
        numbers = ",".join(["1"] * count)
        with bounded(5):
            answer = await scene.client.get(
                f"{raw.path}/frames/{numbers}", headers={"accept": OCTETS}
            )
        assert answer.status_code == status, count


async def test_a_picture_of_gigapixels_is_not_made(scene: Scene) -> None:
    raw = Raw()
    assert (await scene.store(raw)).status_code == 200
    for size in ("100000,100000", "2147483647,1", "1,2147483647", "9" * 400 + ",1"):
        for resource in ("rendered", "thumbnail"):
            with bounded(5):
                answer = await scene.client.get(f"{raw.path}/{resource}?viewport={size}")
            assert answer.status_code in {200, 400, 413}, size
            assert len(answer.content) < 10**6


async def test_many_ranges_are_one_answer(scene: Scene) -> None:
    raw = Raw()
    assert (await scene.store(raw)).status_code == 200
    ranges = "bytes=" + ",".join(["0-"] * 2000)
    answer = await scene.client.get(
        f"{raw.path}/bulkdata/7FE00010",
        headers={"accept": "application/octet-stream", "range": ranges},
    )
    assert answer.status_code == 200
    assert answer.content == bytes(16)


async def test_very_many_media_types_are_read_soon(scene: Scene) -> None:
    (path,) = scene.kept
    for accept in ("a/b," * 10_000, "*/*;q=" + "9" * 5000, 'a/b;c="' * 5000):
        for url in (path, "/studies"):
            with bounded(3):
                answer = await scene.client.get(url, headers={"accept": accept})
            assert answer.status_code in {200, 406}, accept[:10]
