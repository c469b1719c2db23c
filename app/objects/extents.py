"""A range of an open file, unread: for the kernel to send (`sendfile`), or for another process.

The kernel copies it nowhere. It is given only what lies in its page cache: for the rest it would
wait for the disk, and the event loop with it. Linux tells since 6.5 (cachestat(2)); where it does
not, nothing is taken.
"""

import ctypes
import resource
from dataclasses import dataclass
from typing import Protocol

FILES = "fileroom.files"
"""The ASGI extension of a server whose bodies may be an `Extent`."""
_CACHESTAT = 451
"""The number of the system call, one for all architectures."""


class OpenFile(Protocol):
    """Whoever refers to it keeps it open."""

    fd: int


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes of a file from `offset`."""

    file: OpenFile
    offset: int
    length: int

    def __len__(self) -> int:
        return self.length


class _Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cached", "dirty", "written", "out", "recent")]


class PageCache:
    """Asks the kernel what it holds in memory; for one thread."""

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._range = _Range()
        self._counts = _Counts()
        self._pointers = ctypes.byref(self._range), ctypes.byref(self._counts)
        self._page = resource.getpagesize()

    def holds(self, fd: int, offset: int, length: int) -> bool:
        """Say whether all pages of a range are in memory; False where the kernel does not tell."""
        first = offset - offset % self._page
        pages = -(-(offset + length - first) // self._page)
        self._range.offset, self._range.length = first, pages * self._page
        failed: int = self._call(_CACHESTAT, fd, *self._pointers, 0)
        return failed == 0 and self._counts.cached >= pages
