"""A worker process: `python -m app.archive.worker_main SOCKET PARENT BYTES`. Ends with its parent.

It reads a job from the socket, does it, answers, and reads the next, until the socket closes. It is
given no secrets, no more memory than BYTES, and writes no files.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from app.archive.worker_messages import HEAD, MOST_EXTENTS, Unreadable, read, write
from app.errors import InvalidDataset

ADDRESS_SPACE = 2**30
"""What a process maps and does not use: libraries, arenas."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Limit this process, then do one job after the other."""
    fd, parent, memory_bytes = (int(argument) for argument in sys.argv[1:])
    _end_with(parent)
    _limit(memory_bytes)
    _be_silent()
    with socket.socket(fileno=fd) as channel:
        serve(channel)


def serve(channel: socket.socket) -> None:
    """Do the jobs that come through the socket, until it closes."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            pieces, _ = write(_answer(*_receive(channel)))
            for piece in pieces:
                channel.sendall(piece)


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent
    if os.getppid() != parent:
        sys.exit()


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    most = memory_bytes + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _be_silent() -> None:
    """Close the error stream: codecs print what hostile input makes them say."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)


def _receive(channel: socket.socket) -> tuple[bytearray, int, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(channel, HEAD.size, MOST_EXTENTS)
    pickled, beside = HEAD.unpack(head + _exactly(channel, HEAD.size - len(head)))
    return _exactly(channel, pickled + beside), pickled, descriptors


def _exactly(channel: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = channel.recv_into(rest)
        if count == 0:
            raise EOFError
        rest = rest[count:]
    return data


def _answer(message: bytearray, pickled: int, descriptors: Sequence[int]) -> tuple[str, Any]:
    """Do a job; an error becomes a word and what it said."""
    try:
        job, arguments = _read(message, pickled, descriptors)
        return "done", _find(job)(*arguments)
    except InvalidDataset as refused:
        return "invalid", (str(refused), refused.reason)
    except MemoryError:
        return "memory", None
    except Unreadable:
        return "unreadable", None
    except Exception as fault:  # the parent raises it again, by name
        return "failed", f"{type(fault).__name__}: {fault}"


def _read(message: bytearray, pickled: int, descriptors: Sequence[int]) -> Any:
    try:
        return read(message, pickled, descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@lru_cache(32)
def _find(job: str) -> Any:
    module, _, name = job.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()
