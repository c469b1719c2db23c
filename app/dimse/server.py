"""The bridge at work: it listens, and threads of its own serve each association that comes."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config

from app.dicom.file_meta import IMPLEMENTATION_CLASS_UID
from app.dimse.archive import Archive
from app.dimse.batches import Batches
from app.dimse.claims import Courier, Work
from app.dimse.commit import Committer
from app.dimse.connections import Connections
from app.dimse.destinations import Destinations
from app.dimse.figures import Counts, Figures, served_figures
from app.dimse.find import Finder
from app.dimse.forwarding import Forwarder
from app.dimse.incoming import Call, PeerAssociation, Services
from app.dimse.messages import MessageLimits
from app.dimse.originals import Fetcher
from app.dimse.outgoing import Caller
from app.dimse.peers import Peer, Places, Table
from app.dimse.performed import Performer
from app.dimse.reporting import Reporter
from app.dimse.retrieve import Retriever
from app.dimse.spool import Spool

_LOOK_SECONDS = 0.5
_VERSION_NAME = "FILEROOM"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a bridge needs to know; `keys` are the archive's, by AE title, '' for the others.

    Of several processes on one port the first tells of commitments and sends on.
    """

    archive_url: str
    keys: dict[str, str]
    ae_title: str
    peers: tuple[Peer, ...] = ()
    open: bool = False
    utf8: bool = False
    associations: int = 100
    associations_per_peer: int = 20
    pdu_bytes: int = 2**18
    memory_bytes: int = 4 * 2**20
    data_set_bytes: int = 64 * 2**30
    idle_seconds: float = 60
    request_seconds: float = 30
    patience_seconds: float = 10
    drain_seconds: float = 20
    spool: Path | None = None
    spool_bytes: int = 2**40
    metrics_port: int | None = None
    directory: Path | None = None
    archive_ca: Path | None = None
    tls: "Tls | None" = None
    forwardings: int = 2
    is_first: bool = True


