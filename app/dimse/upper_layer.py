"""The upper layer (PS3.8): pynetdicom's states, on a socket that is waited for and read by us.

pynetdicom's reader looks for data a thousand times a second, reads 4096 bytes at a time, makes an
object of each PDU and copies its data five times; and it holds a PDU of whatever length is
declared. Here a thread sleeps until there is something to read or to send, data go from the
socket's buffer straight to the message, and only what changes the state goes through the table.
"""

import contextlib
import logging
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from app.dimse.items import known_items
from app.dimse.messages import Messages
from app.dimse.pdus import ASSOCIATE, PduReader, ProtocolError, Receiver

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from app.dimse.association import BridgeAssociation

_BUFFER = 2**17
_LOOK_SECONDS = 0.5
LEAST_RATE = 1024
"""Bytes a second, on average, that a message comes with; as a body does over HTTP."""
_ESTABLISHED = frozenset({"Sta6", "Sta7"})
_INVALID_PDU, _CLOSED = "Evt19", "Evt17"
_log = logging.getLogger(__name__)


class Pace:
    """How fast what has begun comes, after some seconds of patience."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._begun: float | None = None
        self._bytes = 0

    def check(self, count: int, now: float) -> None:
        """Count what has come.

        Raises:
            ProtocolError: it trickles.
        """
        if self._begun is None:
            self._begun, self._bytes = now, 0
        self._bytes += count
        seconds = now - self._begun
        if seconds > self._patience and self._bytes < LEAST_RATE * seconds:
            raise ProtocolError(f"{self._bytes} bytes of a message in {seconds:.0f} s")

    def rest(self) -> None:
        """Count anew with what comes next: all that has begun has ended."""
        self._begun = None


class WakingQueue(queue.Queue[Any]):
    """A queue that tells somebody of what was put into it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item, and tell."""
        super().put(item, block, timeout)
        self._wake()


class Connection(AssociationSocket):
    """A socket on which two threads may send PDUs; each goes out whole.

    What TLS keeps of a connection is no two threads' at once, so with it one reads by turns, too.
    """

    def __init__(
        self,
        assoc: "Association",
        client_socket: socket.socket | None = None,
        address: AddressInformation | None = None,
    ) -> None:
        self._sending = threading.Lock()
        super().__init__(assoc, client_socket, address)

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect; afterwards nothing waits for a peer longer than the association may be idle."""
        super().connect(primitive)
        if self.socket is not None:
            self.socket.settimeout(self.assoc.network_timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, bytestream: bytes) -> None:
        """Send all of it; a connection that is gone is told to the state machine."""
        connected = self.socket
        try:
            if connected is None:
                raise ConnectionError
            with self._sending:
                connected.sendall(bytestream)
        except OSError:
            self.event_queue.put(_CLOSED)

    @property
    def is_connected(self) -> bool:
        """Say whether there is a peer; a socket that is not connected yet always has an event."""
        return self._is_connected

    def receive(self, buffer: bytearray) -> int:
        """Read what has come; return how many bytes, 0 at the end.

        A socket with a timeout would look once more whether it can be read.

        Raises:
            OSError: there is nothing yet, or the connection is broken.
        """
        connected = self.socket
        if connected is None:
            return 0
        if not isinstance(connected, ssl.SSLSocket):
            return os.readv(connected.fileno(), [buffer])
        with self._sending:
            return connected.recv_into(buffer)

    def whom(self) -> str:
        """Return the peer's address, for the log."""
        try:
            return str(cast("socket.socket", self.socket).getpeername()[0])
        except (OSError, AttributeError):
            return "a peer that is gone"

    def _shutdown_socket(self) -> None:
        connected = self.socket
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
            connected.close()


