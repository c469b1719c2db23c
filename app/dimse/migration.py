"""Studies of another archive, brought over one by one (C-FIND; C-GET or C-MOVE), and verified.

What is there already is not asked for again: a Study is whole when the archive has each Instance
that the other one names. So a migration may be stopped and started as often as one likes, and what
the other archive gets later comes the next time.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.dimse import asking
from app.dimse.archive import Archive
from app.dimse.asking import element, first
from app.dimse.connections import NoAnswer
from app.dimse.find import INSTANCES, Refused, search
from app.dimse.originals import PLAIN
from app.dimse.outgoing import Caller, OwnAssociation
from app.dimse.peers import Peer
from app.dimse.pulling import INSTANCE, SERIES, STUDY, Named, Puller
from app.errors import InvalidDataset, Unavailable

SOP_CLASS, DATE = "00080016", "00080020"
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Study of the other archive."""

    study: str
    date: str


@dataclass(slots=True)
class Done:
    """What became of a Study: Instances named, there before, still missing, seen to have come."""

    study: str
    named: int = 0
    known: int = 0
    missing: list[str] = field(default_factory=list)
    come: int = 0
    trouble: str = ""

    @property
    def good(self) -> bool:
        """All that was named is in the archive."""
        return not self.missing and not self.trouble


@dataclass(frozen=True, slots=True)
class Migration:
    """Brings Studies of a peer into the archive, at most `rate` Instances a second (0: any).

    With `move_to` the peer is asked to send them to that AE, a bridge of this archive; it does so
    at its own speed, so the rate bounds only when the next ones are asked for. What the bridge has
    acknowledged may still be in its spool: nothing has to come for `spool_seconds` until it is
    missing.
    """

    archive: Archive
    caller: Caller
    peer: Peer
    seconds: float = 300.0
    rate: float = 0.0
    move_to: str = ""
    spool_seconds: float = 30.0

    def studies(self, begin: datetime.date, end: datetime.date) -> Iterator[Wanted]:
        """Yield the Studies of each day, from the first to the last, and so as they are found.

        Raises:
            Unavailable: the peer takes no association, or does not answer a query.
        """
        day = begin
        while day <= end:
            keys = {STUDY: element("UI"), DATE: element("DA", day.strftime("%Y%m%d"))}
            with self._asking() as association:
                found = list(asking.find(association, "STUDY", keys, self.seconds))
            for match in found:
                yield Wanted(first(match, STUDY), first(match, DATE))
            day += datetime.timedelta(days=1)

    def bring(self, study: str, progress: Callable[[int], None] = lambda _: None) -> Done:
        """Bring one Study over, and look whether all of it is there.

        Raises:
            UnknownDestination: the peer does not know `move_to`.
        """
        done = Done(study)
        try:
            named = {
                first(match, INSTANCE): Named(first(match, SERIES), first(match, SOP_CLASS))
                for match in self._instances(study)
            }
            if not named:
                done.trouble = f"{self.peer.ae_title} names no Instance of it"
            done.named = len(named)
            done.missing = sorted(named.keys() - self._known(study))
            done.known = len(named) - len(done.missing)
            if done.missing:
                self._bring_missing(done, named, progress)
        except (Unavailable, InvalidDataset, Refused) as error:
            done.trouble = str(error)
        except NoAnswer as error:
            done.trouble = f"the archive does not answer: {error}"
        return done

    def _bring_missing(
        self, done: Done, named: Mapping[str, Named], progress: Callable[[int], None]
    ) -> None:
        puller = Puller(self.archive, self.caller, self.peer, self.seconds, self.move_to, self.rate)
        missing, arriving = frozenset(done.missing), self._watched(done)
        sent, asked, begun = 0, 0, time.monotonic()
        troubles: dict[str, None] = {}
        try:
            for part in puller.parts(done.study, named, missing):
                pulled = puller.pull(part, named, arriving, progress)
                sent += pulled.sent
                asked += len(part.missing)
                troubles |= {pulled.trouble: None} if pulled.trouble else {}
                if self.rate:
                    time.sleep(max(0.0, begun + asked / self.rate - time.monotonic()))
        finally:
            done.missing = self._left(done.study, missing, sent)
            done.come = len(missing) - len(done.missing)
        if done.missing and self.move_to and not troubles:
            told = f"{self.peer.ae_title} says that all was sent to {self.move_to}, which is not so"
            troubles[f"{told}, or that is no bridge of this archive"] = None
        done.trouble = "; ".join(troubles) if done.missing else ""

    def _left(self, study: str, missing: frozenset[str], sent: int) -> list[str]:
        """Return what of the missing Instances is so still, after as many were sent."""
        left = missing - self._known(study)
        end = time.monotonic() + self.spool_seconds
        while self.move_to and len(missing) - len(left) < sent and left and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            before, left = left, missing - self._known(study)
            if len(left) < len(before):
                end = time.monotonic() + self.spool_seconds
        return sorted(left)

    def _watched(self, done: Done) -> Callable[[], bool]:
        """Return what says whether Instances of a Study have come since it was asked last."""
        seen = done.known

        def arriving() -> bool:
            nonlocal seen
            before, seen = seen, len(self._known(done.study))
            return seen > before

        return arriving

    def _instances(self, study: str) -> Iterator[asking.Identifier]:
        """Yield what the peer names of a Study, Series by Series: not all are relational."""
        keys = {STUDY: element("UI", study), SERIES: element("UI")}
        with self._asking() as association:
            series = list(asking.find(association, "SERIES", keys, self.seconds))
            for uid in (first(match, SERIES) for match in series):
                named = {**keys, SERIES: element("UI", uid)}
                asked = {**named, INSTANCE: element("UI"), SOP_CLASS: element("UI")}
                for match in asking.find(association, "IMAGE", asked, self.seconds):
                    yield {**match, SERIES: element("UI", uid)}

    def _known(self, study: str) -> set[str]:
        found = search(self.archive, Peer(""), INSTANCES, [(STUDY, study)])
        return {first(match, INSTANCE) for match in found}

    @contextmanager
    def _asking(self) -> Iterator[OwnAssociation]:
        association = self.caller.call(self.peer, [(asking.FIND_MODEL, PLAIN)])
        if association is None:
            raise Unavailable(f"{self.peer.ae_title} takes no association")
        try:
            yield association
        finally:
            association.end()
