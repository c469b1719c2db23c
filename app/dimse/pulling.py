"""How Instances of another archive come over: by C-GET to us, or by C-MOVE to a bridge of ours.

C-GET asks for Instances by their UIDs. C-MOVE is what old archives do best by Study, so what is
missing is asked for by the highest level of which nothing is there yet.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom.uid import UID

from app.dimse import asking
from app.dimse.archive import Archive
from app.dimse.asking import Identifier, Said, element
from app.dimse.messages import Store, StoreRequest
from app.dimse.originals import PLAIN
from app.dimse.outgoing import MOST_CONTEXTS, Caller, OwnAssociation
from app.dimse.peers import Peer
from app.dimse.store import store_instance
from app.errors import Unavailable

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
MOST_UIDS = 500
"""Of one retrieval: a value in Explicit VR has 64 KiB at most (PS3.5 §7.1.2)."""
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
USUAL = tuple(
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in (
        *("2", "4", "1", "1.1", "1.2", "6.1", "3.1", "7", "12.1", "12.2", "20", "128"),
        *("2.1", "4.1", "1.1.1", "1.2.1", "1.3", "66.4", "104.1", "77.1.4", "77.1.6"),
        *("88.11", "88.22", "88.33", "88.59", "88.67", "11.1"),
        *("481.1", "481.2", "481.3", "481.5", "9.1.1", "7.2", "7.4"),
    )
)
"""The SOP Classes of most archives, of a peer that does not name those of its Instances."""
_PICTURES = 12
"""The first of them, which may be compressed."""
UNKNOWN_DESTINATION, CANCELLED, SOME_FAILED = 0xA801, 0xFE00, 0xB000
_ALL_FAILED = frozenset({0xA702, SOME_FAILED})
_BY_MOVE = "have it send to a bridge of this archive by C-MOVE (--move-to AE_TITLE)"


class UnknownDestination(Exception):
    """The peer does not know whom it is to send to: no C-MOVE will work. Words for an operator."""


@dataclass(frozen=True, slots=True)
class Named:
    """An Instance that the peer names."""

    series: str
    sop_class: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one retrieval asks for, and the missing Instances in that."""

    level: str
    keys: Identifier
    missing: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pulled:
    """How many Instances the peer says it has sent, and what went wrong, '' if nothing."""

    sent: int
    trouble: str = ""


class Paced:
    """Stores at most `rate` Instances a second (0: any): none comes before the last is answered.

    One association at a time calls it.
    """

    def __init__(self, store: Store, rate: float) -> None:
        self._store, self._seconds = store, 1 / rate if rate else 0.0
        self._next = time.monotonic()
        self._come = self._seen = 0

    def __call__(self, request: StoreRequest) -> tuple[int, str]:
        """Store one, and answer when the next one may come."""
        self._next = max(self._next, time.monotonic()) + self._seconds
        answer = self._store(request)
        self._come += 1
        time.sleep(max(0.0, self._next - time.monotonic()))
        return answer

    def arriving(self) -> bool:
        """Say whether any has come since this was asked last."""
        before, self._seen = self._seen, self._come
        return self._seen > before


