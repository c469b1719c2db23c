"""The bridge beside Orthanc and dcmqrscp, by DCMTK's own tools: `python -m benchmarks.dimse`.

What was stored is counted by queries, and what was sent by the files that came: exit codes lie.
"""

import argparse
import datetime
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from benchmarks import fileroom, namespace, peer
from benchmarks.__main__ import ROOT, default_cache
from benchmarks.data import Instance, make_ct_series, make_mr_series
from benchmarks.dimse_report import Figures, build_dimse_page
from benchmarks.dimse_servers import (
    DCMTK,
    DESTINATION,
    PLAIN_SOCKETS,
    Archive,
    dcmqrscp,
    find_version,
    orthanc,
    orthanc_on_postgresql,
    ours,
    run_tool,
)
from benchmarks.machine import describe_machine
from benchmarks.report import OURS
from benchmarks.server import free_port, remove_cleared
from benchmarks.tasks import Sample, watch

MODULE = "benchmarks.dimse"
FOUR = 4
_STORED_RUN, _MOVED_RUN, _ASKED_RUN = 700, 690, 60_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of everything."""

    instances: int
    queries: int
    repetitions: int


FULL, QUICK = Counts(400, 300, 3), Counts(20, 20, 1)


class NotWhole(Exception):
    """Something that was answered for is not there."""


@contextmanager
def _receiver(port: int) -> Iterator[Path]:
    """Run DCMTK's storescp; what it is sent comes into the directory."""
    with tempfile.TemporaryDirectory(prefix="dimse-received-") as name:
        arguments = ["-q", "-aet", DESTINATION, "-od", name, "--fork", str(port)]
        command = [str(DCMTK / "storescp"), *arguments]
        with subprocess.Popen(command, env={**os.environ, **PLAIN_SOCKETS}) as process:
            try:
                yield Path(name)
            finally:
                process.terminate()


def _written(directory: Path, instances: Sequence[Instance]) -> Path:
    directory.mkdir(parents=True)
    for number, instance in enumerate(instances):
        with (directory / f"{number:05d}.dcm").open("wb") as file:
            for piece in instance.pieces():
                file.write(piece)
    return directory


def _count(archive: Archive, instance: Instance) -> int:
    """Return how many Instances an archive finds in the Series of one."""
    level = ["QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={instance.study}"]
    keys = [*level, f"SeriesInstanceUID={instance.series}", "SOPInstanceUID"]
    options = [word for key in keys for word in ("-k", key)]
    with tempfile.TemporaryDirectory() as found:
        run_tool("findscu", "-S", "-X", "-od", found, *archive.called, *options)
        return len(list(Path(found).iterdir()))


