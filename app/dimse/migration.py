"""Studies of another archive, brought over one by one (C-FIND, C-GET), and verified.

What is there already is not asked for again: a Study is whole when the archive has each Instance
that the other one names. So a migration may be stopped and started as often as one likes, and what
the other archive gets later comes the next time.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from app.dimse import asking
from app.dimse.archive import Archive
from app.dimse.asking import element, first
from app.dimse.connections import NoAnswer
from app.dimse.find import INSTANCES, Refused, search
from app.dimse.originals import PLAIN
from app.dimse.outgoing import MOST_CONTEXTS, Caller, OwnAssociation
from app.dimse.peers import Peer
from app.dimse.store import store_instance
from app.errors import InvalidDataset, Unavailable

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
SOP_CLASS, DATE = "00080016", "00080020"
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.201",
)
"""Proposed beside the plain ones, so that what is compressed comes as it is; the usual first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Study of the other archive."""

    study: str
    date: str


@dataclass(slots=True)
class Done:
    """What became of a Study: Instances that were named, there before, and still missing."""

    study: str
    named: int = 0
    known: int = 0
    missing: list[str] = field(default_factory=list)
    trouble: str = ""

    @property
    def good(self) -> bool:
        """All that was named is in the archive."""
        return not self.missing and not self.trouble


@dataclass(frozen=True, slots=True)
class Migration:
    """Brings Studies of a peer into the archive, at most `rate` Instances a second (0: any)."""

    archive: Archive
    caller: Caller
    peer: Peer
    seconds: float = 300.0
    rate: float = 0.0

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
        """Bring one Study over, and look whether all of it is there."""
        done = Done(study)
        try:
            named = {
                first(match, INSTANCE): (first(match, SERIES), first(match, SOP_CLASS))
                for match in self._instances(study)
            }
            done.named = len(named)
            known = self._known(study)
            done.known = len(known & named.keys())
            missing = {uid: named[uid] for uid in named.keys() - known}
            if missing:
                self._get(study, missing, progress)
                done.missing = sorted(named.keys() - self._known(study))
        except (Unavailable, InvalidDataset, Refused) as error:
            done.trouble = str(error)
        except NoAnswer as error:
            done.trouble = f"the archive does not answer: {type(error).__name__}"
        return done

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
        association = self._called([(asking.FIND_MODEL, PLAIN)], ())
        try:
            yield association
        finally:
            association.end()

    def _get(
        self, study: str, missing: dict[str, tuple[str, str]], progress: Callable[[int], None]
    ) -> None:
        classes = sorted({sop_class for _, sop_class in missing.values()} - {""})
        contexts: list[tuple[str, Sequence[str]]] = [(asking.GET_MODEL, PLAIN)]
        contexts += [(one, (syntax,)) for syntax in (*PLAIN, *COMPRESSED) for one in classes]
        begun = time.monotonic()
        count = 0
        for series in sorted({series for series, _ in missing.values()}):
            wanted = [uid for uid, (of, _) in missing.items() if of == series]
            keys = {
                STUDY: element("UI", study),
                SERIES: element("UI", series),
                INSTANCE: element("UI", *wanted),
            }
            association = self._called(contexts[:MOST_CONTEXTS], classes)
            try:
                for completed in asking.get(association, "IMAGE", keys, self.seconds):
                    progress(completed)
            finally:
                association.end()
            count += len(wanted)
            if self.rate:
                time.sleep(max(0.0, begun + count / self.rate - time.monotonic()))

    def _called(
        self, contexts: Sequence[tuple[str, Sequence[str]]], stored: Sequence[str]
    ) -> OwnAssociation:
        store = partial(store_instance, self.archive, Peer(self.peer.ae_title))
        association = self.caller.call(self.peer, contexts, store=store, stored=stored)
        if association is None:
            raise Unavailable(f"{self.peer.ae_title} takes no association")
        return association
