"""A process that makes files durable: `python -m app.objects.naming_main SOCKET ROOT`.

A message has a number, the name under which a file waits and the one that it is to have; with it
comes the file's descriptor. The answer is the number, and 0 or the `errno` of what failed: then the
file has neither name. It ends when the socket closes, with its parent, and leaves to the next one
what it had not begun.
"""

import os
import signal
import socket
import sys
from queue import SimpleQueue
from struct import Struct
from threading import Thread

from app.objects.naming import Naming

ANSWER = Struct("<Qi")
MOST_BYTES = 2**14
"""Of a message: two paths, and a number."""
_THREADS = 8

_Job = tuple[bytes, str, str, int]


def main() -> None:
    """Make one file after the other durable, several at once, until the socket closes."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # whoever stops its parent means the parent
    channel, naming = socket.socket(fileno=int(sys.argv[1])), Naming(sys.argv[2])
    jobs: SimpleQueue[_Job] = SimpleQueue()
    for _ in range(_THREADS):
        Thread(target=_work, args=(channel, naming, jobs), daemon=True).start()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, 1)
        if not message:
            os._exit(0)
        number, staged, path = message.split(b"\0")
        jobs.put((number, os.fsdecode(staged), os.fsdecode(path), descriptors[0]))


def _work(channel: socket.socket, naming: Naming, jobs: "SimpleQueue[_Job]") -> None:
    while True:
        number, staged, path, descriptor = jobs.get()
        failed = make_durable(naming, staged, path, descriptor)
        try:
            channel.send(ANSWER.pack(int(number), failed))
        except OSError:
            os._exit(0)  # the parent has gone


def make_durable(naming: Naming, staged: str, path: str, descriptor: int) -> int:
    """Sync a file, move it to another name, and close it; return 0, or the `errno` of a failure."""
    failed = 0
    try:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        naming.name(staged, path)
    except OSError as error:
        failed = error.errno or -1
    try:
        os.unlink(staged)  # noqa: PTH108 - plain strings
    except OSError as error:
        failed = failed or error.errno or -1
    return failed


if __name__ == "__main__":
    main()
