"""The other processes of `fileroom dimse`, where several share its port."""

import contextlib
import logging
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from app.cli.order import Order
from app.index.parent import ends_with_parent
from app.settings import Settings

FIRST_PAUSE, LONGEST_PAUSE, STEADY_SECONDS = 0.5, 10.0, 30.0
LOOK_SECONDS, KILL_AFTER = 0.2, 5.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def helping(settings: Settings, listening: socket.socket, number: int) -> Iterator[None]:
    """Run all processes but the first, which is this one; a helper that dies is replaced.

    Each is started and awaited by a thread of its own: the kernel ends a child with the thread
    that has started it.
    """
    stopping = threading.Event()
    orders = [Order(settings, listening.fileno(), one) for one in range(1, number)]
    helpers = [threading.Thread(target=_help, args=(order, stopping)) for order in orders]
    for helper in helpers:
        helper.start()
    try:
        yield
    finally:
        stopping.set()
        for helper in helpers:
            helper.join()


def _help(order: Order, stopping: threading.Event) -> None:
    pause = FIRST_PAUSE
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            _run(order, stopping)
        except OSError as error:
            _log.error("a process of the bridge cannot be started: %s", error.strerror)
        if stopping.is_set():
            return
        _log.error("process %d of the bridge has ended, and is replaced", order.number)
        pause = FIRST_PAUSE if time.monotonic() - begun > STEADY_SECONDS else pause
        stopping.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _run(order: Order, stopping: threading.Event) -> None:
    """Run one until it ends, or has been stopped."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "app.cli.bridging"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(order.listening,),
        process_group=0,  # a Ctrl-C in the terminal is for the first alone
        preexec_fn=ends_with_parent(signal.SIGKILL),  # noqa: PLW1509 - only a system call
    ) as process:
        with contextlib.suppress(BrokenPipeError):
            _tell(process, order)
        while process.poll() is None and not stopping.wait(LOOK_SECONDS):
            pass
        process.terminate()
        try:
            process.wait(order.settings.http.drain_seconds + KILL_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()


def _tell(process: "subprocess.Popen[bytes]", order: Order) -> None:
    assert process.stdin is not None  # noqa: S101 - it was asked for
    with process.stdin as orders:
        orders.write(pickle.dumps(order))
