"""Clients that store and remove without a pause, each in a thread, until told to stop."""

import contextlib
import gzip
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from tests.factories import make_dataset, make_part10, new_uid
from tests.killing.ledger import Expected, Ledger, Sent
from tests.killing.served import Served
from tests.live_server import FILEROOM, clean_environment
from tests.multipart import RELATED, make_multipart

DICOM = "application/dicom"
ANSWER_SECONDS = 120
PAUSE_SECONDS = 300
SHARED = 3
PATIENTS = 5
HUGE_EVERY = 25
PROCESSING_FAILURE = 0x0110
"""The process that writes was killed, say: nothing was decided, and it may be sent again (S-11)."""
"""One of so many large Instances does not fit into one request to a bucket."""

Work = Callable[["Client"], None]


@dataclass(slots=True)
class Importing:
    """The `fileroom import` that runs just now, so that it can be killed, too."""

    process: subprocess.Popen[bytes] | None = None


class Clients:
    """All clients. They pause together, so that what is there can be looked at."""

    def __init__(self, served: Served, ledger: Ledger, seed: int) -> None:
        self.served = served
        self.ledger = ledger
        self.importing = Importing()
        self.shared: list[tuple[str, str]] = []
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        """A pause is wanted: nobody sleeps longer."""
        self._paused = True
        self._active = 0
        self._change = threading.Condition()
        self._failed: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work, Random(f"{seed} {number}")))
            for number, work in enumerate(WORK)
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.hurry.set()
        self.resume()
        for thread in self._threads:
            thread.join()

    def pause(self) -> None:
        """Wait until no request of any client is under way."""
        self.hurry.set()
        with self._change:
            self._paused = True
            idle = self._change.wait_for(lambda: not self._active, PAUSE_SECONDS)
        assert idle, "a client waits for an answer that does not come"
        if self._failed:
            raise self._failed[0]

    def resume(self) -> None:
        """Go on; what several clients add to are other Series than before."""
        self.shared = [(new_uid(), new_uid()) for _ in range(SHARED)]
        if not self.stopping.is_set():
            self.hurry.clear()
        with self._change:
            self._paused = False
            self._change.notify_all()

    def _run(self, work: Work, rng: Random) -> None:
        try:
            with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
                client = Client(self, rng, http)
                while not self.stopping.is_set():
                    with self._turn():
                        if not self.stopping.is_set():
                            work(client)
        except BaseException as error:
            self._failed.append(error)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: not self._paused)
            self._active += 1
        try:
            yield
        finally:
            with self._change:
                self._active -= 1
                self._change.notify_all()