@dataclass(frozen=True, slots=True)
class Tls:
    """Our certificate and its key; whose certificates peers have to have, None: they need none."""

    certificate: Path
    key: Path
    peers_ca: Path | None = None

    def server_context(self) -> ssl.SSLContext:
        """Return the context of BCP 195 (RFC 9325), non-downgrading (PS3.15 §B.12)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._filled(context)

    def client_context(self) -> ssl.SSLContext:
        """Return the same for associations that we ask for; the peer's name is not looked at."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if self.peers_ca is None:
            context.verify_mode = ssl.CERT_NONE
        return self._filled(context)

    def _filled(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL")
        context.load_cert_chain(self.certificate, self.key)
        if self.peers_ca is not None:
            context.load_verify_locations(self.peers_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Bridge:
    """Serves peers on a socket until it is told to stop."""

    def __init__(self, plan: Plan, listening: socket.socket) -> None:
        self._plan, self._listening = plan, listening
        self._stopping = threading.Event()
        self._tls = plan.tls.server_context() if plan.tls else None
        self._associations: set[PeerAssociation] = set()
        self._lock = threading.Lock()
        ours = speaker(plan)
        self._caller, self._archive = ours.caller, ours.archive
        self._entity, limits = ours.caller.entity, ours.limits
        self._spool = Spool(plan.spool, plan.spool_bytes) if plan.spool else None
        self._counts = Counts(self._spool.keep if self._spool else Batches(self._archive).store)
        peers = {peer.ae_title: peer for peer in plan.peers}
        fetcher, destinations = Fetcher(self._archive, limits), Destinations(self._archive, peers)
        self._work = Work(
            self._archive,
            self._caller,
            fetcher,
            destinations,
            plan.idle_seconds,
            self._counts.forwarded,
        )
        self._committer = Committer(self._archive)
        self._services = Services(
            Table(plan.ae_title, peers, plan.open),
            Places(plan.associations, plan.associations_per_peer),
            limits,
            self._counts.store,
            self._others(),
        )

    def _others(self) -> dict[str, Callable[[Call], None]]:
        """Return what answers the messages that are no C-STORE, by pynetdicom's names of them."""
        plan, archive, work = self._plan, self._archive, self._work
        finder, performer = Finder(archive, plan.ae_title, plan.utf8), Performer(archive)
        find = work.destinations.find
        retriever = Retriever(archive, work.fetcher, self._caller, find, plan.idle_seconds)
        return {
            "C_FIND": finder.serve,
            "C_GET": retriever.get,
            "C_MOVE": retriever.move,
            "N_ACTION": self._committer.serve,
            "N_CREATE": performer.create,
            "N_SET": performer.change,
        }

    def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Take associations until `stop` is called, then let those under way end."""
        self._listening.listen(128)
        self._listening.settimeout(_LOOK_SECONDS)
        ready()
        with contextlib.ExitStack() as stack:
            stack.callback(self._archive.connections.close)
            if self._plan.metrics_port is not None:
                figures = Figures(self._counts, self._spool, self._services.places.taken)
                stack.enter_context(served_figures(figures, self._plan.metrics_port))
            if self._spool is not None:
                stack.callback(self._spool.close)
            stack.enter_context(self._at_work())
            stack.callback(self._drain)
            for connected, address in self._connections():
                threading.Thread(target=self._begin, args=(connected, address), daemon=True).start()

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Have threads do what no peer waits for."""
        workers: list[Forwarder | Courier | Reporter] = []
        peers = self._services.table.peers
        if self._spool is not None:
            workers.append(Forwarder(self._spool, self._archive, peers))
        if self._plan.is_first:
            workers.append(Reporter(self._archive, self._caller, self._committer, peers))
            workers += [Courier(self._work) for _ in range(self._plan.forwardings)]
        for worker in workers:
            worker.start()
        yield
        for worker in workers:
            worker.stop()
        end = time.monotonic() + self._plan.drain_seconds
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))

    @property
    def spool(self) -> Spool | None:
        """What waits to be forwarded, if there is a spool."""
        return self._spool

    @property
    def associations(self) -> int:
        """How many have not ended."""
        return self._forget_ended()

    def stop(self) -> None:
        """Take no more associations; may be called by a signal's handler."""
        self._stopping.set()

    def _connections(self) -> Iterator[tuple[socket.socket, Any]]:
        while not self._stopping.is_set():
            try:
                yield self._listening.accept()
            except TimeoutError:
                self._forget_ended()
            except OSError as error:
                _log.warning("a connection could not be taken: %s", error.strerror)
                self._stopping.wait(_LOOK_SECONDS)
        self._listening.close()

    def _forget_ended(self) -> int:
        """Forget associations that have ended; return how many there are."""
        with self._lock:
            self._associations = {one for one in self._associations if one.is_running}
            return len(self._associations)

    def _begin(self, connected: socket.socket, address: Any) -> None:
        """Begin an association; TLS is spoken here, so that who stalls keeps nobody waiting."""
        if self._forget_ended() >= 2 * self._plan.associations:
            connected.close()
            return
        connected.settimeout(self._plan.request_seconds)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_side=True)
            association = PeerAssociation(self._entity, self._services, connected, address)
        except OSError as error:
            _log.warning("a connection from %s was given up: %s", address[0], type(error).__name__)
            connected.close()
            return
        association.start()
        with self._lock:
            self._associations.add(association)

    def _drain(self) -> None:
        end = time.monotonic() + self._plan.drain_seconds
        for association in self._associations:
            association.join(max(0.0, end - time.monotonic()))
        for association in self._associations:
            if association.is_alive():
                association.abort()


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks to the archive and to others, in the bridge's name."""

    archive: Archive
    caller: Caller
    limits: MessageLimits


def speaker(plan: Plan) -> Speaker:
    """Return who speaks as a plan says."""
    limits = MessageLimits(plan.memory_bytes, plan.data_set_bytes, plan.directory)
    connections = Connections(plan.archive_url, plan.associations, plan.archive_ca)
    archive = Archive(connections, plan.keys, plan.patience_seconds)
    tls = plan.tls.client_context() if plan.tls else None
    return Speaker(archive, Caller(_entity(plan), limits, tls), limits)


def _entity(plan: Plan) -> AE:
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = AE(plan.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = _VERSION_NAME
    entity.maximum_pdu_size = plan.pdu_bytes
    entity.maximum_associations = 1_000_000  # `Places` counts them
    entity.acse_timeout = entity.connection_timeout = plan.request_seconds
    entity.dimse_timeout = plan.idle_seconds
    entity.network_timeout = plan.idle_seconds
    return entity
