"""A Study of the archive, sent to another AE by C-STORE."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.dimse.connections import NoAnswer
from app.dimse.find import INSTANCES, Refused, search
from app.dimse.originals import SHOWN, Fetcher, found_of
from app.dimse.peers import Peer
from app.dimse.sender import send_all
from app.dimse.server import Speaker
from app.errors import Unavailable

_ANSWER_SECONDS = 300.0
_STUDY = "0020000D"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an Instance, of so many in all; `why` it was not sent."""

    instance: str
    total: int
    sent: bool
    why: str = ""


def send_study(ours: Speaker, peer: Peer, study: str) -> Iterator[Outcome]:
    """Send a Study; yield what became of each Instance."""
    try:
        matches = search(ours.archive, Peer(""), INSTANCES, [*SHOWN, (_STUDY, study)])
        found = [found_of(match) for match in matches]
    except (Refused, NoAnswer) as error:
        yield Outcome(study, 1, False, f"the archive does not tell what is in it: {error}")
        return
    if not found:
        yield Outcome(study, 1, False, "the archive has no such Study")
        return
    fetcher = Fetcher(ours.archive, ours.limits)
    left = {one.instance for one in found}
    try:
        for one, why in send_all(ours.caller, fetcher, peer, found, _ANSWER_SECONDS):
            left.remove(one.instance)
            yield Outcome(one.instance, len(found), not why, why)
    except Unavailable as error:
        for instance in sorted(left) if len(left) < len(found) else [study]:
            yield Outcome(instance, len(found), False, str(error))