@dataclass(frozen=True, slots=True)
class Puller:
    """Has a peer send Instances: by C-MOVE to the AE `move_to`, by C-GET if that is ''."""

    archive: Archive
    caller: Caller
    peer: Peer
    seconds: float
    move_to: str = ""
    rate: float = 0.0

    def parts(
        self, study: str, named: Mapping[str, Named], missing: Collection[str]
    ) -> Iterator[Part]:
        """Yield what is asked for, so that what is missing of a Study comes."""
        of_study = {STUDY: element("UI", study)}
        if self.move_to and len(missing) == len(named):
            yield Part("STUDY", of_study, list(missing))
            return
        for series in sorted({named[uid].series for uid in missing}):
            members = [uid for uid, one in named.items() if one.series == series]
            wanted = [uid for uid in members if uid in missing]
            keys = {**of_study, SERIES: element("UI", series)}
            if self.move_to and len(wanted) == len(members):
                yield Part("SERIES", keys, wanted)
                continue
            for start in range(0, len(wanted), MOST_UIDS):
                some = wanted[start : start + MOST_UIDS]
                yield Part("IMAGE", {**keys, INSTANCE: element("UI", *some)}, some)

    def pull(
        self,
        part: Part,
        named: Mapping[str, Named],
        arriving: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> Pulled:
        """Have a part sent, and return what the peer says of it.

        Raises:
            Unavailable: the peer takes no association, or does not answer.
            UnknownDestination: it does not know the AE to send to.
        """
        if self.move_to:
            return self._moved(part, arriving, progress)
        classes = sorted({named[uid].sop_class for uid in part.missing})
        return self._got(part, classes, progress)

    def _moved(
        self, part: Part, arriving: Callable[[], bool], progress: Callable[[int], None]
    ) -> Pulled:
        title, to = self.peer.ae_title, self.move_to
        association = self.caller.call(self.peer, [(asking.MOVE_MODEL, PLAIN)])
        if association is None:
            raise Unavailable(f"{title} takes no association for C-MOVE")
        try:
            said = _last(
                asking.move(association, part.level, part.keys, to, self.seconds, arriving),
                progress,
            )
        finally:
            association.end()
        if said.status == UNKNOWN_DESTINATION:
            raise UnknownDestination(
                f"{title} does not know the AE {to}, or where it is (status A801): enter {to} "
                "there, with the address and port of the bridge, and run this again."
            )
        if said.status in _ALL_FAILED and not said.completed:
            return Pulled(
                0,
                f"{title} could send nothing to {to}: look into its log, whether it has the "
                "address and port of the bridge, and whether that lets it store "
                f"(FILEROOM_DIMSE__PEERS){_why(said)}",
            )
        return _pulled(said, part, f"to {to}")

    def _got(self, part: Part, classes: Sequence[str], progress: Callable[[int], None]) -> Pulled:
        contexts = [(asking.GET_MODEL, PLAIN), *_proposed(classes)][:MOST_CONTEXTS]
        store = Paced(partial(store_instance, self.archive, Peer(self.peer.ae_title)), self.rate)
        association = self.caller.call(
            self.peer, contexts, store=store, stored=dict.fromkeys(one for one, _ in contexts[1:])
        )
        if association is None:
            raise Unavailable(f"{self.peer.ae_title} takes no association for C-GET: {_BY_MOVE}")
        try:
            self._check_offer(association)
            untaken = _untaken(association, classes)
            answers = asking.get(association, part.level, part.keys, self.seconds, store.arriving)
            pulled = _pulled(_last(answers, progress), part, "by C-GET")
        finally:
            association.end()
        if not pulled.trouble:
            return pulled
        names = ", ".join(UID(one).name for one in untaken)
        trouble = f"{self.peer.ae_title} does not send {names} by C-GET"
        return Pulled(pulled.sent, f"{trouble if names else pulled.trouble}: {_BY_MOVE}")

    def _check_offer(self, association: OwnAssociation) -> None:
        offered = {str(one.abstract_syntax) for one in association.accepted_contexts}
        if asking.GET_MODEL not in offered:
            raise Unavailable(f"{self.peer.ae_title} offers no C-GET: {_BY_MOVE}")


def _proposed(classes: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Return the contexts of what may come; '' among the SOP Classes says that not all are known.

    Each has one Transfer Syntax, so that the peer takes as many as it has; of what is only guessed
    the plain ones share a context.
    """
    known = [one for one in classes if one]
    contexts: list[tuple[str, Sequence[str]]] = [
        (one, (syntax,)) for syntax in (*PLAIN, *COMPRESSED) for one in known
    ]
    if "" in classes:
        contexts += [(one, PLAIN) for one in USUAL if one not in known]
        pictures = [one for one in USUAL[:_PICTURES] if one not in known]
        contexts += [(one, (syntax,)) for syntax in COMPRESSED for one in pictures]
    return contexts


def _last(answers: Iterator[Said], progress: Callable[[int], None]) -> Said:
    """Follow a retrieval to its end."""
    last = Said(0, 0, 0, "")
    for last in answers:
        progress(last.completed)
    return last


def _untaken(association: OwnAssociation, classes: Sequence[str]) -> list[str]:
    """Return the SOP Classes of which the peer will not send: not accepted, or not in that role."""
    taken = {str(one.abstract_syntax) for one in association.accepted_contexts if one.as_scp}
    return [one for one in classes if one and one not in taken]


def _pulled(said: Said, part: Part, how: str) -> Pulled:
    if said.status == 0 and not said.failed:
        return Pulled(len(part.missing))
    if said.status in {0, *_ALL_FAILED}:
        count = said.failed or "some"
        return Pulled(said.completed, f"{count} could not be sent {how}{_why(said)}")
    if said.status == CANCELLED:
        return Pulled(said.completed, f"the retrieval was cancelled there{_why(said)}")
    trouble = f"the retrieval was answered with status {said.status:04X}{_why(said)}"
    return Pulled(said.completed, trouble)


def _why(said: Said) -> str:
    return f" ({said.comment})" if said.comment else ""
