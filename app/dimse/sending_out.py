"""A Study of the archive, sent to another AE by C-STORE."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from app.dicom.limits import Limits
from app.dimse.find import Refused, search
from app.dimse.originals import SHOWN, Fetcher, choose_way, found_of
from app.dimse.peers import Peer
from app.dimse.sender import Sender, by_syntax, proposed
from app.dimse.server import Speaker

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
        matches = search(ours.archive, Peer(""), "instances", [*SHOWN, (_STUDY, study)])
        found = [found_of(match) for match in matches]
    except (Refused, httpx.HTTPError) as error:
        yield Outcome(study, 1, False, f"the archive does not tell what is in it: {error}")
        return
    if not found:
        yield Outcome(study, 1, False, "the archive has no such Study")
        return
    association = ours.caller.call(peer, proposed(found))
    if association is None:
        yield Outcome(study, 1, False, f"{peer.ae_title} takes no association")
        return
    try:
        accepted = by_syntax(association.accepted_contexts)
        sender = Sender(association, Limits(), _ANSWER_SECONDS)
        fetcher = Fetcher(ours.archive, ours.limits)
        wanted = ((one, choose_way(accepted, one)) for one in found)
        for one, fetched in fetcher.fetch_all(Peer(""), wanted):
            code = sender.send(one, fetched) if fetched else None
            good = code is not None and (code == 0 or code >> 12 == 0xB)
            why = "it cannot be had in what is taken there" if fetched is None else _words(code)
            yield Outcome(one.instance, len(found), good, "" if good else why)
    finally:
        association.end()


def _words(code: int | None) -> str:
    return "no answer" if code is None else f"refused with status {code:04X}"
