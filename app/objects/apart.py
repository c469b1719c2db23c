"""The process that makes the small files of this one durable.

A put is nine system calls, and after each a thread has to wait for the interpreter, which the event
loop holds for most of the time. So the two calls that write are made here, and a process apart,
which has an interpreter of its own, makes the others (`naming_main`). It starts with the first put,
and anew with the next one if it has died.
"""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count

from app.errors import Unavailable
from app.objects.children import child_environment
from app.objects.naming_main import ANSWER

_FAREWELL_SECONDS = 5.0


class Apart:
    """Makes files durable below a directory, in a process of its own. For one event loop."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._running: _Process | None = None

    def close(self) -> None:
        """End the process; nothing is under way any more."""
        if self._running is not None:
            self._running.close()

    async def make_durable(self, descriptor: int, staged: str, path: str) -> None:
        """Sync a file and move it to another name, durably; its descriptor is closed.

        A caller that is cancelled still waits for the end, as with a thread.

        Raises:
            FileExistsError: there is such a file already.
            OSError: it failed, and the file has neither name.
            Unavailable: the process has died; the file may have either name.
        """
        try:
            try:
                future = self._started().send(descriptor, staged, path)
            except ConnectionError:  # it has died since, and has taken nothing
                future = self._started().send(descriptor, staged, path)
        finally:
            os.close(descriptor)
        failed = await _end(future)
        if failed:
            raise OSError(failed, os.strerror(failed))

    def _started(self) -> "_Process":
        """Return the process; another one if it has ended."""
        if self._running is not None and self._running.ended:
            self._running.close()
            self._running = None
        if self._running is None:
            self._running = _Process(self._root)
        return self._running


async def _end(future: "asyncio.Future[int]") -> int:
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

    def __init__(self, root: str) -> None:
        self.ended = False
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = _start(theirs, root)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._channel.fileno(), self._answered)

    def send(self, descriptor: int, staged: str, path: str) -> "asyncio.Future[int]":
        """Ask for a file; the future has 0 or an `errno`.

        Raises:
            ConnectionError: it has died.
        """
        number = next(self._numbers)
        message = b"%d\0%b\0%b" % (number, os.fsencode(staged), os.fsencode(path))
        try:
            socket.send_fds(self._channel, [message], [descriptor])
        except ConnectionError:
            self._end()
            raise
        self._waiting[number] = self._loop.create_future()
        return self._waiting[number]

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
            number, failed = ANSWER.unpack(answer)
            self._waiting.pop(number).set_result(failed)

    def _end(self) -> None:
        """It has died, or is to end: nobody knows what became of what it has not answered."""
        self.ended = True
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        for future in self._waiting.values():
            future.set_exception(Unavailable("the process that syncs files has ended"))
        self._waiting.clear()

    def close(self) -> None:
        """End it, and wait for that."""
        if not self.ended:
            self._end()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:  # it waits for a disk
            self._process.kill()


def _start(channel: socket.socket, root: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-S", "-m", "app.objects.naming_main", str(channel.fileno()), root],
        pass_fds=(channel.fileno(),),
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
