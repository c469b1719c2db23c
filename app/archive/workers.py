"""Our own pool of worker processes, for codecs: they may crash, hang, or eat memory.

Rules: one socket and one job at a time for each process, so a crash ends one job and no other. A
process starts when it is needed and ends after a while of rest (memory at rest counts). A caller
that goes away does not stop its job, since a kill and a new start cost more; the time limit does.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from app.archive.worker_messages import HEAD, read_answer, write
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.errors import InvalidDataset, Unavailable
from app.objects.children import child_environment

_BUFFER = 2**20
_PIECE = 2**16
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
_FAREWELL_SECONDS = 2.0
_DECODE_FRAME = "app.dicom.codecs:decode_frame"
_TRANSCODE_FRAME = "app.dicom.encoders:transcode_frame"
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
_MEMORY_HABITS = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""glibc's: pages of a frame and of its picture are not new each time."""

Job = tuple[str, tuple[object, ...]]
"""The name of a function, as `module:function`, and its arguments."""


class _Process:
    """One worker process and its socket."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self.channel, theirs = socket.socketpair()
        try:
            self.channel.setblocking(False)
            self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._process = _start(theirs, memory_bytes)
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ask(self, job: Job) -> tuple[str, Any]:
        """Send a job and return what came back, as a word and a value.

        Raises:
            EOFError, OSError: the process died, or sends what is no answer.
        """
        loop = asyncio.get_running_loop()
        (first, *others), descriptors = write(job)
        if descriptors:  # the channel is empty, so that some of it goes through at once
            first = first[socket.send_fds(self.channel, [first], descriptors) :]
        for piece in (first, *others):
            await loop.sock_sendall(self.channel, piece)
        message, pickled = await self._answer()
        return read_answer(message, pickled)

    async def _answer(self) -> tuple[bytearray, int]:
        """Return an answer without its head, and how much of it is the pickle."""
        loop = asyncio.get_running_loop()
        data, begun = bytearray(_PIECE), 0
        while begun < HEAD.size:
            count = await loop.sock_recv_into(self.channel, memoryview(data)[begun:])
            if count == 0:
                raise EOFError
            begun += count
        pickled, beside = HEAD.unpack_from(data)
        length = pickled + beside
        if length > self._memory_bytes or begun - HEAD.size > length:
            raise EOFError
        message = bytearray(length)
        message[: begun - HEAD.size] = memoryview(data)[HEAD.size : begun]
        rest = memoryview(message)[begun - HEAD.size :]
        while rest:
            count = await loop.sock_recv_into(self.channel, rest)
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return message, pickled

    async def end(self, *, at_once: bool = False) -> int:
        """End the process and return its exit code, negative for a signal that was not ours."""
        self.channel.close()  # which a process that has nothing to do takes as its end
        if not at_once:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return await asyncio.to_thread(self._process.wait, _FAREWELL_SECONDS)
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        return 0


def _start(channel: socket.socket, memory_bytes: int) -> subprocess.Popen[bytes]:
    arguments = (channel.fileno(), os.getpid(), memory_bytes)
    return subprocess.Popen(  # noqa: S603  # ourselves
        [sys.executable, "-m", "app.archive.worker_main", *map(str, arguments)],
        pass_fds=(channel.fileno(),),
        env=child_environment() | _MEMORY_HABITS | dict.fromkeys(_THREADS, "1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


class Workers:
    """Up to `size` processes, each with `memory_bytes` at most and `seconds` for a job."""

    def __init__(
        self, size: int, memory_bytes: int, seconds: float, *, rest_seconds: float = 30.0
    ) -> None:
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._rest_seconds = rest_seconds
        self._slots = asyncio.Semaphore(size)
        self._resting: dict[_Process, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def is_idle(self) -> bool:
        """Say whether no job runs or waits."""
        return not self._tasks and not self._slots.locked()

    async def run(self, job: str, *arguments: object) -> Any:
        """Do a job, named `module:function`, in a process, and return what it returns.

        Jobs wait for their turn in order. An argument that is an `Extent` comes to
        the function as its bytes. The function's result is bytes, plain values, or a
        `DecodedFrame`. If the caller is cancelled while the job runs, the job goes on.

        Raises:
            InvalidDataset: the job says so, or it crashed its process, or needed more memory or
                time than it may have.
            Unavailable: the pool is closed, or the process was killed from outside, or an extent
                cannot be read.
            RuntimeError: another error in the job, which is a bug.
        """
        await self._slots.acquire()
        if self._closed:
            self._slots.release()
            raise Unavailable("the server is stopping")
        task = self._keep(asyncio.create_task(self._run((job, arguments))))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End all processes, and with them the jobs that run."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for timer in self._resting.values():
            timer.cancel()
        await asyncio.gather(*(process.end(at_once=True) for process in self._resting))
        self._resting.clear()

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        """Hold on to a task until it is done; its error is its caller's, who may be gone."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _run(self, job: Job) -> Any:
        try:
            process = self._take()
            word, value = await self._ask(process, job)
            self._rest(process)
        finally:
            self._slots.release()
        return _result(word, value)

    async def _ask(self, process: _Process, job: Job) -> tuple[str, Any]:
        try:
            async with asyncio.timeout(self._seconds):
                return await process.ask(job)
        except TimeoutError:
            await process.end(at_once=True)
            raise InvalidDataset(f"decoding needed more than {self._seconds:g} seconds") from None
        except (EOFError, OSError):
            raise _death(await process.end()) from None
        except asyncio.CancelledError:
            await process.end(at_once=True)
            raise

    def _take(self) -> _Process:
        """Return a process that rests, the one that worked last, or a new one."""
        while self._resting:
            process, timer = self._resting.popitem()
            timer.cancel()
            if process.is_alive():
                return process
            self._keep(asyncio.create_task(process.end()))
        try:
            return _Process(self._memory_bytes)
        except OSError:
            raise Unavailable("no worker process can be started now") from None

    def _rest(self, process: _Process) -> None:
        loop = asyncio.get_running_loop()
        self._resting[process] = loop.call_later(self._rest_seconds, self._retire, process)

    def _retire(self, process: _Process) -> None:
        del self._resting[process]
        self._keep(asyncio.create_task(process.end()))


