"""STOW-RS against the real process: killed in mid-upload, and fed what does not fit in memory."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest
from pydicom import Dataset

from tests.factories import make_dataset, make_part10
from tests.live_server import LiveServer, serve

pytestmark = pytest.mark.slow

DICOM = {"Content-Type": "application/dicom"}
RELATED = 'multipart/related; type="application/dicom"; boundary=b'
HEADER = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n"
BIG = 2**30


def store(server: LiveServer, data: bytes) -> httpx.Response:
    return httpx.post(f"{server.dicomweb}/studies", content=data, headers=DICOM, timeout=60)


def found(server: LiveServer, dataset: Dataset) -> int:
    query = f"{server.dicomweb}/studies?StudyInstanceUID={dataset.StudyInstanceUID}"
    return httpx.get(query, timeout=60).status_code


def begin_upload(server: LiveServer, *parts: bytes) -> socket.socket:
    """Send whole parts and half of one more, and never the closing delimiter."""
    port = int(server.url.rpartition(":")[2])
    connection = socket.create_connection(("127.0.0.1", port))
    body = b"".join(HEADER + part for part in parts) + HEADER + parts[0][: len(parts[0]) // 2]
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {RELATED}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body) + 10_000_000}\r\n\r\n".encode() + body)
    return connection


def kill_all(server: LiveServer) -> None:
    """SIGKILL for the parent, its workers and its PostgreSQL, all at once."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    for pid in [server.process.pid, *(child.pid for child in family)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()


@pytest.mark.slow
def test_after_a_kill_in_mid_upload_nothing_is_half_visible(tmp_path: Path) -> None:
    acknowledged, unfinished = make_dataset(), [make_dataset(Rows=512, Columns=512) for _ in "abc"]
    with suppress(AssertionError), serve(tmp_path) as server:  # it does not end cleanly
        assert store(server, make_part10(acknowledged)).status_code == 200
        with begin_upload(server, *map(make_part10, unfinished)):
            kill_all(server)
    with serve(tmp_path) as server:
        assert found(server, acknowledged) == 200
        assert [found(server, dataset) for dataset in unfinished] == [204, 204, 204]
        assert store(server, make_part10(unfinished[0])).status_code == 200
        assert not list((server.data_dir / "objects" / "staging").glob("*/*"))


def big_instance(dataset: Dataset) -> Iterator[bytes]:
    head = make_part10(dataset)[:-20]
    yield head + BIG.to_bytes(4, "little")
    for _ in range(BIG // 2**20):
        yield bytes(2**20)


def test_a_gigabyte_passes_in_less_than_300_megabytes(tmp_path: Path) -> None:
    dataset = make_dataset(NumberOfFrames=2048, Rows=512, Columns=512, PixelData=b"\0" * 16)
    with serve(tmp_path) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        connection = HTTPConnection(host, int(port), timeout=300)
        body = big_instance(dataset)
        connection.request("POST", "/dicom-web/studies", body, DICOM, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        check_peaks(server)
        (stored,) = (server.data_dir / "objects" / "t").rglob("*.dcm")
        assert stored.stat().st_size > BIG
        instance = (
            f"/dicom-web/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
            f"/instances/{dataset.SOPInstanceUID}"
        )
        many = ",".join(map(str, range(1, 1025)))
        for path, least in (
            ("", BIG),
            ("/frames/2048", 2**19),
            (f"/frames/{many}", BIG // 2),
            ("/bulkdata/7FE00010", BIG),
            ("/metadata", 1),
        ):
            assert read(connection, instance + path) >= least, path
            check_peaks(server)
        connection.close()


def read(connection: HTTPConnection, path: str) -> int:
    """Return how many bytes an answer has."""
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, (path, answer.read(1000))
    size = 0
    while chunk := answer.read(2**20):
        size += len(chunk)
    return size


def check_peaks(server: LiveServer) -> None:
    """Check that no process of ours but PostgreSQL ever held 300 MB."""
    peaks = {
        process.pid: peak(process.pid)
        for process in psutil.Process(server.process.pid).children()
        if "postgres" not in process.name()
    }
    assert peaks
    assert max(peaks.values()) < 300 * 2**20, peaks


def peak(pid: int) -> int:
    """Return the most memory that a process ever held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
