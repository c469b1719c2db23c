"""The DIMSE bridge killed, and the archive stopped beneath it, during a stream of C-STOREs.

    python -m tests.killing.bridge --kills 50 [--spool] [--seed N]

Exit code 1 if anything that was acknowledged is not in the archive as it was sent.
"""

import argparse
import hashlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random, SystemRandom

import httpx
import psutil

from benchmarks.server import free_port
from tests.bare_associations import ACCEPT, association_request, next_pdu, store_bare
from tests.bridges import TITLE, data_set_of, dcmtk
from tests.factories import make_dataset, make_part10
from tests.killing.served import Served
from tests.live_server import FILEROOM, clean_environment

SENDERS = 3
READY_SECONDS, SPOOL_SECONDS = 120, 300
PATIENCE_SECONDS = "2"
_AT_ONCE = 200


class Fate(StrEnum):
    """What befalls them."""

    BRIDGE_KILLED = "the bridge killed"
    ARCHIVE_STOPPED = "the archive stopped and started"
    ARCHIVE_KILLED = "the archive killed and started"
    BOTH = "the bridge killed while the archive was stopped"


DICE = (Fate.BRIDGE_KILLED,) * 5 + (Fate.ARCHIVE_STOPPED, Fate.ARCHIVE_KILLED, Fate.BOTH)


@dataclass(slots=True)
class Report:
    """How it went; `wrong` is what was acknowledged and is not there, or not as it was sent."""

    spooled: bool
    seed: int
    fates: Counter[Fate] = field(default_factory=Counter)
    acknowledged: int = 0
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return all of it as Markdown."""
        rows = [f"| {fate} | {count} |" for fate, count in sorted(self.fates.items())]
        with_ = "with a spool" if self.spooled else "without a spool"
        refused = ", ".join(f"{code} {count}" for code, count in sorted(self.refused.items()))
        said = (
            f"Seed {self.seed}, {with_}: {self.acknowledged:,} C-STOREs acknowledged, "
            f"{self.unanswered:,} without an answer, refused: {refused or 'none'}; lost "
            f"{len(self.wrong)}."
        )
        return "\n".join(["| what happened | times |", "|---|---|", *rows, "", said])


class BridgeProcess:
    """A bridge that can be killed and started again on its port."""

    def __init__(
        self, directory: Path, archive: str, spool: Path | None, more: Mapping[str, str] = {}
    ) -> None:
        self.port = free_port()
        self._directory = directory
        settings = {
            "FILEROOM_DIMSE__OPEN": "true",
            "FILEROOM_DIMSE__PATIENCE_SECONDS": PATIENCE_SECONDS,
            **{f"FILEROOM_DIMSE__{name}": value for name, value in more.items()},
        }
        if spool is not None:
            settings["FILEROOM_DIMSE__SPOOL"] = str(spool)
        self._environment = clean_environment(settings)
        self._arguments = ["dimse", "--port", str(self.port), "--archive-url", archive]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._directory / "bridge.log").open("ab") as log:
            self._process = subprocess.Popen(
                [FILEROOM, *self._arguments],
                cwd=self._directory,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + READY_SECONDS
        where = ("-aec", TITLE, "127.0.0.1", str(self.port))
        while dcmtk("echoscu", *where, good=False).returncode:
            assert self._process.poll() is None, "the bridge has ended by itself"
            assert time.monotonic() < end, "the bridge does not answer"

    def memory(self) -> int:
        """Return the bytes that it holds."""
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def kill(self) -> None:
        """Kill it, wherever it is."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Stop it as an init system does; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


class Sender(threading.Thread):
    """Stores new Instances one after the other, and remembers what was acknowledged."""

    def __init__(self, port: int, stopping: threading.Event) -> None:
        super().__init__()
        self._port, self._stopping = port, stopping
        self.acknowledged: dict[str, str] = {}
        self.refused: Counter[str] = Counter()
        self.unanswered = 0

    def run(self) -> None:
        """Store until it is told to stop."""
        while not self._stopping.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=30) as peer:
                    self._store(peer)
            except OSError:
                time.sleep(0.05)

    def _store(self, peer: socket.socket) -> None:
        peer.sendall(association_request())
        if next_pdu(peer)[0] != ACCEPT:
            return
        while not self._stopping.is_set():
            dataset = make_dataset()
            data, uid = data_set_of(make_part10(dataset)), str(dataset.SOPInstanceUID)
            try:
                code = store_bare(peer, data, uid)
            except OSError:
                self.unanswered += 1
                raise
            if code == 0:
                self.acknowledged[uid] = hashlib.sha256(data).hexdigest()
            else:
                self.refused[f"{code:04X}"] += 1


