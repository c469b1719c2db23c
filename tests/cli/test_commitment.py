"""Storage commitment by `fileroom serve`: damage on its disk, and its death in the middle."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset

from app.dicom.commitment import COMMITTED
from tests.archive.test_commitment import (
    ABSENT,
    DAMAGED,
    OTHER,
    OTHER_CLASS,
    alone,
    in_study,
    verdicts,
)
from tests.dicom.test_commitment import asked, named
from tests.factories import make_part10, make_series, new_uid
from tests.killing.served import Served
from tests.live_server import LiveServer, serve

pytestmark = pytest.mark.slow


def store(base: str, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        body, headers = make_part10(dataset), {"content-type": "application/dicom"}
        httpx.post(f"{base}/dicom-web/studies", content=body, headers=headers).raise_for_status()


def file_of(data_dir: Path, dataset: Dataset) -> Path:
    (path,) = (data_dir / "objects").rglob(f"{dataset.SOPInstanceUID}.*.dcm")
    return path


def test_it_says_what_is_on_its_disk(tmp_path: Path) -> None:  # K-01, K-02, K-05
    whole, damaged, missing, removed, other = datasets = make_series(5)
    with serve(tmp_path) as server:
        store(server.url, datasets)
        path = file_of(server.data_dir, damaged)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()
        path.write_bytes(data)
        file_of(server.data_dir, missing).unlink()
        study = f"{server.dicomweb}/studies/{removed.StudyInstanceUID}"
        series = f"{study}/series/{removed.SeriesInstanceUID}"
        httpx.delete(f"{series}/instances/{removed.SOPInstanceUID}").raise_for_status()
        references = [alone(one) for one in datasets[:4]]
        other.SOPClassUID = OTHER
        answer = _request(server, asked([*references, in_study(other)]))
        assert answer.status_code == 200, answer.text
        assert verdicts(answer.content) == {
            whole.SOPInstanceUID: COMMITTED,
            damaged.SOPInstanceUID: DAMAGED,
            missing.SOPInstanceUID: DAMAGED,
            removed.SOPInstanceUID: ABSENT,
            other.SOPInstanceUID: OTHER_CLASS,
        }


def _request(server: LiveServer | Served, body: object, uid: str = "") -> httpx.Response:
    url = f"{server.url}/dicom-web/commitment-requests/{uid or new_uid()}"
    headers = {"content-type": "application/dicom+json"}
    return httpx.post(url, json=body, headers=headers, timeout=60)


def test_a_request_outlives_its_server(tmp_path: Path) -> None:
    datasets = make_series(3)
    server = Served(tmp_path, workers=1)
    server.start()
    server.wait_until_ready()
    try:
        store(server.url, datasets)
        path = file_of(server.data_dir, datasets[1])
        aside = tmp_path / "aside"
        path.rename(aside)
        os.mkfifo(path)  # whoever reads it waits for ever: the request is in its middle
        uid = new_uid()
        assert _request(server, named(*map(alone, datasets)), uid).status_code == 202
        result = f"{server.url}/dicom-web/commitment-requests/{uid}"
        assert httpx.get(result).status_code == 202
        server.kill_all()
        path.unlink()
        aside.rename(path)
        server.start()
        server.wait_until_ready()
        answer = _until_done(result)
        assert verdicts(answer.content) == {one.SOPInstanceUID: COMMITTED for one in datasets}
        assert server.stop() == []
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)


def _until_done(result: str) -> httpx.Response:
    end = time.monotonic() + 60
    while (answer := httpx.get(result)).status_code == 202:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert answer.status_code == 200
    return answer
