"""What waits in the spool goes to the archive, in its order, for as long as that takes.

An Instance leaves the spool when the archive says that it has it. What it refuses for good is put
aside: it was acknowledged, so it is an operator's to look at, and nothing behind it waits for it.
Whatever may pass (no answer, no room, no right) is tried again, with a pause that grows.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.dimse import status
from app.dimse.archive import DICOM_JSON, Archive
from app.dimse.connections import NoAnswer, Response
from app.dimse.messages import Answer
from app.dimse.parts import body_of
from app.dimse.peers import Peer
from app.dimse.spool import Entry, Spool
from app.dimse.store import answer_of, answers_of, path_of

MOST, MOST_BYTES = 64, 64 * 2**20
"""Instances and bytes of one request."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
_LOOK_SECONDS = 1.0
_PASSING = frozenset({status.OUT_OF_RESOURCES, status.NOT_AUTHORIZED})
_PASSING_HTTP = frozenset({401, 403, 429, *range(500, 600)})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Spooled:
    """An entry of the spool as an Instance to send."""

    entry: Entry

    @property
    def size(self) -> int:
        return self.entry.size - self.entry.offset

    def __iter__(self) -> Iterator[bytes]:
        return self.entry.chunks()


class Forwarder(threading.Thread):
    """Forwards until it is told to stop."""

    def __init__(self, spool: Spool, archive: Archive, peers: Mapping[str, Peer]) -> None:
        super().__init__(name="forwarder", daemon=True)
        self._spool, self._archive, self._peers = spool, archive, peers
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop; what waits stays."""
        self._stopping.set()
        self._spool.arrived.set()

    def run(self) -> None:
        """Forward what there is and what comes."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            self._spool.arrived.clear()
            entries = self._spool.oldest(MOST, MOST_BYTES)
            if not entries:
                self._spool.arrived.wait(_LOOK_SECONDS)
            elif self._forward(entries):
                pause = FIRST_PAUSE
            else:
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _forward(self, entries: Sequence[Entry]) -> bool:
        """Send entries; say whether any of them has left the spool."""
        path = path_of(entries[0].sop_class_uid)
        together = [one for one in entries if path_of(one.sop_class_uid) == path]
        try:
            response = self._sent(together, path)
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
            return False
        except OSError as error:
            _log.error("the spool cannot be read: %s", error.strerror)
            return False
        if response.status_code in _PASSING_HTTP:
            _log.warning("the archive takes nothing now: HTTP status %d", response.status_code)
            return False
        if len(together) == 1:
            one = together[0]
            return self._settle(one, answer_of(response, one.sop_instance_uid))
        answers = answers_of(response)
        settled = [
            self._settle(one, answers[one.sop_instance_uid])
            for one in together
            if one.sop_instance_uid in answers
        ]
        if any(settled):
            return True
        return self._forward(together[:1])  # what became of it is told only for it alone

    def _sent(self, entries: Sequence[Entry], path: str) -> Response:
        peer = self._peer(entries[0])
        body = body_of([_Spooled(entry) for entry in entries])
        return self._archive.send(peer, "POST", path, body, headers={"Accept": DICOM_JSON})

    def _peer(self, entry: Entry) -> Peer:
        return self._peers.get(entry.ae_title, Peer(entry.ae_title))

    def _settle(self, entry: Entry, answer: Answer) -> bool:
        code, comment = answer
        if code == status.SUCCESS or code >> 12 == 0xB:
            self._spool.forget(entry)
            return True
        if code in _PASSING:
            _log.warning("the archive takes nothing now: %s", comment)
            return False
        _log.error(
            "Instance %s is refused by the archive (%04X: %s) and put aside as %s",
            entry.sop_instance_uid,
            code,
            comment,
            entry.path.name,
        )
        self._spool.put_aside(entry)
        return True
