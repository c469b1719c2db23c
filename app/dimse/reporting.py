"""Peers are told later what became of their storage commitments, by the archive's own list.

The bridge remembers nothing: `/api/v1/commitments` has who was not told yet, so a bridge that is
started anew goes on where another one ended. A peer that cannot be reached is called again after
pauses that grow, for a day.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from app.dimse.archive import Archive
from app.dimse.commit import PUSH_MODEL, Committer, ask, note_told, tell
from app.dimse.connections import NoAnswer
from app.dimse.hindrances import Hindrances
from app.dimse.outgoing import Caller
from app.dimse.peers import Peer

COMMITMENTS = "/api/v1/commitments"
TELLING = "telling of storage commitment"
TELL_SECONDS = 86_400.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
FIRST_LOOK, LONGEST_LOOK = 0.5, 30.0
_AT_ONCE = 4
_PLAIN = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Turn:
    """When a peer is called next, by the monotonic clock, and how long the pause after that is."""

    at: float = 0.0
    pause: float = FIRST_PAUSE


class Reporter(threading.Thread):
    """Tells peers until it is told to stop."""

    def __init__(
        self, archive: Archive, caller: Caller, committer: Committer, peers: Mapping[str, Peer]
    ) -> None:
        super().__init__(name="reporter", daemon=True)
        self._archive, self._caller, self._committer = archive, caller, committer
        self._peers = {title: peer for title, peer in peers.items() if peer.port is not None}
        self._turns: defaultdict[str, _Turn] = defaultdict(_Turn)
        self._busy: set[str] = set()
        self._hindrances = Hindrances(_log)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop; whoever was not told is so by the bridge that starts next."""
        self._stopping.set()
        self._committer.untold.set()

    def run(self) -> None:
        """Look what is to be told, and tell it."""
        pause = FIRST_LOOK
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while not self._stopping.is_set():
                for title, transactions in self._due().items():
                    self._busy.add(title)
                    pool.submit(self._call, self._peers[title], transactions)
                if self._committer.untold.wait(pause):
                    self._committer.untold.clear()
                    pause = FIRST_LOOK
                else:
                    pause = min(2 * pause, LONGEST_LOOK)

    def _due(self) -> dict[str, list[str]]:
        """Return the transactions that have a result, by the peers that may be called now."""
        due: defaultdict[str, list[str]] = defaultdict(list)
        for one in self._untold():
            title, transaction = one["ae_title"], one["transaction"]
            is_told = title not in self._peers or transaction in self._committer.held
            if is_told or not one["finished"] or title in self._busy:
                continue
            if _is_old(one) or self._turns[title].at > time.monotonic():
                continue
            due[title].append(transaction)
        return due

    def _untold(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the archive lists: to the bridge, and to each peer with a key of its own."""
        if not self._peers:
            return
        own = [peer for title, peer in self._peers.items() if title in self._archive.keys]
        for peer in (None, *own):
            after: int | None = 0
            while after is not None:
                asked = {"after": str(after), **({"ae_title": peer.ae_title} if peer else {})}
                page = self._page(peer, asked)
                yield from page.get("commitments", ())
                after = page.get("next")

    def _page(self, peer: Peer | None, asked: Mapping[str, str]) -> Mapping[str, Any]:
        work = f"{TELLING} to {peer.ae_title}" if peer else TELLING
        try:
            response = self._archive.send(peer, "GET", COMMITMENTS, params=list(asked.items()))
        except NoAnswer as error:
            self._hindrances.no_answer(work, error)
            return {}
        if response.status_code != 200:
            title = peer.ae_title if peer else ""
            self._hindrances.refused(work, response.status_code, peer=title)
            return {}
        self._hindrances.over(work)
        page: Mapping[str, Any] = orjson.loads(response.content)
        return page

    def _call(self, peer: Peer, transactions: list[str]) -> None:
        turn = self._turns[peer.ae_title]
        try:
            if self._told_all(peer, transactions):
                turn.pause = FIRST_PAUSE
                return
            turn.at = time.monotonic() + turn.pause
            turn.pause = min(2 * turn.pause, LONGEST_PAUSE)
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
        except Exception:
            _log.exception("%s could not be told of storage commitments", peer.ae_title)
        finally:
            self._busy.discard(peer.ae_title)

    def _told_all(self, peer: Peer, transactions: list[str]) -> bool:
        association = self._caller.call(peer, [(PUSH_MODEL, _PLAIN)], stored=[PUSH_MODEL])
        if association is None:
            return False
        try:
            context = int(association.accepted_contexts[0].context_id or 0)
            for transaction in dict.fromkeys(transactions):
                answer = ask(self._archive, peer, "GET", transaction)
                if answer.status_code != 200:
                    continue
                if not tell(association, context, transaction, orjson.loads(answer.content)):
                    return False
                note_told(self._archive, peer, transaction)
        finally:
            association.end()
        return True


def _is_old(one: Mapping[str, Any]) -> bool:
    asked = datetime.fromisoformat(one["requested_at"])
    return (datetime.now(UTC) - asked).total_seconds() > TELL_SECONDS
