"""An association that the bridge asks for: to send what a C-MOVE names, or to fetch."""

import logging
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from pynetdicom import AE
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.transport import AddressInformation

from app.dimse.association import BridgeAssociation
from app.dimse.messages import MessageLimits, Store, StoreRequest
from app.dimse.peers import Peer
from app.dimse.upper_layer import Connection

MOST_CONTEXTS = 128
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks for associations in the bridge's name."""

    entity: AE
    limits: MessageLimits
    tls: ssl.SSLContext | None = None

    def call(
        self,
        peer: Peer,
        contexts: Sequence[tuple[str, Sequence[str]]],
        *,
        store: Store | None = None,
        stored: Iterable[str] = (),
    ) -> "OwnAssociation | None":
        """Return an association with a peer, None if there is none to be had.

        `contexts` are SOP Classes and Transfer Syntaxes of each. Of the SOP Classes that are
        `stored` Instances come to us on it, which `store` keeps.
        """
        if peer.address is None or peer.port is None:
            return None
        association = OwnAssociation(self.entity, self.limits, store or _stores_nothing)
        try:
            association.prepare(peer, self.tls if peer.tls else None)
        except OSError as error:
            _log.warning("%s cannot be reached: %s", peer.ae_title, error)
            return None
        association.propose(contexts, stored)
        association.request()
        if association.is_established:
            return association
        _log.warning("%s took no association", peer.ae_title)
        return None


def _stores_nothing(_: StoreRequest) -> tuple[int, str]:
    return 0x0122, "nothing is stored here"


class OwnAssociation(BridgeAssociation):
    """An association that we asked for; the thread that asked for it uses it."""

    def __init__(self, ae: AE, limits: MessageLimits, store: Store) -> None:
        super().__init__(ae, MODE_REQUESTOR, limits, store)

    def prepare(self, peer: Peer, tls: ssl.SSLContext | None) -> None:
        """Say who is called, and where it is.

        Raises:
            OSError: there is no such host.
        """
        host, port = cast("str", peer.address), cast("int", peer.port)
        there = AddressInformation(host, port)
        here = AddressInformation("" if there.is_ipv4 else "::", 0)
        connection = Connection(self, address=here)
        if tls is not None:
            connection.tls_args = (tls, host)
        self.set_socket(connection)
        self.acceptor.ae_title, self.acceptor.address_info = peer.ae_title, there
        requestor = self.requestor
        requestor.address_info, requestor.ae_title = here, self.ae.ae_title
        requestor.maximum_length = self.ae.maximum_pdu_size
        requestor.implementation_class_uid = self.ae.implementation_class_uid
        requestor.implementation_version_name = self.ae.implementation_version_name

    def propose(
        self, contexts: Sequence[tuple[str, Sequence[str]]], stored: Iterable[str] = ()
    ) -> None:
        """Say what is proposed; of the SOP Classes that are `stored` we want to be the SCP."""
        proposed: list[PresentationContext] = []
        for number, (sop_class, syntaxes) in enumerate(contexts[:MOST_CONTEXTS]):
            proposed.append(build_context(sop_class, list(syntaxes)))
            proposed[-1].context_id = 2 * number + 1
        self.requestor.requested_contexts = proposed
        for sop_class in stored:
            role: SCP_SCU_RoleSelectionNegotiation = build_role(sop_class, scp_role=True)
            self.requestor.add_negotiation_item(role)

    def end(self) -> None:
        """Release the association, or what is left of it."""
        if self.is_gone:
            self.kill()
            return
        with suppress(OSError):
            self.acse.negotiate_release()
        self.kill()
