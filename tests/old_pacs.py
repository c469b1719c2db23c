"""An old PACS for a test: DCMTK's dcmqrscp, which sends by C-MOVE to who is in its host table."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from benchmarks.server import free_port
from tests.bridges import DCMTK, PATIENCE, dcmtk
from tests.factories import make_part10

TITLE = "OLDPACS"


@dataclass(frozen=True)
class OldPacs:
    """Where it listens and keeps its files, and what it has logged."""

    port: int
    directory: Path
    log: Path

    def fill(self, *datasets: Dataset) -> None:
        """Have it keep Instances."""
        coming = self.directory.parent / "coming"
        coming.mkdir(exist_ok=True)
        for dataset in datasets:
            (coming / f"{dataset.SOPInstanceUID}.dcm").write_bytes(make_part10(dataset))
        dcmtk("storescu", "-aec", TITLE, "+sd", "127.0.0.1", str(self.port), coming)
        for path in coming.iterdir():
            path.unlink()

    def moves(self) -> list[str]:
        """Return the levels of the retrievals by C-MOVE that it was asked for."""
        asked = self.log.read_text().split("Received Move SCP")[1:]
        return [re.findall(r"\(0008,0052\) CS \[(\w+)", one)[0] for one in asked]

    def file_of(self, dataset: Dataset) -> Path:
        """Return the file of an Instance."""
        uid = dataset.SOPInstanceUID.encode()
        (found,) = (one for one in self.directory.glob("*.dcm") if uid in one.read_bytes())
        return found


@contextmanager
def old_pacs(directory: Path, destinations: Mapping[str, int]) -> Iterator[OldPacs]:
    """Run one that knows AEs of this machine by their ports."""
    port, kept, log = free_port(), directory / "kept", directory / "dcmqrscp.log"
    kept.mkdir()
    lines = [
        f"NetworkTCPPort = {port}",
        "MaxPDUSize = 131072",
        "MaxAssociations = 20",
        "HostTable BEGIN",
        *(f"d{at} = ({title}, 127.0.0.1, {at})" for title, at in destinations.items()),
        "HostTable END",
        "VendorTable BEGIN",
        "VendorTable END",
        "AETable BEGIN",
        f"{TITLE} {kept} RW (500, 1000mb) ANY",
        "AETable END",
    ]
    configuration = directory / "dcmqrscp.cfg"
    configuration.write_text("\n".join(lines) + "\n")
    command = [str(DCMTK / "dcmqrscp"), "-v", "-c", str(configuration), str(port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            _until_ready(port, log)
            yield OldPacs(port, kept, log)
        finally:
            process.terminate()


def _until_ready(port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    called = ("-aec", TITLE, "127.0.0.1", str(port))
    while dcmtk("echoscu", *called, good=False).returncode:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