class Bench:
    """Measures archives with files of its own."""

    def __init__(self, files: Path, received: Path, counts: Counts) -> None:
        self._files, self._received, self._counts = files, received, counts

    def store(self, archive: Archive, associations: int, repetition: int) -> Sample:
        """Store as many series at once as there are associations; each instance is 0.5 MB."""
        each = self._counts.instances // associations
        root = self._files / f"store-{associations}-{repetition}"
        runs = _runs(associations, repetition)
        command = [str(DCMTK / "storescu"), "-R", *archive.called, "+sd"]
        with watch(archive.server) as watched:
            began = time.perf_counter()
            senders = [
                subprocess.Popen(
                    [*command, str(root / str(number))], env={**os.environ, **PLAIN_SOCKETS}
                )
                for number in range(associations)
            ]
            failed = [sender.args for sender in senders if sender.wait()]
            seconds = time.perf_counter() - began
        if failed or any(_count(archive, make_ct_series(run, 1)[0]) != each for run in runs):
            raise NotWhole(f"{archive.server.name} has not all that was stored")
        total = each * associations
        return Sample(total / seconds, total, watched.usage)

    def write(self) -> None:
        """Write all files, so that no disk is busy with them when something is measured."""
        counts, files = self._counts, self._files
        runs = range(_ASKED_RUN, _ASKED_RUN + counts.queries)
        studies = [make_mr_series(run, 1)[0] for run in runs]
        _written(files / "asked", studies)
        _written(files / "moved", make_ct_series(_MOVED_RUN, counts.instances))
        _write_queries(files / "queries", studies)
        for repetition, many in itertools.product(range(counts.repetitions), (1, FOUR)):
            for number, run in enumerate(_runs(many, repetition)):
                directory = files / f"store-{many}-{repetition}" / str(number)
                _written(directory, make_ct_series(run, counts.instances // many))
        os.sync()

    def prepare(self, archive: Archive) -> None:
        """Bring in what is asked for and moved."""
        for name in ("asked", "moved"):
            run_tool("storescu", "-R", *archive.called, "+sd", self._files / name)

    def find(self, archive: Archive) -> Sample:
        """Ask for one Study after the other by Patient ID, on one association."""
        queries = sorted((self._files / "queries").iterdir())
        with tempfile.TemporaryDirectory() as found, watch(archive.server) as watched:
            began = time.perf_counter()
            run_tool("findscu", "-S", "-X", "-od", found, *archive.called, *queries)
            seconds = time.perf_counter() - began
            answered = len(list(Path(found).iterdir()))
        if answered != len(queries):
            raise NotWhole(f"{archive.server.name} finds {answered} of {len(queries)} studies")
        return Sample(len(queries) / seconds, len(queries), watched.usage)

    def move(self, archive: Archive) -> Sample:
        """Have a series sent to a receiver that only writes it down."""
        instance = make_ct_series(_MOVED_RUN, 1)[0]
        uids = f"StudyInstanceUID={instance.study}", f"SeriesInstanceUID={instance.series}"
        options = [word for key in ("QueryRetrieveLevel=SERIES", *uids) for word in ("-k", key)]
        with watch(archive.server) as watched:
            began = time.perf_counter()
            run_tool("movescu", "-S", "-aem", DESTINATION, *archive.called, *options)
            seconds = time.perf_counter() - began
        came = list(self._received.iterdir())
        for path in came:
            path.unlink()
        if len(came) != self._counts.instances:
            raise NotWhole(f"{archive.server.name} sent {len(came)}")
        return Sample(len(came) / seconds, len(came), watched.usage)

    def measure(self, archive: Archive, repetition: int) -> Iterator[tuple[str, Sample]]:
        """Yield all figures of one repetition; none where a peer has lost something.

        Raises:
            NotWhole: we have.
        """
        cells: dict[str, Callable[[], Sample]] = {
            "store-one": lambda: self.store(archive, 1, repetition),
            "store-four": lambda: self.store(archive, FOUR, repetition),
            "find": lambda: self.find(archive),
            "move": lambda: self.move(archive),
        }
        for row, measure in cells.items():
            try:
                yield row, measure()
            except NotWhole as error:
                if archive.server.name.startswith(OURS):
                    raise
                print(error, flush=True)


def _runs(associations: int, repetition: int) -> list[int]:
    """Return the numbers of the series that are stored at once."""
    first = _STORED_RUN + 10 * repetition + (0 if associations == 1 else 1)
    return list(range(first, first + associations))


def _write_queries(directory: Path, studies: Sequence[Instance]) -> None:
    directory.mkdir()
    for number in range(len(studies)):
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.PatientID = f"PAT{_ASKED_RUN + number:07d}"
        query.StudyInstanceUID = query.PatientName = query.StudyDate = query.ModalitiesInStudy = ""
        path = directory / f"{number:05d}.dcm"
        query.save_as(path, implicit_vr=False, little_endian=True)


def _archives(cache: Path, receiver: int, only: str) -> list[Archive]:
    found = []
    if only in {"", "fileroom"}:
        found += [ours(cache, receiver, 1), ours(cache, receiver, 2)]
    if only in {"", "orthanc"}:
        root = peer.prepare_peer(cache)
        peer.enter_root(root)
        found += [orthanc(root, cache, receiver), orthanc_on_postgresql(root, cache, receiver)]
    if only in {"", "dcmqrscp"}:
        found.append(dcmqrscp(cache, receiver))
    return found


def run(cache: Path, counts: Counts, only: str, tell: Callable[[str], None]) -> Figures:
    """Measure all of them in turns."""
    receiver, files = free_port(), cache / "dimse-files"
    shutil.rmtree(files, ignore_errors=True)
    archives = _archives(cache, receiver, only)
    figures: Figures = {}
    try:
        with _receiver(receiver) as received:
            bench = Bench(files, received, counts)
            bench.write()
            for archive in archives:
                archive.server.clear()
                archive.server.start()
                bench.prepare(archive)
            for repetition in range(counts.repetitions):
                for archive in archives:
                    for other in archives:
                        other.server.wait_until_idle(0.5)
                    name = archive.server.name
                    for row, sample in bench.measure(archive, repetition):
                        figures.setdefault(row, {}).setdefault(name, []).append(sample)
                        tell(f"{row:12} {name:24} {sample.value:8.1f}")
    finally:
        for archive in archives:
            archive.server.stop()
            archive.server.clear()
        shutil.rmtree(files, ignore_errors=True)
        remove_cleared(cache)
    return figures


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, one repetition")
    parser.add_argument("--only", choices=("fileroom", "orthanc", "dcmqrscp"), default="")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where sets are kept")
    parser.add_argument("--output", type=Path, help="the page to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], tell: Callable[[str], None] = print) -> int:
    """Prepare what needs the network, then measure inside a namespace that has none."""
    told = _parse(arguments)
    cache = told.cache.resolve()
    if not namespace.is_inside():
        namespace.check_permitted()
        cache.mkdir(parents=True, exist_ok=True)
        if told.only in {"", "orthanc"}:
            peer.prepare_peer(cache)
        return namespace.enter(list(arguments), MODULE)
    namespace.end_on_sigterm()
    namespace.bring_up_loopback()
    namespace.check_alone()
    counts = QUICK if told.quick else FULL
    figures = run(cache, counts, told.only, tell)
    versions = {**fileroom.find_versions(), "DCMTK": find_version()}
    if told.only in {"", "orthanc"}:
        found = peer.find_versions(peer.prepare_peer(cache))
        versions |= {f"Orthanc: {name}": version for name, version in found.items()}
    date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    machine = {"date": date, **describe_machine(cache), **versions}
    page = build_dimse_page(figures, counts.instances, counts.repetitions, machine)
    whole = not (told.quick or told.only)
    output = told.output or (ROOT / "docs" / "dimse-speed.md" if whole else cache / "dimse.md")
    output.write_text(page)
    tell(f"\n{page}\nWritten to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
