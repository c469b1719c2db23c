"""C-STORE as the one who sends: Instances of the archive over an association."""

import itertools
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

MOST_IN_VAIN = 3
"""Associations in a row that a peer may end without having taken anything on them."""
GRACE_SECONDS = 5.0
"""How long the answer to what is under way is waited for when nobody wants the rest any more."""
_MOST_MESSAGES = 0xFFFF
_NOT_HAD = "it cannot be had in a Transfer Syntax that is taken"
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
        is_wanted = True
        while (left := end - time.monotonic()) > 0:
            if is_wanted and self._given_up():
                is_wanted, end = False, min(end, time.monotonic() + GRACE_SECONDS)
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
    """Send Instances; yield each that was tried, and why it was not sent, '' if it was.

    A peer that ends an association has ended it at one Instance: what is behind that goes on
    another association. The bridge asks the archive for them in its own name.

    Raises:
        Unavailable: the peer takes no association, or ends each: what is left was not tried.
    """
    left, in_vain = list(found), 0
    while left:
        if in_vain == MOST_IN_VAIN:
            raise Unavailable(f"{peer.ae_title} ends one association after the other")
        in_vain += 1
        tried = set()
        for one, why in _send_on_one(caller, fetcher, peer, left, answer_seconds):
            tried.add(one.instance)
            in_vain = in_vain if why else 0
            yield one, why
        left = [one for one in left if one.instance not in tried]


def _send_on_one(
    caller: Caller, fetcher: Fetcher, peer: Peer, found: Sequence[Found], answer_seconds: float
) -> Iterator[tuple[Found, str]]:
    """Send on one association for as long as there is one."""
    association = caller.call(peer, proposed(found))
    if association is None:
        raise Unavailable(f"{peer.ae_title} takes no association")
    try:
        accepted = by_syntax(association.accepted_contexts)
        sender = Sender(association, Limits(), answer_seconds)
        ways = ((one, choose_way(accepted, one)) for one in found)
        wanted = itertools.takewhile(lambda _: not association.is_gone, ways)
        for one, fetched in fetcher.fetch_all(Peer(""), wanted):
            if association.is_gone:
                if fetched is not None:
                    fetched.close()
            elif fetched is None:
                yield one, _NOT_HAD if choose_way(accepted, one) else "its SOP Class is not taken"
            else:
                code = sender.send(one, fetched)
                yield one, _refusal(code, ended=association.is_gone)
    finally:
        association.end()


def _refusal(code: int | None, *, ended: bool) -> str:
    if code is None:
        return "no answer" if ended else _NOT_HAD
    return "" if code == 0 or code >> 12 == 0xB else f"refused with status {code:04X}"
