"""The parent of `fileroom serve`: it starts what an archive needs and keeps it running.

    bind the port -> lock the data directory -> hire workers (they import while we go on)
    -> PostgreSQL -> migrate (a child) -> order the workers to serve -> ready -> watch

A worker or a PostgreSQL that dies alone is started again, after a pause that grows. SIGTERM,
SIGINT and SIGHUP stop all: no new connections, `drain_seconds` for requests under way, then
PostgreSQL with a checkpoint. A second signal does not wait. Workers and PostgreSQL are told by
the kernel when this process dies, however it dies. It imports no web framework and no database
driver: it is there all the time, and small.
"""

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, cast

from app.cli.counts import counting_directory, counting_environment, keep_totals
from app.cli.joining import is_current, own_postgres, served_directory
from app.cli.listening import bound_socket
from app.cli.order import Order
from app.cli.refusal import Refusal
from app.index.account import EmbeddedError
from app.index.embedded import AlreadyRunning, EmbeddedPostgres
from app.index.parent import ends_with_parent
from app.settings import Settings

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
STEADY_SECONDS = 30.0
KILL_AFTER = 5.0
LOOK_SECONDS = 5.0
MEMORY_HABITS = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}
"""glibc's, for workers: bodies come in pieces of 256 kB, whose memory is not new each time."""
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SERVER, BRIDGE = "app.cli.worker", "app.cli.bridging"
"""What a child runs: the archive itself, or the DIMSE bridge to it."""


class _Stop(BaseException):
    """A signal asked for the end while something was being started."""


@dataclass(slots=True)
class _Worker:
    """One child. It reads its order from its standard input and reports on its output."""

    process: subprocess.Popen[bytes]
    kind: str
    listening: socket.socket
    number: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def orders(self) -> IO[bytes]:
        """Where it waits for its order."""
        return cast("IO[bytes]", self.process.stdin)

    @property
    def reports(self) -> IO[bytes]:
        """Where it says by one byte that it serves."""
        return cast("IO[bytes]", self.process.stdout)

    def close(self) -> None:
        """Forget the pipes of a child that has ended."""
        with contextlib.suppress(BrokenPipeError):
            self.orders.close()
        self.reports.close()


