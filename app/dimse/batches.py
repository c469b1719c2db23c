"""Instances of many associations in few requests: those that wait at once go together.

Nobody waits for others to come: who finds a place free sends at once, alone or with those that
wait, and when the places are taken waits until one of them is free again. So one association pays
nothing, and many share what a request costs. The threads that wait do the sending themselves. What
is large goes alone and by no place, so that nobody waits for it.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.dimse.archive import DICOM_JSON, Archive
from app.dimse.connections import NoAnswer, Response
from app.dimse.messages import Answer, StoreRequest
from app.dimse.parts import body_of
from app.dimse.peers import Peer
from app.dimse.store import (
    NO_ANSWER,
    Instance,
    answer_of,
    answers_of,
    path_of,
    refusal_of,
    store_instance,
)

AT_ONCE = 4
"""Requests under way: while the archive syncs the one, it reads the other."""
MOST, MOST_BYTES, LARGE = 32, 32 * 2**20, 4 * 2**20
UNKNOWN: Answer = (-1, "")
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Waiting:
    """An Instance whose thread waits; `turn` says that it is answered, or that its thread sends."""

    peer: Peer
    key: Mapping[str, str]
    path: str
    uid: str
    instance: Instance
    turn: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    answer: Answer = UNKNOWN

    def goes_with(self, other: "_Waiting") -> bool:
        """Say whether two may go in one request."""
        alike = (self.key, self.path) == (other.key, other.path)
        named = self.instance.is_as_named and other.instance.is_as_named
        return alike and named and self.uid != other.uid


class Batches:
    """Stores Instances for any number of threads."""

    def __init__(self, archive: Archive, at_once: int = AT_ONCE) -> None:
        self._archive, self._free = archive, at_once
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()

    def store(self, peer: Peer, request: StoreRequest) -> Answer:
        """Store an Instance; return the status for the peer, and a comment where it is no success.

        Returns when the archive has answered.
        """
        if request.data_set.size > LARGE:
            return store_instance(self._archive, peer, request)
        refused = refusal_of(peer, request)
        if refused is not None:
            return refused
        path = path_of(request.sop_class_uid)
        key = self._archive.headers(peer)
        mine = _Waiting(peer, key, path, request.sop_instance_uid, Instance(request))
        with self._lock:
            self._waiting.append(mine)
            mine.leads = self._free > 0
            self._free -= mine.leads
            waits = not mine.leads
        if waits:
            mine.turn.wait()
        if mine.answer == UNKNOWN:
            try:
                self._send(self._together(mine))
            finally:
                self._pass_on()
        return mine.instance.told(mine.answer)

    def _together(self, mine: _Waiting) -> list[_Waiting]:
        """Take what may go with an Instance, in the order in which it came."""
        with self._lock:
            self._waiting.remove(mine)
            taken, size = [mine], mine.instance.size
            for one in [one for one in self._waiting if not one.leads]:
                size += one.instance.size
                if len(taken) == MOST or size > MOST_BYTES:
                    break
                if all(one.goes_with(other) for other in taken):
                    taken.append(one)
                    self._waiting.remove(one)
            return taken

    def _send(self, taken: list[_Waiting]) -> None:
        answers = [NO_ANSWER] * len(taken)
        try:
            answers = self._answers(taken)
        except NoAnswer as error:
            _log.warning("the archive does not answer: %s", error)
        except OSError as error:
            _log.error("what was received cannot be read again: %s", error.strerror)
        finally:
            for one, answer in zip(taken, answers, strict=True):
                one.answer = answer
                one.turn.set()

    def _answers(self, taken: list[_Waiting]) -> list[Answer]:
        response = self._ask(taken)
        if len(taken) == 1:
            return [answer_of(response, taken[0].uid)]
        told = answers_of(response)
        return [told[one.uid] if one.uid in told else self._alone(one) for one in taken]

    def _alone(self, one: _Waiting) -> Answer:
        return self._answers([one])[0]

    def _ask(self, taken: list[_Waiting]) -> Response:
        body = body_of([one.instance for one in taken])
        accept = {"Accept": DICOM_JSON}
        return self._archive.send(taken[0].peer, "POST", taken[0].path, body, headers=accept)

    def _pass_on(self) -> None:
        """Give the place to the one that waits longest, or back."""
        with self._lock:
            following = next((one for one in self._waiting if not one.leads), None)
            if following is None:
                self._free += 1
            else:
                following.leads = True
                following.turn.set()
