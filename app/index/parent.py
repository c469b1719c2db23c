"""A child process that ends when its parent does, by SIGKILL as well (Linux only)."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def ends_with_parent(number: signal.Signals, parent: int | None = None) -> Callable[[], None]:
    """Return what the child has to call first, after it has changed its user.

    The kernel sends `number` when the *thread* that made the child ends: make it from the main
    thread, or one that lives as long.
    """
    if sys.platform != "linux":  # pragma: no cover
        return lambda: None
    expected = parent or os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def call() -> None:  # pragma: no cover - in a child that is about to be another program
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != expected:  # it ended before the kernel was told
            os._exit(1)

    return call
