"""A process that makes small files durable: `python -m app.objects.apart_main` SOCKET MEMORY ROOT.

A message (`REQUEST`, and two paths) names a slot of the shared memory, which holds the bytes, the
name under which a file waits until it is durable, and the one that it is to have then. The answer
(`ANSWER`) has two digests, and 0 or the `errno` of what failed: then the file has neither name. It
ends when the socket closes, with its parent.
"""

import hashlib
import mmap
import os
import signal
import socket
import sys
from contextlib import suppress
from queue import SimpleQueue
from struct import Struct
from threading import Thread
from typing import NamedTuple

from app.objects.naming import Naming
from app.objects.room import check_room, free_bytes
from app.objects.writing import READ_ONLY, write_past_cache

SLOTS = 16
SLOT_BYTES = 2**20
REQUEST = Struct("<QIIIQ")
"""Number, slot, size, where the Data Set begins, and how many bytes are to stay free."""
ANSWER = Struct("<Qi32s32s")
"""Number, `errno`, SHA-256 of all bytes, and of those of the Data Set."""
_MOST_BYTES = 2**14
_THREADS = 8


class Job(NamedTuple):
    """A file to be made."""

    data: memoryview
    dataset_offset: int
    reserve: int
    staged: str
    path: str


def main() -> None:
    """Make one file after the other durable, several at once, until the socket closes."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # whoever stops its parent means the parent
    channel, naming = socket.socket(fileno=int(sys.argv[1])), Naming(sys.argv[3])
    memory = memoryview(mmap.mmap(int(sys.argv[2]), SLOTS * SLOT_BYTES, prot=mmap.PROT_READ))
    jobs: SimpleQueue[tuple[int, Job]] = SimpleQueue()
    for _ in range(_THREADS):
        Thread(target=_work, args=(channel, naming, jobs), daemon=True).start()
    with suppress(ConnectionError):  # its parent was killed, with answers unread
        while message := channel.recv(_MOST_BYTES):
            number, slot, size, dataset_offset, reserve = REQUEST.unpack_from(message)
            staged, path = message[REQUEST.size :].split(b"\0")
            data = memory[slot * SLOT_BYTES : slot * SLOT_BYTES + size]
            names = os.fsdecode(staged), os.fsdecode(path)
            jobs.put((number, Job(data, dataset_offset, reserve, *names)))
    os._exit(0)


def _work(channel: socket.socket, naming: Naming, jobs: "SimpleQueue[tuple[int, Job]]") -> None:
    hashed: SimpleQueue[Job] = SimpleQueue()
    digests: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()
    Thread(target=_hash, args=(hashed, digests), daemon=True).start()
    while True:
        number, job = jobs.get()
        hashed.put(job)
        failed = make_durable(naming, job)
        try:
            channel.send(ANSWER.pack(number, failed, *digests.get()))
        except OSError:
            os._exit(0)  # the parent has gone


def _hash(jobs: "SimpleQueue[Job]", digests: "SimpleQueue[tuple[bytes, bytes]]") -> None:
    """Digest what is waiting for its disk meanwhile."""
    while True:
        job = jobs.get()
        whole = hashlib.sha256(job.data).digest()
        digests.put((whole, hashlib.sha256(job.data[job.dataset_offset :]).digest()))


def make_durable(naming: Naming, job: Job) -> int:
    """Write a file, sync it, and give it its name; return 0, or the `errno` of a failure."""
    try:
        try:
            _write(job)
            naming.name(job.staged, job.path)
        except OSError:
            with suppress(OSError):
                os.unlink(job.staged)  # noqa: PTH108 - plain strings
            raise
        os.unlink(job.staged)  # noqa: PTH108
    except OSError as error:
        return error.errno or -1
    return 0


def _write(job: Job) -> None:
    fd = os.open(job.staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, READ_ONLY)
    try:
        check_room(len(job.data), free_bytes(fd, job.reserve))
        write_past_cache(fd, job.data)
        os.fsync(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
