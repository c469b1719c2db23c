"""An association of the bridge: pynetdicom's, with our reading and sending."""

import queue
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_RELEASE

from app.dimse.messages import Answer, MessageLimits, Messages, Store
from app.dimse.sending import message_pdus, payload_of
from app.dimse.upper_layer import UpperLayer

LOOK_SECONDS = 0.5
_ABORT = b"\x07\0\0\0\0\4\0\0\2\0"
"""By the service provider, for no reason that is said (PS3.8 §9.3.8)."""


class BridgeAssociation(Association):
    """An association of which either side may be the bridge's."""

    def __init__(self, ae: AE, mode: str, limits: MessageLimits, store: Store) -> None:
        super().__init__(ae, mode)
        self.messages = Messages(self, limits, store, self.refusal_of)
        self.dimse = self.messages
        self.dul = UpperLayer(self, self.messages)
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout

    def refusal_of(self, _command: Mapping[int, bytes], _context_id: int) -> Answer | None:
        """Return why a message that comes is not served; what we asked for is."""
        return None

    def send_message(self, context_id: int, command: bytes, data_set: Iterable[bytes] = ()) -> None:
        """Send a message; what cannot be sent is told by `is_gone`."""
        payload = payload_of(self.dimse.maximum_pdu_size)
        for block in message_pdus(context_id, command, data_set, payload):
            connection = self.dul.socket
            if connection is None:
                return
            connection.send(block)

    def break_off(self) -> None:
        """End at once, whatever state it is in: the peer hears an A-ABORT, and both threads end."""
        connection = self.dul.socket
        if connection is not None:
            connection.send(_ABORT)
        self.is_aborted, self.is_established = True, False
        self._kill = True
        self.dul.kill_dul()

    @property
    def is_running(self) -> bool:
        """Say whether one of its threads is."""
        return self.is_alive() or self.dul.is_alive()

    @property
    def is_gone(self) -> bool:
        """Say whether the association has ended, by whatever end, or its release is asked for."""
        ended = not self.is_established or self.acse.is_aborted() or not self.dul.is_alive()
        return ended or isinstance(self.dul.peek_next_pdu(), A_RELEASE)

    def next_message(self, seconds: float) -> Any:
        """Return the next message that comes, None if the association ends or none comes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                _, message = self.messages.msg_queue.get(timeout=min(left, LOOK_SECONDS))
                if message is not None:
                    return message
            if self.is_gone:
                return None
        return None

    def context_of(self, context_id: int) -> Any:
        """Return the accepted Presentation Context of an ID."""
        return self._accepted_cx[context_id]