class UpperLayer(DULServiceProvider):
    """One association's upper layer, run by a thread of its own."""

    def __init__(self, assoc: "Association", messages: Messages) -> None:
        super().__init__(assoc)
        self._run_loop_delay = 0  # `_is_transport_event` waits
        self._messages = messages
        self._wake_lock = threading.Lock()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reader = PduReader(Receiver(self._take_pdu, self._take_fragment))
        self._broken = False
        self.is_busy = False
        """Something is being done with what was read; the peer has to wait."""
        self._buffer = bytearray(_BUFFER)
        self._pace = Pace(assoc.network_timeout or _LOOK_SECONDS)
        self.to_provider_queue = WakingQueue(self.wake)
        self.to_user_queue = WakingQueue(self._wake_user)
        self.event_queue = WakingQueue(self.wake)

    def wake(self) -> None:
        """Let the thread look around."""
        with self._wake_lock:
            if self._wake_fd >= 0 and threading.current_thread() is not self:
                os.eventfd_write(self._wake_fd, 1)

    def _wake_user(self) -> None:
        self.assoc.dimse.msg_queue.put((None, None))

    def run_reactor(self) -> None:
        """Read and send until the association has ended."""
        try:
            super().run_reactor()
        except InvalidEventError:
            _log.info("an association has ended while it was being answered")
        except Exception as error:
            _log.warning("an association is broken off (%s)", type(error).__name__)
            cast("BridgeAssociation", self.assoc).break_off()
        finally:
            self._messages.forget()
            if self.socket is not None:
                self.socket._shutdown_socket()
                self.socket._ready.set()
            with self._wake_lock:
                os.close(self._wake_fd)
                self._wake_fd = -1
            self.to_user_queue.put(None)  # nobody waits for what will not come

    def kill_dul(self) -> None:
        """Let the thread end."""
        super().kill_dul()
        self.wake()

    def stop_dul(self) -> bool:
        """Wait for the end of the thread, if the association has ended."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def _is_transport_event(self) -> bool:
        """Wait for something to do, and read what has come."""
        connection = cast("Connection | None", self.socket)
        if self.event_queue.queue:
            return False
        if connection is None or connection.socket is None or not connection.is_connected:
            self._wait(None, _LOOK_SECONDS)
            return False
        if self.state_machine.current_state == "Sta13":
            if self._wait(connection.socket, 0):
                self._receive(connection)
            else:
                connection.close()
            return True
        if not self._wait(connection.socket, _LOOK_SECONDS):
            return False
        self._receive(connection)
        while self._has_only_to_read() and self._wait(connection.socket, _LOOK_SECONDS):
            self._receive(connection)
        return True

    def _has_only_to_read(self) -> bool:
        """Say whether the loop that this is called from has nothing else to do."""
        waiting = self.event_queue.queue or self.to_provider_queue.queue
        established = self.state_machine.current_state in _ESTABLISHED
        return established and not waiting and not self._kill_thread

    def _wait(self, connected: socket.socket | None, seconds: float) -> bool:
        """Wait until the socket can be read (True), or until there is something else to do."""
        if isinstance(connected, ssl.SSLSocket) and connected.pending():
            return True
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        if connected is not None and connected.fileno() >= 0:
            poll.register(connected, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)
        return bool(ready - {self._wake_fd})

    def _receive(self, connection: Connection) -> None:
        try:
            count = connection.receive(self._buffer)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError:
            count = 0
        if count == 0:
            self.event_queue.put(_CLOSED)
            return
        if self._broken:
            return
        self.is_busy = True
        try:
            self._pace.check(count, time.monotonic())
            steps = self._messages.steps
            self._reader.feed(memoryview(self._buffer)[:count])
            between = self._reader.is_between and self._messages.is_between
            if between or self._messages.steps > steps:
                self._pace.rest()
        except ProtocolError as error:
            _log.warning("an association with %s is aborted: %s", connection.whom(), error)
            self._broken = True
            self.event_queue.put(_INVALID_PDU)
        self._idle_timer.restart()
        self.is_busy = False

    def idle_timer_expired(self) -> bool:
        """Say whether the peer has been silent for too long, while nothing is done for it."""
        return not self.is_busy and super().idle_timer_expired()

    def _take_pdu(self, kind: int, whole: bytes) -> None:
        if kind in ASSOCIATE:
            whole = known_items(whole)
        try:
            pdu, event = self._decode_pdu(bytearray(whole))
            pdu.to_primitive()  # what cannot be one would end this thread later
        except Exception as error:
            raise ProtocolError(f"a PDU that cannot be decoded ({type(error).__name__})") from None
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _take_fragment(self, context_id: int, control: int, piece: memoryview, ended: bool) -> None:
        state = self.state_machine.current_state
        if state in _ESTABLISHED:
            self._messages.take(context_id, control, piece, ended)
        elif state != "Sta13":
            raise ProtocolError(f"data while the association is in {state}")