def _death(code: int) -> Exception:
    """Return the error of a job whose process has died."""
    if -code in _FROM_OUTSIDE:
        return Unavailable("a worker process was killed; ask again")
    return InvalidDataset("the decoder crashed on it")


def _result(word: str, value: Any) -> Any:
    match word:
        case "done":
            return value
        case "invalid":
            raise InvalidDataset(str(value[0]), int(value[1]))
        case "unreadable":
            raise Unavailable("the object store has lost some of an object")
        case "memory":
            raise InvalidDataset("decoding needed more memory than it may have")
        case _:
            raise RuntimeError(f"a job failed in its worker: {value}")


async def decode_frame(
    workers: Workers, codestream: bytes, description: PixelDescription, decoded_bytes: int
) -> DecodedFrame:
    """Decode one frame in a worker process.

    Raises:
        InvalidDataset: the description is refused, or the frame cannot be decoded.
        Unavailable: the pool is closed, or the process was killed from outside.

    Source: PS3.5 §8.2, Annex A.4
    """
    description.check(decoded_bytes)  # what no frame is needs no process
    answer = await workers.run(_DECODE_FRAME, codestream, description, decoded_bytes)
    if not isinstance(answer, DecodedFrame) or len(answer.data) != description.length:
        raise InvalidDataset("the decoder returned something else than a frame")
    return answer


async def transcode_frame(
    workers: Workers,
    data: bytes,
    description: PixelDescription,
    transfer_syntax_uid: str,
    decoded_bytes: int,
) -> tuple[bytes, str]:
    """Encode one frame in a worker process; return it and its Photometric Interpretation.

    Raises:
        InvalidDataset: the description is refused, or the frame cannot be decoded or encoded.
        Unavailable: the pool is closed, or the process was killed from outside.

    Source: PS3.5 §8.2, Annex A.4
    """
    description.check(decoded_bytes)
    answer = await workers.run(
        _TRANSCODE_FRAME, data, description, transfer_syntax_uid, decoded_bytes
    )
    match answer:
        case (bytes(codestream), str(colour)):
            return codestream, colour
    raise InvalidDataset("the encoder returned something else than a frame")
