"""The bridge killed during a stream of stores: nothing that was acknowledged is lost."""

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from benchmarks.server import free_port
from tests.bridges import TITLE, data_set_of, dcmtk, send_bytes
from tests.factories import make_dataset, make_part10
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

KILLS = int(os.environ.get("BRIDGE_KILLS", "4"))
SENDERS = 3
CT = str(CTImageStorage)


class _Bridge:
    """A bridge as a process, which can be killed and started again on its port."""

    def __init__(self, directory: Path, archive: str, spool: Path | None) -> None:
        self.port = free_port()
        self._directory = directory
        self._environment = clean_environment({"FILEROOM_DIMSE__OPEN": "true"})
        if spool is not None:
            self._environment["FILEROOM_DIMSE__SPOOL"] = str(spool)
        self._arguments = ["dimse", "--port", str(self.port), "--archive-url", archive]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [FILEROOM, *self._arguments],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        where = ("-aec", TITLE, "127.0.0.1", str(self.port))
        while dcmtk("echoscu", *where, good=False).returncode:
            assert time.monotonic() < end

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait(60)


class _Sender(threading.Thread):
    """Stores new Instances one after the other, and remembers what was acknowledged."""

    def __init__(self, port: int, stopping: threading.Event) -> None:
        super().__init__()
        self._port, self._stopping = port, stopping
        self.acknowledged: list[str] = []

    def run(self) -> None:
        while not self._stopping.is_set():
            entity = AE("MODALITY")
            entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
            entity.add_requested_context(CT, ExplicitVRLittleEndian)
            association = entity.associate("127.0.0.1", self._port, ae_title=TITLE)
            if association.is_established:
                self._store(association)
            else:
                time.sleep(0.05)

    def _store(self, association: Association) -> None:
        while not self._stopping.is_set():
            dataset = make_dataset()
            data = data_set_of(make_part10(dataset))
            try:
                code, _ = send_bytes(association, data, CT, dataset.SOPInstanceUID)
            except (AssertionError, OSError, RuntimeError):
                association.abort()
                return
            if code == 0:
                self.acknowledged.append(str(dataset.SOPInstanceUID))
        association.release()


def _missing(archive: LiveServer, uids: list[str]) -> list[str]:
    missing = set(uids)
    for start in range(0, len(uids), 500):
        asked = ",".join(uids[start : start + 500])
        found = httpx.get(f"{archive.dicomweb}/instances?SOPInstanceUID={asked}", timeout=60)
        if found.status_code == 200:
            missing -= {one["00080018"]["Value"][0] for one in found.json()}
    return sorted(missing)


@pytest.mark.slow
@pytest.mark.parametrize("spooled", [True, False], ids=["with a spool", "without"])
def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path, spooled: bool) -> None:
    spool = tmp_path / "spool" if spooled else None
    with serve(tmp_path) as archive:
        bridge = _Bridge(tmp_path, archive.url, spool)
        stopping = threading.Event()
        senders = [_Sender(bridge.port, stopping) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            time.sleep(random.uniform(0.2, 1.0))
            bridge.kill()
            bridge.start()
        stopping.set()
        for sender in senders:
            sender.join(60)
        acknowledged = [uid for sender in senders for uid in sender.acknowledged]
        end = time.monotonic() + 120
        while spool and list((spool / "waiting").iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
        bridge.kill(signal.SIGTERM)
        print(f"{KILLS} kills, {len(acknowledged)} acknowledged")  # noqa: T201 - a report
        assert len(acknowledged) > KILLS
        assert _missing(archive, acknowledged) == []
        assert not spool or not list((spool / "refused").iterdir())
