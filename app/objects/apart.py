"""The process that makes the small files of this one durable.

A put is a dozen system calls, after each of which a thread would have to wait for the interpreter,
which the event loop holds for most of the time. So the bytes are left in a memory that is shared
with a process apart, which has an interpreter of its own: it writes, hashes, syncs and names them
(`apart_main`). It starts with the first put, and anew with the next one if it has died.
"""

import asyncio
import logging
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from threading import Thread

from app.errors import Unavailable
from app.objects.apart_main import ANSWER, REQUEST, SLOT_BYTES, SLOTS
from app.objects.children import child_environment
from app.objects.staged import InMemory

STALLED_SECONDS = 60.0
"""How long one file may take until its disk, or the process, is taken as stalled."""

_FAREWELL_SECONDS = 5.0
_LOOKS = 12
"""How often it is looked at in that time."""

_log = logging.getLogger(__name__)

_Answer = tuple[int, bytes, bytes]


class Apart:
    """Makes files durable below a directory, in a process of its own. For one event loop."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._running: _Process | None = None
        self._memory = os.memfd_create("fileroom")
        os.ftruncate(self._memory, SLOTS * SLOT_BYTES)
        self._view = memoryview(mmap.mmap(self._memory, SLOTS * SLOT_BYTES))
        self._free = list(range(SLOTS))
        self._slots = asyncio.Semaphore(SLOTS)

    def close(self) -> None:
        """End the process; nothing is under way any more."""
        if self._running is not None:
            self._running.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    @staticmethod
    def takes(size: int) -> bool:
        """Say whether a file of that size is small enough."""
        return size <= SLOT_BYTES

    async def make_durable(self, staged: InMemory, path: str) -> tuple[bytes, bytes]:
        """Write the bytes to a file, durably, and return both digests.

        A caller that is cancelled still waits for the end, as with a thread.

        Raises:
            FileExistsError: there is such a file already.
            OSError: it failed, and nothing is left of it.
            Unavailable: the process has died, or was ended since it did not answer; the file may
                be there, also where it is to wait.
        """
        async with self._slots:
            slot = self._free.pop()
            try:
                self._fill(slot, staged.pieces)
                failed, *digests = await _end(self._ask(slot, staged, path))
            finally:
                self._free.append(slot)
        if failed:
            raise OSError(failed, os.strerror(failed))
        return digests[0], digests[1]

    def _fill(self, slot: int, pieces: Iterable[bytes]) -> None:
        at = slot * SLOT_BYTES
        for piece in pieces:
            self._view[at : at + len(piece)] = piece
            at += len(piece)

    def _ask(self, slot: int, staged: InMemory, path: str) -> "asyncio.Future[_Answer]":
        known = slot, staged.size, staged.dataset_offset, staged.reserve
        names = os.fsencode(f"{staged.path}\0{path}")
        try:
            return self._started().send(known, names)
        except ConnectionError:  # it has died since, and has taken nothing
            return self._started().send(known, names)

    def _started(self) -> "_Process":
        """Return the process; another one if it has ended."""
        if self._running is not None and self._running.ended:
            self._running.close()
            self._running = None
        if self._running is None:
            self._running = _Process(self._root, self._memory)
        return self._running


async def _end(future: "asyncio.Future[_Answer]") -> _Answer:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # seen
        raise


class _Process:
    """The process, and what it has been asked for."""

    def __init__(self, root: str, memory: int) -> None:
        self.ended = False
        self._farewell = _FAREWELL_SECONDS
        self._numbers = count()
        self._waiting: dict[int, tuple[asyncio.Future[_Answer], float]] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = _start(theirs, memory, root)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._channel.fileno(), self._answered)

    def send(self, known: tuple[int, int, int, int], names: bytes) -> "asyncio.Future[_Answer]":
        """Ask for a file: slot, size, the Data Set's offset, bytes to stay free; and both names.

        Raises:
            ConnectionError: it has died.
        """
        number = next(self._numbers)
        try:
            self._channel.send(REQUEST.pack(number, *known) + names)
        except ConnectionError:
            self._end()
            raise
        future: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting[number] = future, self._loop.time()
        if self._watch is None:
            self._look_again()
        return future

    def _look_again(self) -> None:
        self._watch = self._loop.call_later(STALLED_SECONDS / _LOOKS, self._look)

    def _look(self) -> None:
        """See whether what has waited longest has waited too long: then there is another process.

        This one names nothing any more, and what it was asked for may be asked of the other one.
        """
        self._watch = None
        if not self._waiting:
            return
        _, since = next(iter(self._waiting.values()))
        if self._loop.time() - since < STALLED_SECONDS:
            self._look_again()
            return
        _log.error("no file came to its end in %.0f s: does the disk answer?", STALLED_SECONDS)
        self._process.kill()
        self._farewell = 0.0  # a disk may hold it for longer
        self._end()

    def _answered(self) -> None:
        """Take the answers that have come."""
        while not self.ended:
            try:
                answer = self._channel.recv(ANSWER.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                answer = b""
            if not answer:
                self._end()
                return
            number, *said = ANSWER.unpack(answer)
            self._waiting.pop(number)[0].set_result((said[0], said[1], said[2]))

    def _end(self) -> None:
        """It has died, or is to end: nobody knows what became of what it has not answered."""
        self.ended = True
        if self._watch is not None:
            self._watch.cancel()
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        for future, _ in self._waiting.values():
            future.set_exception(Unavailable("the process that writes files has ended"))
        self._waiting.clear()

    def close(self) -> None:
        """End it, and wait for that."""
        if not self.ended:
            self._end()
        try:
            self._process.wait(self._farewell)
        except subprocess.TimeoutExpired:  # it waits for a disk
            self._process.kill()
            Thread(target=self._process.wait, daemon=True).start()


def _start(channel: socket.socket, memory: int, root: str) -> "subprocess.Popen[bytes]":
    passed = channel.fileno(), memory
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-S", "-m", "app.objects.apart_main", *map(str, passed), root],
        pass_fds=passed,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
