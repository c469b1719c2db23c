"""How much can be written to a file system."""

import errno
import os
from math import inf
from time import monotonic

_LOOK_SECONDS = 0.2


class Room:
    """The room on a disk but for what stays free. Threads may share it.

    It is looked up a few times a second, and what is written meanwhile is subtracted: a system call
    for each part would cost more than writing a small one does.
    """

    def __init__(self, fd: int, reserve: int) -> None:
        """Take any descriptor of the file system."""
        self.reserve = reserve
        self._fd = fd
        self._left = 0
        self._looked = -inf

    def look(self) -> int:
        """Return how many bytes can be written.

        Raises:
            OSError: the file system does not say.
        """
        self._left = free_bytes(self._fd, self.reserve)
        self._looked = monotonic()
        return self._left

    def take(self, size: int) -> None:
        """Make sure of the room for some bytes.

        Raises:
            OSError: there is none (ENOSPC).
        """
        if self._left < size or monotonic() - self._looked > _LOOK_SECONDS:
            self.look()
        check_room(size, self._left)
        self._left -= size


def free_bytes(fd: int, reserve: int) -> int:
    """Return how many bytes a file system takes until only `reserve` are free.

    Raises:
        OSError: it does not say.
    """
    found = os.fstatvfs(fd)
    return max(0, found.f_bavail * found.f_frsize - reserve)


def check_room(size: int, left: int) -> None:
    """Make sure that so many bytes fit.

    Raises:
        OSError: they do not (ENOSPC).
    """
    if left < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
