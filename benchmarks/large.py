"""One Instance of 8 GB through a server of 512 MB: `python -m benchmarks.large`.

Its PostgreSQL is in the same group of processes, and so are the codecs' workers. Everything that
comes back is compared with what was sent. Nothing of it is ever whole in memory, here neither.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from benchmarks.__main__ import default_cache
from benchmarks.fileroom import PROGRAM, find_versions, make_server
from benchmarks.large_data import FRAME, FRAMES, SIDE, LargeInstance, make_large
from benchmarks.large_report import Measured, Step, build_large_page
from benchmarks.machine import describe_machine
from benchmarks.memory_group import MemoryGroup, NoGroups
from benchmarks.messages import FRAME_ACCEPT, JSON_ACCEPT, SERIES_ACCEPT
from benchmarks.namespace import end_on_sigterm

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 512 * 2**20
RUN = 901
SECONDS = 1800
SINGLE, LISTED = 50, 100
"""Frames that are asked for one by one, and in one request."""
KINDS = {"extended": "Extended Offset Table", "bare": "no table", "import": "no table, imported"}
_BOUNDARY = "fileroom-benchmark-4711"
_OPENING = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_CLOSING = f"\r\n--{_BOUNDARY}--\r\n".encode()


class Wrong(Exception):
    """What came back is not what was sent, or the server did not survive."""


@dataclass(slots=True)
class Trial:
    """One Instance on one server: what is asked, and how long each answer takes."""

    instance: LargeInstance
    connection: HTTPConnection
    digest: str
    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def timed(self, name: str, size: int) -> Iterator[None]:
        """Note the seconds of a block that moves `size` bytes."""
        began = time.perf_counter()
        yield
        self.steps.append(Step(name, size, time.perf_counter() - began))
        print(f"  {self.steps[-1]}", flush=True)

    def ask(self, path: str, accept: tuple[str, str]) -> HTTPResponse:
        """Return the answer to a GET below the Instance, its body unread."""
        address = f"/dicom-web{self.instance.path}{path}"
        self.connection.request("GET", address, headers=dict([accept]))
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise Wrong(f"{address}: {answer.status} {answer.read()[:500]!r}")
        return answer

    def store(self) -> None:
        """Send it, made meanwhile."""
        instance = self.instance

        def body() -> Iterator[bytes | memoryview]:
            yield _OPENING
            yield from instance.pieces()
            yield _CLOSING

        length = len(_OPENING) + instance.size + len(_CLOSING)
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        headers = {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Accept": "application/dicom+json",
        }
        with self.timed("stored", instance.size):
            self.connection.request("POST", "/dicom-web/studies", body(), headers)
            answer = self.connection.getresponse()
            said = answer.read()
        if answer.status != 200 or len(json.loads(said)["00081199"]["Value"]) != 1:
            raise Wrong(f"it was not stored: {answer.status} {said[:500]!r}")

    def read_frames(self) -> None:
        """Ask for frames one by one, then for many at once."""
        chooser, last = random.Random(4711), self.instance.count
        numbers = [1, last, *(chooser.randint(1, last) for _ in range(SINGLE - 2))]
        with self.timed(f"{SINGLE} frames, one by one", SINGLE * FRAME):
            for number in numbers:
                self._compare(number, self.ask(f"/frames/{number}", FRAME_ACCEPT))
        numbers = sorted(chooser.sample(range(1, last + 1), LISTED))
        with self.timed(f"{LISTED} frames in one request", LISTED * FRAME):
            answer = self.ask(f"/frames/{','.join(map(str, numbers))}", FRAME_ACCEPT)
            for number in numbers:
                self._compare(number, answer, whole=False)
            answer.read()

    def _compare(self, number: int, answer: HTTPResponse, *, whole: bool = True) -> None:
        skip_part_header(answer)
        wanted = b"".join(self.instance.frame(number))
        if answer.read(FRAME) != wanted:
            raise Wrong(f"frame {number} is not what was stored")
        if whole:
            answer.read()

    def read_whole(self) -> None:
        """Stream the Instance back, hashed meanwhile."""
        digest, left = hashlib.sha256(), self.instance.size
        with self.timed("the whole Instance", self.instance.size):
            answer = self.ask("", SERIES_ACCEPT)
            skip_part_header(answer)
            while left and (chunk := answer.read(min(FRAME, left))):
                digest.update(chunk)
                left -= len(chunk)
            answer.read()
        if left or digest.hexdigest() != self.digest:
            raise Wrong("the whole Instance is not what was stored")

    def read_others(self) -> None:
        """Ask for metadata, a rendered frame and a thumbnail."""
        with self.timed("its metadata", 0):
            (document,) = json.loads(self.ask("/metadata", JSON_ACCEPT).read())
        if document["00280008"]["Value"] != [self.instance.count]:
            raise Wrong("the metadata is not that of the Instance")
        picture = ("Accept", "image/jpeg")
        for name, path in {
            "a frame, rendered": f"/frames/{self.instance.count // 2}/rendered",
            "its thumbnail": "/thumbnail",
        }.items():
            with self.timed(name, 0):
                drawn = self.ask(path, picture).read()
            if not drawn.startswith(b"\xff\xd8"):
                raise Wrong(f"{path} is no JPEG")


def skip_part_header(answer: HTTPResponse) -> None:
    """Read an answer up to the first byte of its next part."""
    lines = 0
    while line := answer.readline():
        lines += line not in {b"\r\n", b"\n"}
        if lines > 1 and line == b"\r\n":  # the delimiter's line and at least one field
            return
    raise Wrong("an answer has fewer parts than were asked for")


def hash_instance(instance: LargeInstance) -> str:
    """Return the SHA-256 of the file."""
    digest = hashlib.sha256()
    for piece in instance.pieces():
        digest.update(piece)
    return digest.hexdigest()


def write_instance(instance: LargeInstance, path: Path) -> None:
    """Write the file, and let nothing of it stay in memory."""
    with path.open("wb") as file:
        file.writelines(instance.pieces())
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run_trial(kind: str, count: int, cache: Path) -> Measured:
    """Store one Instance in a new archive, read it back, and remove the archive."""
    instance = make_large(RUN, count, table=kind == "extended")
    print(f"{KINDS[kind]}: {instance.size / 1e9:.2f} GB", flush=True)
    digest = hash_instance(instance)
    with MemoryGroup("fileroom-large", LIMIT) as group:
        plain = make_server(cache, "large")
        server = replace(plain, command=group.within(plain.command))
        server.clear()
        connection = HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        trial = Trial(instance, connection, digest)
        try:
            if kind == "import":
                _import(trial, group, server.directory)
            server.start()
            if kind != "import":
                trial.store()
            trial.read_frames()
            trial.read_others()
            trial.read_whole()
            if group.killed:
                raise Wrong(f"{group.killed} processes were killed for want of memory")
            return Measured(KINDS[kind], trial.steps, group.peak, group.held, group.killed)
        except (OSError, HTTPException) as error:
            raise Wrong(f"{error!r}; {group.killed} processes were killed") from error
        finally:
            connection.close()
            server.stop()
            server.clear()


def _import(trial: Trial, group: MemoryGroup, data_dir: Path) -> None:
    """Bring it in from a file, with no server running."""
    path = data_dir.with_name("large.dcm")
    command = [PROGRAM, "import", str(path), "--data-dir", str(data_dir)]
    try:
        write_instance(trial.instance, path)
        with trial.timed("stored", trial.instance.size):
            done = subprocess.run(
                group.within(command), cwd=path.parent, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise Wrong(f"it was not imported: {done.stdout}{done.stderr}")
    finally:
        path.unlink(missing_ok=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of 1 MiB each (8192)")
    parser.add_argument("--only", choices=KINDS, help="one kind alone")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="on a disk, 20 GB free")
    parser.add_argument("--output", type=Path, help="the page to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] = (), tell: Callable[[str], None] = print) -> int:
    """Run all trials and write the page; 2 where no group can be made, 1 where one fails."""
    told = _parse(arguments)
    cache = told.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    needed = 2.2 * told.frames * FRAME
    if shutil.disk_usage(cache).free < needed:
        tell(f"{cache} needs {needed / 1e9:.0f} GB free; name another disk with --cache.")
        return 2
    kinds = [told.only] if told.only else list(KINDS)
    measured = []
    try:
        for kind in kinds:
            measured.append(run_trial(kind, told.frames, cache))
    except NoGroups as error:
        tell(str(error))
        return 2
    except Wrong as error:
        tell(f"{KINDS[kind]}: {error}")
        return 1
    date = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    load = f"{os.getloadavg()[2]:.1f} on average (15 minutes), of which this run is about 2"
    machine = {**describe_machine(cache), "load": load, **find_versions()}
    page = build_large_page(measured, (LIMIT, told.frames, SIDE), date, machine)
    whole = not told.only and told.frames == FRAMES
    output = told.output or (ROOT / "docs" / "large.md" if whole else cache / "large.md")
    output.write_text(page)
    tell(f"\n{page}\nWritten to {output}")
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main(sys.argv[1:]))
