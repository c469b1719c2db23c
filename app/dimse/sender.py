"""C-STORE as the one who sends: Instances of the archive over an association."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.dicom.limits import Limits
from app.dimse import commands
from app.dimse.association import BridgeAssociation
from app.dimse.messages import StoreResponse
from app.dimse.originals import PLAIN, Fetched, Found
from app.dimse.outgoing import MOST_CONTEXTS
from app.errors import InvalidDataset

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

    `originator` is who asked for them by C-MOVE, and by which message.
    """

    def __init__(
        self,
        association: BridgeAssociation,
        limits: Limits,
        answer_seconds: float,
        originator: tuple[str, int] | None = None,
    ) -> None:
        self._association, self._limits = association, limits
        self._seconds, self._originator = answer_seconds, originator
        self._sent = 0

    def send(self, found: Found, fetched: Fetched) -> int | None:
        """Send an Instance, and return what the peer says of it, None for nothing."""
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
        while (message := association.next_message(self._seconds)) is not None:
            if isinstance(message, StoreResponse) and message.message_id == self._sent:
                return message.status
        return None


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take the first piece now, so that what fails does so before anything is sent."""
    first = next(pieces, b"")

    def all_of_them() -> Iterator[bytes]:
        yield first
        yield from pieces

    return all_of_them()
