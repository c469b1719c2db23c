"""What clients sent, and what they were told: the side of the truth that the archive must meet."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from threading import Lock


class Expected(StrEnum):
    """What has to be found of an Instance."""

    PRESENT = "present"
    """Acknowledged, or seen since."""
    ABSENT = "absent"
    """Its removal was acknowledged, or it was refused, or it was seen to be absent."""
    EITHER = "either"
    """Nobody was answered: it is wholly there or wholly absent, and stays as it is found."""


@dataclass(slots=True)
class Sent:
    """One Instance that was sent, under UIDs of its own."""

    study: str
    series: str
    instance: str
    sha256: bytes
    size: int
    expected: Expected = Expected.ABSENT
    before: Expected = Expected.ABSENT
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """So many of these are there, whichever: what an import that gave up has counted as stored."""

    instances: frozenset[str]
    least: int


@dataclass(slots=True)
class Ledger:
    """All that was sent. Threads share it; the bytes lie in files of `spool`."""

    spool: Path
    sent: dict[str, Sent] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    acknowledged: int = 0
    removed: int = 0
    unanswered: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, study: str, series: str, instance: str, data: bytes) -> Sent:
        """Note an Instance that will be sent, and keep its bytes."""
        self.path(instance).write_bytes(data)
        one = Sent(study, series, instance, hashlib.sha256(data).digest(), len(data), busy=True)
        with self._lock:
            self.sent[instance] = one
        return one

    def path(self, instance: str) -> Path:
        """Return the file with the bytes of an Instance."""
        return self.spool / f"{instance}.dcm"

    def begin(self, some: Iterable[Sent], *, removing: bool = False) -> None:
        """A request about these is about to be sent. To send again what is there cannot hurt it."""
        with self._lock:
            for one in some:
                one.before = one.expected
                if removing or one.expected is not Expected.PRESENT:
                    one.expected = Expected.EITHER

    def acknowledge(self, some: Collection[Sent], *, removed: bool = False) -> None:
        """The archive said that these are stored, or removed."""
        with self._lock:
            for one in some:
                one.expected = Expected.ABSENT if removed else Expected.PRESENT
            if removed:
                self.removed += len(some)
            else:
                self.acknowledged += len(some)

    def refuse(self, some: Iterable[Sent]) -> None:
        """The archive said that it did nothing about these."""
        with self._lock:
            for one in some:
                one.expected = one.before

    def give_up(self, some: Collection[Sent]) -> None:
        """There was no answer about these."""
        with self._lock:
            self.unanswered += len(some)

    def promise(self, some: Collection[Sent], least: int) -> None:
        """Some of these are stored, and it is not known which."""
        with self._lock:
            self.promises.append(Promise(frozenset(one.instance for one in some), least))

    def release(self, some: Iterable[Sent]) -> None:
        """No request about these is under way any more."""
        with self._lock:
            for one in some:
                one.busy = False

    def borrow(self, rng: Random, shared: Collection[str]) -> list[Sent]:
        """Return a whole Study that is there, or one Instance of it; all of them are busy now.

        Of a Study that is in `shared`, which others add to, it is always one Instance.
        """
        with self._lock:
            there = [one for one in self.sent.values() if _is_free(one)]
            if not there:
                return []
            chosen = rng.choice(there)
            study = [one for one in self.sent.values() if one.study == chosen.study]
            whole = chosen.study not in shared and all(_is_settled(one) for one in study)
            some = [one for one in study if _is_free(one)] if whole else [chosen]
            for one in some:
                one.busy = True
            return some

    def settle(self, found: Collection[str]) -> None:
        """Expect from now on what was found of those that nobody was answered about.

        Nobody may be at work.
        """
        with self._lock:
            self.promises.clear()
            for one in self.sent.values():
                one.busy = False
                if one.expected is Expected.EITHER:
                    there = one.instance in found
                    one.expected = Expected.PRESENT if there else Expected.ABSENT

    def forget(self) -> None:
        """Drop the bytes of what will not be sent again; that it is absent stays expected."""
        with self._lock:
            for one in self.sent.values():
                if one.expected is Expected.ABSENT and not one.busy:
                    self.path(one.instance).unlink(missing_ok=True)

    def present_bytes(self) -> int:
        """Return how many bytes are expected to be there."""
        with self._lock:
            return sum(one.size for one in self.sent.values() if _is_there(one))

    def note(self, answer: str) -> None:
        """Count what a client was answered."""
        with self._lock:
            self.answers[answer] += 1

    def complain(self, what: str) -> None:
        """Note an answer that is itself a loss."""
        with self._lock:
            self.complaints.append(what)


def _is_there(one: Sent) -> bool:
    return one.expected is Expected.PRESENT


def _is_settled(one: Sent) -> bool:
    return not one.busy and one.expected is not Expected.EITHER


def _is_free(one: Sent) -> bool:
    return _is_there(one) and not one.busy
