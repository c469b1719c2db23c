"""An association that a peer asked for: admission by the table, services by its rights."""

import logging
import queue
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.acse import ACSE
from pynetdicom.dimse_primitives import DimseServiceType
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from app.dimse.allowed import Allowed, allowed
from app.dimse.association import LOOK_SECONDS, BridgeAssociation
from app.dimse.contexts import accepted_contexts, answered_abilities, is_fuzzy
from app.dimse.messages import Answer, MessageLimits, StoreRequest
from app.dimse.peers import NO_REASON, TOO_MANY, Peer, Places, Refusal, Table
from app.dimse.upper_layer import Connection

_SHORTEST_PDU = 32
"""Of what a peer takes: room for more than the headers of a fragment."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and all that is needed to answer it."""

    association: "PeerAssociation"
    peer: Peer
    message: Any
    context: PresentationContext

    @property
    def context_id(self) -> int:
        """The ID of the Presentation Context."""
        return cast("int", self.context.context_id)

    @property
    def transfer_syntax_uid(self) -> str:
        """The encoding of Identifiers."""
        return str(self.context.transfer_syntax[0])

    @property
    def identifier(self) -> bytes:
        """The Identifier of a C-FIND, C-GET or C-MOVE, as it came."""
        return self.message.Identifier.getvalue() if self.message.Identifier else b""

    @property
    def is_cancelled(self) -> bool:
        """Say whether the peer asked to cancel this request, or is gone."""
        association = self.association
        return self.message.MessageID in association.dimse.cancel_req or association.is_gone


@dataclass(frozen=True, slots=True)
class Services:
    """What a bridge does for its peers: stores, and answers other messages by their names."""

    table: Table
    places: Places
    limits: MessageLimits
    store: Callable[[Peer, StoreRequest], tuple[int, str]]
    others: Mapping[str, Callable[[Call], None]] = field(default_factory=dict)


class _Admission(ACSE):
    """Refuses whom the table of peers does not admit, and supports what a peer may use."""

    def _negotiate_as_acceptor(self) -> None:
        association = cast("PeerAssociation", self.assoc)
        request = cast("A_ASSOCIATE", self.requestor.primitive)
        refusal = association.admit(request)
        if refusal is None:
            super()._negotiate_as_acceptor()
            return
        address = cast("AddressInformation", self.requestor.address_info).address
        _log.warning(
            "an association of %s from %s is refused: %s",
            request.calling_ae_title,
            address,
            refusal.why,
        )
        self.send_reject(*refusal.code)
        association.kill()


def _answer_abilities(event: Any) -> dict[UID, bytes]:
    return answered_abilities({str(uid): asked for uid, asked in event.app_info.items()})


class PeerAssociation(BridgeAssociation):
    """An association that a peer asked for."""

    def __init__(self, ae: AE, services: Services, connected: socket.socket, address: Any) -> None:
        super().__init__(ae, MODE_ACCEPTOR, services.limits, self._store)
        self._services = services
        self._peer: Peer | None = None
        self._allowed: dict[int, Allowed] = {}
        self.acse = _Admission(self)
        self.set_socket(Connection(self, connected))
        self.acceptor.maximum_length = ae.maximum_pdu_size
        self.acceptor.ae_title = ae.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(connected.getsockname())
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(address)
        self.bind(evt.EVT_SOP_EXTENDED, _answer_abilities)

    def admit(self, request: A_ASSOCIATE) -> Refusal | None:
        """Return why the peer is refused; else take a place and support what it may use."""
        calling = request.calling_ae_title.strip()
        address = cast("AddressInformation", self.requestor.address_info).address
        called = request.called_ae_title.strip()
        peer = self._services.table.admitted(calling, called, address)
        if isinstance(peer, Refusal):
            return peer
        if 0 < (self.requestor.maximum_length or 0) < _SHORTEST_PDU:
            return Refusal("the PDUs that it takes are too short", NO_REASON)
        if not self._services.places.take(calling):
            return Refusal("it has as many associations as it may", TOO_MANY)
        self._peer = peer
        proposed = request.presentation_context_definition_list
        self.acceptor.supported_contexts = accepted_contexts(proposed, peer.services)
        return None

    def refusal_of(self, command: Mapping[int, bytes], context_id: int) -> Answer | None:
        """Return why a message is not served: its context or its peer is not for it."""
        rule = self._allowed.get(context_id)
        if rule is None:
            abstract_syntax = str(self.context_of(context_id).abstract_syntax)
            rule = allowed(abstract_syntax, cast("Peer", self._peer).services)
            self._allowed[context_id] = rule
        return rule.refusal_of(command)

    def is_fuzzy(self, sop_class_uid: str) -> bool:
        """Say whether names that are nearly so match, too, in queries of a SOP Class."""
        return is_fuzzy(self.requestor.sop_class_extended.get(UID(sop_class_uid), b""))

    def run_reactor(self) -> None:
        """Serve the peer until the association has ended."""
        try:
            super().run_reactor()
        except Exception as error:
            _log.warning(
                "an association from %s is aborted: it cannot be served (%s)",
                cast("AddressInformation", self.requestor.address_info).address,
                type(error).__name__,
            )
            self.break_off()
        finally:
            if self._peer is not None:
                self._services.places.give_back(self._peer.ae_title)

    def _run_reactor(self) -> None:
        self._is_paused = False
        while not self._kill:
            with suppress(queue.Empty):
                context_id, message = self.messages.msg_queue.get(timeout=LOOK_SECONDS)
                if message is not None:
                    self._serve_request(message, cast("int", context_id))
            if self._has_ended():
                return

    def _has_ended(self) -> bool:
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
        elif self.acse.is_aborted():
            self.is_aborted, self.is_established = True, False
        elif self.dul.is_alive() and self.dul.idle_timer_expired():
            _log.warning("an association is aborted: its peer is silent for too long")
            self.abort()
        elif self.dul.is_alive():
            return False
        self.kill()
        return True

    def _store(self, request: StoreRequest) -> tuple[int, str]:
        return self._services.store(cast("Peer", self._peer), request)

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        serve = self._services.others.get(type(msg).__name__)
        context = self._accepted_cx.get(context_id)
        is_request = getattr(msg, "MessageID", None) is not None
        if serve is None or context is None or not is_request:
            super()._serve_request(msg, context_id)
            return
        self._is_paused = True
        try:
            serve(Call(self, cast("Peer", self._peer), msg, context))
        except Exception:
            _log.exception("a request could not be answered")
            self.abort()
        self._is_paused = False