@dataclass(slots=True)
class Client:
    """One of them, with its own dice."""

    all: Clients
    rng: Random
    http: httpx.Client

    def make(self, count: int, size: int = 0, *, among_others: bool = False) -> list[Sent]:
        """Return new Instances of one Series, in a Study of their own or in one that many share."""
        study, series = self.rng.choice(self.all.shared) if among_others else (new_uid(), new_uid())
        patient = f"P{self.rng.randrange(PATIENTS)}"
        made = []
        for number in range(count):
            pixels = {"Rows": 1024, "Columns": size // 2048, "PixelData": self.rng.randbytes(size)}
            dataset = make_dataset(
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                InstanceNumber=number,
                PatientID=study[-20:] if among_others else patient,
                **(pixels if size else {}),
            )
            uid = str(dataset.SOPInstanceUID)
            made.append(self.all.ledger.add(study, series, uid, make_part10(dataset)))
        return made

    def bytes_of(self, some: Sequence[Sent]) -> list[bytes]:
        """Return what is sent of each."""
        return [self.all.ledger.path(one.instance).read_bytes() for one in some]

    def store(self, some: Sequence[Sent], body: bytes, headers: dict[str, str]) -> bool:
        """Send them, and note what the answer says of each; say whether there was one."""
        ledger = self.all.ledger
        ledger.begin(some)
        headers = {"Accept": "application/dicom+json", **headers}
        url = f"{self.all.served.url}/dicom-web/studies"
        try:
            answer = self.http.post(url, content=body, headers=headers)
        except httpx.TransportError as error:
            ledger.note(f"store: {type(error).__name__}")
            ledger.give_up(some)
            self.all.hurry.wait(0.2)
            return False
        ledger.note(f"store: {answer.status_code}")
        heeded = answer.status_code in {200, 202, 409}
        if heeded:
            self._heed(some, answer.json())
        else:
            ledger.give_up(some)
        return heeded

    def _heed(self, some: Sequence[Sent], report: Any) -> None:
        stored = {
            item["00081155"]["Value"][0] for item in report.get("00081199", {}).get("Value", [])
        }
        ledger = self.all.ledger
        ledger.acknowledge([one for one in some if one.instance in stored])
        others = [one for one in some if one.instance not in stored]
        ledger.refuse(others)
        failed = {
            item["00081155"]["Value"][0]: item["00081197"]["Value"][0]
            for item in report.get("00081198", {}).get("Value", [])
        }
        for one in others:
            reason = failed.get(one.instance)
            if one.expected is Expected.PRESENT and reason != PROCESSING_FAILURE:
                ledger.complain(f"{one.instance} is there and was refused: {reason}")

    def remove(self, some: Sequence[Sent]) -> None:
        """Delete one Instance, or the whole Study that these are."""
        ledger, first = self.all.ledger, some[0]
        path = f"studies/{first.study}"
        if len(some) == 1:
            path += f"/series/{first.series}/instances/{first.instance}"
        ledger.begin(some, removing=True)
        try:
            answer = self.http.delete(f"{self.all.served.url}/dicom-web/{path}")
        except httpx.TransportError as error:
            ledger.note(f"delete: {type(error).__name__}")
            ledger.give_up(some)
            return
        ledger.note(f"delete: {answer.status_code}")
        if answer.status_code == 204:
            ledger.acknowledge(some, removed=True)
        elif answer.status_code in {404, 410}:
            ledger.complain(f"{path} is there, and DELETE said {answer.status_code}")
        else:
            ledger.give_up(some)

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command on the archive that is served."""
        served = self.all.served
        with (served.directory / "commands.log").open("ab") as log:
            return subprocess.Popen(
                [FILEROOM, *arguments, "--data-dir", str(served.data_dir)],
                env=clean_environment(served.environment),
                cwd=served.directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def store_small(client: Client) -> None:
    """One Instance as it is, now and then into a Series that others add to."""
    (one,) = client.make(1, among_others=client.rng.random() < 0.6)
    client.store([one], client.bytes_of([one])[0], {"Content-Type": DICOM})
    client.all.ledger.release([one])


def store_large(client: Client) -> None:
    """One Instance of megabytes: in memory, in a staging file, to a bucket in parts."""
    megabytes = 34 if client.rng.randrange(HUGE_EVERY) == 0 else client.rng.randint(1, 8)
    (one,) = client.make(1, megabytes * 2**20)
    client.store([one], client.bytes_of([one])[0], {"Content-Type": DICOM})
    client.all.ledger.release([one])


def store_many(client: Client) -> None:
    """Many parts in one request, sometimes in gzip."""
    some = client.make(client.rng.randint(2, 80))
    body = make_multipart(*client.bytes_of(some))
    headers = {"Content-Type": RELATED}
    if client.rng.random() < 0.5:
        body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    client.store(some, body, headers)
    client.all.ledger.release(some)


def remove_and_store_again(client: Client) -> None:
    """Delete what is there, and mostly store it anew."""
    ledger = client.all.ledger
    some = ledger.borrow(client.rng, [study for study, _ in client.all.shared])
    if not some:
        client.all.hurry.wait(0.1)
        return
    body, headers = make_multipart(*client.bytes_of(some)), {"Content-Type": RELATED}
    again = client.rng.random() < 0.2  # the same once more, while it is there
    if again and not client.store(some, body, headers):
        return  # the request may live on without us: nobody touches these until all is looked at
    client.remove(some)
    absent = all(one.expected is Expected.ABSENT for one in some)
    if absent and client.rng.random() < 0.7:
        client.store(some, body, headers)
    ledger.release(some)


def import_files(client: Client) -> None:
    """`fileroom import` of some files. It may be killed itself."""
    ledger = client.all.ledger
    some = client.make(client.rng.randint(5, 40))
    report = client.all.served.directory / "import.json"
    report.unlink(missing_ok=True)
    ledger.begin(some)
    files = [str(ledger.path(one.instance)) for one in some]
    process = client.run("import", *files, "--report", str(report))
    client.all.importing.process = process
    code = process.wait(ANSWER_SECONDS * 2)
    client.all.importing.process = None
    ledger.note(f"import: {code}")
    if code == 0:
        ledger.acknowledge(some)
    else:
        ledger.give_up(some)
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            counted = json.loads(report.read_bytes())
            ledger.promise(some, counted["stored"] + counted["known"])
    ledger.release(some)
    client.all.hurry.wait(client.rng.uniform(0, 2))


def purge_removed(client: Client) -> None:
    """`fileroom purge` of all that was deleted, now and then."""
    if client.all.hurry.wait(client.rng.uniform(0.5, 4)):
        return
    code = client.run("purge", "--older-than", "0", "--yes").wait(ANSWER_SECONDS * 2)
    client.all.ledger.note(f"purge: {code}")


WORK: Sequence[Work] = (
    store_small,
    store_small,
    store_large,
    store_many,
    store_many,
    remove_and_store_again,
    remove_and_store_again,
    import_files,
    purge_removed,
)
