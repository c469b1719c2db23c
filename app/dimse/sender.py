"""C-STORE as the one who sends: Instances of the archive over an association."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.dicom.limits import Limits
from app.dimse import commands
from app.dimse.association import LOOK_SECONDS, BridgeAssociation
from app.dimse.messages import StoreResponse
from app.dimse.originals import PLAIN, Fetched, Fetcher, Found, choose_way
from app.dimse.outgoing import MOST_CONTEXTS, Caller
from app.dimse.peers import Peer
from app.errors import InvalidDataset, Unavailable

_MOST_MESSAGES = 0xFFFF
_log = logging.getLogger(__name__)


def proposed(found: Iterable[Found]) -> list[tuple[str, tuple[str]]]:
    """Return what is proposed for Instances: the plain syntaxes of each class, and what is stored.

    One Transfer Syntax in each context, so that the peer takes as many as it can.
    """
    pairs = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in found)
    classes = dict.fromkeys(sop_class for sop_class, _ in pairs)
    plain = [(sop_class, syntax) for sop_class in classes for syntax in PLAIN]
    stored = [pair for pair in pairs if pair[1] not in PLAIN]
    return [(sop_class, (syntax,)) for sop_class, syntax in (*plain, *stored)][:MOST_CONTEXTS]


def by_syntax(contexts: Iterable[Any]) -> Mapping[tuple[str, str], int]:
    """Return the IDs of accepted contexts by SOP Class and Transfer Syntax."""
    return {
        (str(one.abstract_syntax), str(one.transfer_syntax[0])): int(one.context_id)
        for one in contexts
    }


class Sender:
    """Sends Instances one after the other.

    `originator` is who asked for them by C-MOVE, and by which message; `given_up` says that nobody
    wants them any more.
    """

    def __init__(
        self,
        association: BridgeAssociation,
        limits: Limits,
        answer_seconds: float,
        originator: tuple[str, int] | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._given_up = given_up
        self._association, self._limits = association, limits
        self._seconds, self._originator = answer_seconds, originator
        self._sent = 0

    def send(self, found: Found, fetched: Fetched) -> int | None:
        """Send an Instance, and return what the peer says of it, None for nothing.

        A peer that says nothing is waited for no second time: the association is aborted.
        """
        association = self._association
        self._sent = self._sent % _MOST_MESSAGES + 1
        uids = found.sop_class_uid, found.instance
        command = commands.store_request(self._sent, *uids, self._originator)
        try:
            if association.is_gone:
                return None
            pieces = _begun(fetched.data_set(self._limits))
            association.send_message(fetched.way.context_id, command, pieces)
        except InvalidDataset as error:
            _log.warning("Instance %s cannot be sent: %s", found.instance, error)
            return None
        finally:
            fetched.close()
        return self._answer()

    def _answer(self) -> int | None:
        association, end = self._association, time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0 and not self._given_up():
            message = association.next_message(min(left, LOOK_SECONDS))
            if isinstance(message, StoreResponse) and message.message_id == self._sent:
                return message.status
            if message is None and association.is_gone:
                return None
        _log.warning("an association is aborted: nobody waits for the answer to a C-STORE longer")
        association.abort()
        return None


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take the first piece now, so that what fails does so before anything is sent."""
    first = next(pieces, b"")

    def all_of_them() -> Iterator[bytes]:
        yield first
        yield from pieces

    return all_of_them()


def send_all(
    caller: Caller, fetcher: Fetcher, peer: Peer, found: Sequence[Found], answer_seconds: float
) -> Iterator[tuple[Found, str]]:
    """Send Instances on an association of ours; yield each, and why it was not sent, '' if it was.

    The bridge asks the archive for them in its own name.

    Raises:
        Unavailable: the peer takes no association.
    """
    association = caller.call(peer, proposed(found))
    if association is None:
        raise Unavailable(f"{peer.ae_title} takes no association")
    try:
        accepted = by_syntax(association.accepted_contexts)
        sender = Sender(association, Limits(), answer_seconds)
        wanted = (
            (one, None if association.is_gone else choose_way(accepted, one)) for one in found
        )
        for one, fetched in fetcher.fetch_all(Peer(""), wanted):
            if fetched is not None:
                yield one, _refusal(sender.send(one, fetched))
            elif association.is_gone:
                yield one, "the association has ended"
            else:
                yield one, "it cannot be had in what is taken there"
    finally:
        association.end()


def _refusal(code: int | None) -> str:
    if code is None:
        return "no answer"
    return "" if code == 0 or code >> 12 == 0xB else f"refused with status {code:04X}"
