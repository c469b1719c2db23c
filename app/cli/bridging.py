"""The DIMSE bridge as a process: `fileroom dimse`, and what `fileroom serve` starts beside it."""

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from app import __version__
from app.cli.bridge_processes import helping
from app.cli.listening import bound_socket
from app.cli.order import Order
from app.cli.refusal import Refusal
from app.dimse.figures import FiguresError
from app.dimse.server import Bridge, Plan, Tls
from app.dimse.spool import SpoolError
from app.logs import configure_logs
from app.setting_groups import read_key
from app.settings import WILDCARDS, Settings, SettingsError

_log = logging.getLogger(__name__)
STOPPING = (signal.SIGTERM, signal.SIGINT)
DEFAULT_PORT = 11_112
"""Registered for DICOM, and open to every user; 104 is root's."""


def plan_of(settings: Settings, number: int = 0) -> Plan:
    """Return what a bridge needs to know; `number` counts those on one port from 0.

    Raises:
        SettingsError: a key's file cannot be used.
    """
    dimse, limits = settings.dimse, settings.limits
    tls = None
    if dimse.tls_certificate is not None and dimse.tls_key is not None:
        tls = Tls(dimse.tls_certificate, dimse.tls_key, dimse.tls_peers)
    return Plan(
        archive_url=dimse.archive_url or _archive_here(settings),
        archive_ca=dimse.archive_ca,
        keys=_keys(settings),
        ae_title=dimse.ae_title,
        peers=dimse.peers,
        open=dimse.open,
        associations=dimse.associations,
        associations_per_peer=dimse.associations_per_peer,
        pdu_bytes=dimse.pdu_bytes,
        memory_bytes=limits.memory_part_bytes,
        data_set_bytes=limits.part_bytes,
        idle_seconds=dimse.idle_seconds,
        patience_seconds=dimse.patience_seconds,
        drain_seconds=settings.http.drain_seconds,
        utf8=dimse.utf8,
        spool=dimse.spool,
        spool_bytes=dimse.spool_bytes,
        forwardings=dimse.forwardings,
        metrics_port=None if dimse.metrics_port is None else dimse.metrics_port + number,
        is_first=number == 0,
        tls=tls,
    )


def _archive_here(settings: Settings) -> str:
    """Return the address of the server on this machine, past any proxy."""
    host = "127.0.0.1" if settings.http.host in WILDCARDS else settings.http.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http.port}"


def _keys(settings: Settings) -> dict[str, str]:
    keys = {
        peer.ae_title: read_key(f"the key_file of peer {peer.ae_title}", Path(peer.key_file))
        for peer in settings.dimse.peers
        if peer.key_file is not None
    }
    own = settings.auth.key()
    if settings.dimse.key_file is not None:
        own = read_key("FILEROOM_DIMSE__KEY_FILE", settings.dimse.key_file)
    if own is not None:
        keys[""] = own
    return {title: key.get_secret_value() for title, key in keys.items()}


def run_bridge(settings: Settings) -> None:
    """Run the bridge until a signal asks for the end.

    Raises:
        Refusal: it cannot listen there, or has no certificate or spool.
        SettingsError: a key's file cannot be used.
    """
    configure_logs(settings.log.level, settings.log.format)
    plan = plan_of(settings)
    port = DEFAULT_PORT if settings.dimse.port is None else settings.dimse.port
    with bound_socket(settings.dimse.host, port) as listening:
        lines = (
            f"Fileroom {__version__}: the DIMSE bridge is ready",
            f"  {plan.ae_title} on {settings.dimse.host}, port {listening.getsockname()[1]}",
            f"  Archive    {plan.archive_url}",
            f"  Open to    {_who(plan)}",
            "Stop with Ctrl-C.",
        )
        with helping(settings, listening, settings.dimse.processes):
            _serve(plan, listening, lambda: _print(lines))


def _who(plan: Plan) -> str:
    known = ", ".join(peer.ae_title for peer in plan.peers)
    if plan.open:
        return "every AE that can reach it"
    return known or "nobody: name peers in FILEROOM_DIMSE__PEERS, or set FILEROOM_DIMSE__OPEN"


def _print(lines: tuple[str, ...]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def serve_orders() -> None:
    """Run the bridge as the parent, `fileroom serve`, orders on standard input."""
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent alone
    settings = order.settings
    configure_logs(settings.log.level, settings.log.format)
    try:
        plan = plan_of(settings, order.number)
        _serve(plan, socket.socket(fileno=order.listening), _tell_parent)
    except (Refusal, SettingsError) as error:
        logging.getLogger(__name__).error("the DIMSE bridge: %s", error)
        sys.exit(1)


def _tell_parent() -> None:
    os.write(1, b"1")


def _hear_of_peers_once() -> None:
    """Have each thing that a peer does wrong told by ourselves, in a line.

    What pydicom and pynetdicom say of it are lines for each element, with its value.
    """
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    threading.excepthook = _log_thread


def _log_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        _log.error("a thread has ended", exc_info=ended.exc_value)


def _serve(plan: Plan, listening: socket.socket, ready: Callable[[], None]) -> None:
    _hear_of_peers_once()
    try:
        bridge = Bridge(plan, listening)
    except SpoolError as error:
        raise Refusal(str(error)) from None
    except OSError as error:  # of TLS, too
        raise Refusal(f"The certificate or its key cannot be used: {error}") from None
    for number in STOPPING:
        signal.signal(number, lambda *_: bridge.stop())
    try:
        bridge.serve(ready)
    except FiguresError as error:
        raise Refusal(str(error)) from None


if __name__ == "__main__":
    serve_orders()
