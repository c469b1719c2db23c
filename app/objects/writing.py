"""Writing bytes to a new file: through the page cache, or past it (O_DIRECT)."""

import errno
import fcntl
import os
from collections.abc import Sequence

READ_ONLY = 0o440  # what is stored never changes
_ALIGNED = 2**12
"""Bytes: where a write past the cache ends. It begins at a page, in the file and in memory."""
PAST_CACHE_BYTES = 2**18
"""From which the page cache costs more than it saves."""
_IOV_MAX = 1024


def write_all(fd: int, pieces: Sequence[bytes]) -> None:
    """Write all the pieces, one after the other."""
    for first in range(0, len(pieces), _IOV_MAX):
        some = pieces[first : first + _IOV_MAX]
        written = os.writev(fd, some)
        if written < sum(map(len, some)):
            _write(fd, memoryview(b"".join(some))[written:])


def write_past_cache(fd: int, data: memoryview) -> None:
    """Write bytes that begin at a page to an empty file, past the page cache but for the last few.

    Few bytes are written as ever, and all where the file system has no such thing.
    """
    if len(data) < PAST_CACHE_BYTES:
        _write(fd, data)
        return
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    written = 0
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        written = os.write(fd, data[: len(data) // _ALIGNED * _ALIGNED])
    except OSError as error:
        if error.errno != errno.EINVAL:  # there is none, or it wants larger blocks
            raise
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    _write(fd, data[written:])


def _write(fd: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(fd, rest) :]