def run(
    directory: Path, kills: int, seed: int, *, spooled: bool, tell: Callable[[str], None]
) -> Report:
    """Let it befall them so often, then hold what was acknowledged against what is there."""
    report, rng = Report(spooled, seed), Random(seed)
    spool = directory / "spool" if spooled else None
    served = Served(directory, workers=1)
    served.start()
    try:
        served.wait_until_ready()
        bridge = BridgeProcess(directory, served.url, spool)
        bridge.start()
        stopping = threading.Event()
        senders = [Sender(bridge.port, stopping) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            while report.fates.total() < kills:
                time.sleep(rng.uniform(0.2, 1.0))
                fate = rng.choice(DICE)
                _befall(fate, served, bridge, rng)
                report.fates[fate] += 1
                tell(f"{report.fates.total()} of {kills}: {fate}")
        finally:
            stopping.set()
            for sender in senders:
                sender.join(READY_SECONDS)
        _settle(report, senders, spool)
        if bridge.stop():
            report.wrong.append("the bridge did not end well")
        acknowledged = {uid: it for sender in senders for uid, it in sender.acknowledged.items()}
        report.wrong += differences(served.url, acknowledged)
        report.wrong += served.stop()
    finally:
        served.kill_all()
    return report


def _befall(fate: Fate, served: Served, bridge: BridgeProcess, rng: Random) -> None:
    if fate is Fate.BRIDGE_KILLED:
        bridge.kill()
        bridge.start()
        return
    if fate is Fate.ARCHIVE_KILLED:
        served.kill_all()
    else:
        served.stop()
    time.sleep(rng.uniform(0.0, 1.5))
    if fate is Fate.BOTH:
        bridge.kill()
        bridge.start()
    served.start()
    served.wait_until_ready()


def _settle(report: Report, senders: list[Sender], spool: Path | None) -> None:
    """Sum up, and wait until nothing waits in the spool."""
    for sender in senders:
        report.acknowledged += len(sender.acknowledged)
        report.unanswered += sender.unanswered
        report.refused += sender.refused
    if spool is None:
        return
    end = time.monotonic() + SPOOL_SECONDS
    while waiting := len(list((spool / "waiting").iterdir())):
        if time.monotonic() > end:
            report.wrong.append(f"{waiting} Instances wait in the spool for ever")
            return
        time.sleep(0.1)
    report.wrong += [f"{it.name} was put aside" for it in (spool / "refused").iterdir()]


def differences(url: str, acknowledged: Mapping[str, str]) -> list[str]:
    """Return what is not in the archive, or with another data set than was sent."""
    uids = list(acknowledged)
    wrong: list[str] = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(uids), _AT_ONCE):
            some = uids[start : start + _AT_ONCE]
            paths = dict(_paths(client, some))
            wrong += [f"{uid} is lost" for uid in some if uid not in paths]
            for uid, path in paths.items():
                data = data_set_of(client.get(path).raise_for_status().content)
                if hashlib.sha256(data).hexdigest() != acknowledged[uid]:
                    wrong.append(f"{uid} is not what was sent")
    return wrong


def _paths(client: httpx.Client, uids: list[str]) -> Iterator[tuple[str, str]]:
    asked = {"SOPInstanceUID": ",".join(uids), "limit": str(len(uids))}
    found = client.get("/dicom-web/instances", params=asked)
    for match in found.json() if found.status_code == 200 else ():
        names = [match[key]["Value"][0] for key in ("0020000D", "0020000E", "00080018")]
        yield names[2], "/api/v1/studies/{}/series/{}/instances/{}/original".format(*names)


def main() -> int:
    """Run, and print the report."""
    options = argparse.ArgumentParser(prog="python -m tests.killing.bridge", description=__doc__)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--spool", action="store_true", help="acknowledge at the edge")
    options.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    options.add_argument("--directory", type=Path, help="where to work; it stays")
    asked = options.parse_args()
    directory = asked.directory or Path(tempfile.mkdtemp(prefix="killing-bridge-"))
    directory.mkdir(parents=True, exist_ok=True)
    report = run(directory, asked.kills, asked.seed, spooled=asked.spool, tell=_say)
    _say(report.table())
    if report.wrong:
        _say("\n".join([*report.wrong[:50], f"All of it is in {directory}"]))
        return 1
    if asked.directory is None:
        shutil.rmtree(directory)
    return 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
