"""What the archive wants sent on: claimed, sent by C-STORE, and told (docs/forwarding.md).

Rules, queue and retries are the archive's. A claim ends by itself, so whoever is killed here loses
nothing; who is stopped lets go of the rest.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.dimse.archive import Archive, json_body
from app.dimse.connections import NoAnswer
from app.dimse.destinations import Destinations
from app.dimse.hindrances import Hindrances
from app.dimse.originals import Fetcher, Found
from app.dimse.outgoing import Caller
from app.dimse.peers import Peer
from app.dimse.sender import send_all
from app.errors import Unavailable

CLAIMS = "/api/v1/forwardings/claims"
MOST, SECONDS = 100, 60
"""Instances of a claim, and for how long it is held."""
TOLD_AT_ONCE = 20
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
REFUSED_PAUSE = 60.0
FORWARDING = "forwarding"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be sent to an AE, each with its number; `lost` once it is somebody else's."""

    name: str
    peer: Peer
    numbers: Mapping[str, int]
    found: Sequence[Found]
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> str:
        """Where the archive has it."""
        return f"{CLAIMS}/{self.name}"


@dataclass(frozen=True, slots=True)
class Work:
    """What couriers need, and share: `counts` are of what was sent and what failed."""

    archive: Archive
    caller: Caller
    fetcher: Fetcher
    destinations: Destinations
    answer_seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    hindrances: Hindrances = field(default_factory=lambda: Hindrances(_log))


class Courier(threading.Thread):
    """Takes one claim after the other until it is told to stop."""

    def __init__(self, work: Work) -> None:
        super().__init__(name="courier", daemon=True)
        self._work = work
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop after the Instance that is being sent."""
        self._stopping.set()

    def run(self) -> None:
        """Send what is due, and look for more."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                claim = self._claimed()
                if claim is not None:
                    self._carry(claim)
                    pause = FIRST_PAUSE
                    continue
            except NoAnswer as error:
                self._work.hindrances.no_answer(FORWARDING, error)
            except Exception:
                _log.exception("what was claimed could not be sent")
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _claimed(self) -> Claim | None:
        body = json_body({"limit": MOST, "seconds": SECONDS})
        response = self._work.archive.send(None, "POST", CLAIMS, body)
        if response.status_code not in {200, 204}:
            self._work.hindrances.refused(FORWARDING, response.status_code)
            self._stopping.wait(REFUSED_PAUSE)
            return None
        self._work.hindrances.over(FORWARDING)
        if response.status_code == 204:
            return None
        made = orjson.loads(response.content)
        items = made["instances"]
        return Claim(
            made["claim"],
            self._work.destinations.of(made["destination"]),
            {item["instance"]: item["id"] for item in items},
            [_found(item) for item in items],
        )

    def _carry(self, claim: Claim) -> None:
        results = _Results(self._work, claim)
        with self._holding(claim):
            try:
                for found, why in self._sent(claim):
                    results.note(found, why)
                    if self._stopping.is_set() or claim.lost.is_set():
                        break
            except Unavailable as error:
                self._give_up(claim, results, error)
            results.tell()
        if results.left and not claim.lost.is_set():
            self._work.archive.send(None, "DELETE", claim.path)

    def _give_up(self, claim: Claim, results: "_Results", error: Unavailable) -> None:
        """Note that nothing was taken; what is left after something was tried was no try."""
        if results.left == len(claim.numbers):
            for found in claim.found:
                results.note(found, str(error))
        else:
            _log.warning("%s", error)
            self._stopping.wait(FIRST_PAUSE)  # or it would be called without an end

    def _sent(self, claim: Claim) -> Iterator[tuple[Found, str]]:
        work = self._work
        return send_all(work.caller, work.fetcher, claim.peer, claim.found, work.answer_seconds)

    @contextmanager
    def _holding(self, claim: Claim) -> Iterator[None]:
        """Hold a claim for as long as it takes."""
        done = threading.Event()
        holder = threading.Thread(target=self._hold, args=(claim, done), daemon=True)
        holder.start()
        try:
            yield
        finally:
            done.set()
            holder.join()

    def _hold(self, claim: Claim, done: threading.Event) -> None:
        while not done.wait(SECONDS / 3):
            try:
                body = json_body({"seconds": SECONDS})
                response = self._work.archive.send(None, "PUT", claim.path, body)
            except NoAnswer as error:
                _log.warning("the archive does not answer: %s", error)
                continue
            if response.status_code == 404:
                claim.lost.set()
                return


class _Results:
    """Tells the archive what became of a claim, part by part."""

    def __init__(self, work: Work, claim: Claim) -> None:
        self._work, self._claim = work, claim
        self._done: list[int] = []
        self._failed: list[dict[str, Any]] = []
        self.left = len(claim.numbers)

    def note(self, found: Found, why: str) -> None:
        """Note that an Instance was sent, or why it was not."""
        number = self._claim.numbers[found.instance]
        if why:
            self._failed.append({"id": number, "reason": why})
        else:
            self._done.append(number)
        self.left -= 1
        self._work.counts["failed" if why else "sent"] += 1
        if len(self._done) + len(self._failed) >= TOLD_AT_ONCE:
            self.tell()

    def tell(self) -> None:
        """Tell what was noted since."""
        if not self._done and not self._failed:
            return
        body = json_body({"done": self._done, "failed": self._failed})
        self._work.archive.send(None, "POST", f"{self._claim.path}/results", body)
        self._done, self._failed = [], []


def _found(item: Mapping[str, Any]) -> Found:
    names = ("sop_class", "study", "series", "instance", "transfer_syntax")
    return Found(*(str(item[name]) for name in names))