class Supervisor:
    """Runs the archive of one data directory until a signal ends it."""

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str], None],
        application: str,
    ) -> None:
        self._settings = settings
        self._application = application
        self._tell = tell
        self._postgres = None if settings.database.url else own_postgres(settings)
        self._workers: list[_Worker] = []
        self._listening: socket.socket
        self._dimse: socket.socket | None = None
        self._counts: Path | None
        self._pause = FIRST_PAUSE
        self._signals = 0
        self._interruptible = True

    def run(self, announce: Callable[[Settings], None]) -> None:
        """Serve until told to stop; `announce` is called once, when requests are answered.

        Raises:
            Refusal: it could not be started.
        """
        settings = self._settings
        with contextlib.ExitStack() as stack:
            self._wake = stack.enter_context(self._signals_handled())
            stack.enter_context(contextlib.suppress(_Stop))
            address = (settings.http.host, settings.http.port)
            self._listening = stack.enter_context(bound_socket(*address))
            stack.enter_context(served_directory(settings.data_dir))
            port = self._listening.getsockname()[1]
            http = settings.http.model_copy(update={"port": port})
            self._settings = settings.model_copy(update={"http": http})
            if settings.dimse.port is not None:
                address = (settings.dimse.host, settings.dimse.port)
                self._dimse = stack.enter_context(bound_socket(*address))
                bridge = {"port": self._dimse.getsockname()[1]}
                dimse = settings.dimse.model_copy(update=bridge)
                self._settings = self._settings.model_copy(update={"dimse": dimse})
            self._counts = stack.enter_context(counting_directory(settings.data_dir))
            stack.callback(self._end)
            self._start()
            announce(self._settings)
            self._interruptible = False
            self._watch()

    @contextlib.contextmanager
    def _signals_handled(self) -> Iterator[int]:
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stopping = [number for number in STOPPING if not _is_nohup(number)]
        before = {number: signal.signal(number, self._signalled) for number in stopping}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        descriptor = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        try:
            yield wake
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(woken)

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._interruptible:
            self._interruptible = False
            raise _Stop

    def _start(self) -> None:
        self._hire_all()
        if self._postgres is not None:
            self._start_postgres()
            self._settings = self._settings.with_database(self._postgres.url())
        if self._postgres is None:
            self._prepare_index("check")
        elif not is_current(self._postgres):
            self._prepare_index("migrate")
        for worker in self._workers:
            self._order(worker)
        for worker in self._workers:
            if not worker.reports.read(1):
                code = worker.process.wait()
                raise Refusal(f"The server could not start ({_ending(code)}); see what it says.")

    def _hire_all(self) -> None:
        settings = self._settings
        self._workers = [
            self._hire(SERVER, self._listening, one) for one in range(settings.http.workers)
        ]
        if self._dimse is not None:
            for one in range(settings.dimse.processes):
                self._workers.append(self._hire(BRIDGE, self._dimse, one))

    def _start_postgres(self) -> None:
        if self._postgres is None:
            return
        try:
            self._postgres.start(note="fileroom serve", waiting=self._tell)
        except AlreadyRunning as error:
            raise Refusal(
                f"{error} It uses the index on its own; wait until it has ended."
            ) from None
        except OSError as error:
            raise Refusal(
                f"PostgreSQL cannot work in {self._postgres.directory}: {error.strerror}."
            ) from None
        self._postgres.ensure_database()

    def _prepare_index(self, what: str) -> None:
        url = self._settings.database.url
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-m", "app.cli.prepare", what],
            input=url.get_secret_value().encode() if url else b"",
            process_group=0,
            preexec_fn=ends_with_parent(signal.SIGKILL),
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise Refusal(done.stderr.decode(errors="replace").strip())

    def _hire(self, kind: str, listening: socket.socket, number: int = 0) -> _Worker:
        """Start a worker, which imports what it needs and then waits for its order."""
        arguments = [self._application] if kind == SERVER else []
        try:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", kind, *arguments],
                env={**MEMORY_HABITS, **counting_environment(self._counts)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(listening.fileno(),),
                process_group=0,  # a Ctrl-C in the terminal is for the parent alone
                preexec_fn=ends_with_parent(signal.SIGKILL),  # noqa: PLW1509 - only a system call
            )
        except OSError as error:
            raise Refusal(
                f"A worker cannot be started with {sys.executable}: {error.strerror}. This user "
                "must be able to run it."
            ) from None
        return _Worker(process, kind, listening, number)

    def _order(self, worker: _Worker) -> None:
        order = Order(self._settings, worker.listening.fileno(), worker.number)
        with contextlib.suppress(BrokenPipeError), worker.orders as pipe:
            pipe.write(pickle.dumps(order))

    def _watch(self) -> None:
        while not self._signals:
            self._sleep(LOOK_SECONDS)
            if self._postgres is not None and not self._signals:
                self._look_after(self._postgres)
            for position, worker in enumerate(self._workers):
                if worker.process.poll() is not None and not self._signals:
                    self._workers[position] = self._replace(worker)

    def _look_after(self, postgres: EmbeddedPostgres) -> None:
        if postgres.pid is not None:
            postgres.shorten_log()
            return
        self._tell("PostgreSQL has ended unexpectedly and is started again")
        self._interruptible = True
        try:
            self._start_postgres()
        except (EmbeddedError, Refusal) as error:
            self._tell(str(error))
            self._rest(0.0)
        finally:
            self._interruptible = False

    def _replace(self, dead: _Worker) -> _Worker:
        pid, code = dead.process.pid, dead.process.returncode
        self._tell(f"Worker {pid} has ended unexpectedly ({_ending(code)}) and is replaced")
        dead.close()
        if self._counts is not None:
            keep_totals(self._counts, pid)
        self._rest(time.monotonic() - dead.begun)
        worker = self._hire(dead.kind, dead.listening, dead.number)
        self._order(worker)
        return worker

    def _rest(self, lived: float) -> None:
        """Wait before something is started again, longer each time unless it had lived long."""
        self._pause = FIRST_PAUSE if lived > STEADY_SECONDS else self._pause
        end = time.monotonic() + self._pause
        while not self._signals and (left := end - time.monotonic()) > 0:
            self._sleep(left)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal comes, the end of a child included."""
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 4096)

    def _end(self) -> None:
        """Stop the workers, then PostgreSQL; a further signal shortens the wait."""
        self._interruptible = False
        asked = self._signals
        for listening in filter(None, (self._dimse, self._listening)):
            listening.close()  # the workers close theirs: nobody is kept waiting in a queue
        if asked:
            drain = self._settings.http.drain_seconds
            self._tell(
                f"Stopping: requests under way have {drain:g} seconds; stop again to end them now"
            )
        self._end_workers(asked)
        if self._postgres is not None:
            self._postgres.stop(patience=60 if self._signals <= asked else KILL_AFTER)

    def _end_workers(self, asked: int) -> None:
        for worker in self._workers:
            worker.process.terminate()
        end = time.monotonic() + self._settings.http.drain_seconds + KILL_AFTER
        while any(worker.process.poll() is None for worker in self._workers):
            if self._signals > asked or time.monotonic() > end:
                for worker in self._workers:
                    worker.process.kill()
            self._sleep(0.2)
        for worker in self._workers:
            worker.close()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _is_nohup(number: signal.Signals) -> bool:
    """Say whether whoever started us wants a hang-up of the terminal ignored."""
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
