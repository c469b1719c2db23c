"""A spool that loses nothing: Instances are durable here before they are acknowledged.

    incoming/N      being written, thrown away at the next start
    waiting/N       to be forwarded, in the order of their names, which is that of their arrival
    refused/N       the archive takes it not, and why is in the log: an operator's to look at

A file is a line of JSON (who sent it, and what it is) and then the Instance as a file. It is
fsynced, renamed into `waiting`, and the directory is fsynced; only then the peer gets its answer.
Nothing that a peer says is in a name.
"""

import contextlib
import fcntl
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.dimse import status
from app.dimse.messages import Answer, StoreRequest
from app.dimse.peers import Peer
from app.dimse.store import Instance, refusal_of

INCOMING, WAITING, REFUSED = "incoming", "waiting", "refused"
_LONGEST_HEAD = 4096
_PIECE = 2**18
_log = logging.getLogger(__name__)


class SpoolError(OSError):
    """The spool cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An Instance that waits; `size` is the file's, `offset` where the Instance begins in it.

    What `goes_alone` may be another one than it is named, so an answer has to be for it alone.
    """

    path: Path
    size: int
    offset: int
    arrived: float
    ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    goes_alone: bool = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the Instance."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while piece := file.read(_PIECE):
                yield piece


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """How much waits, since when the oldest does, and how many the archive refused."""

    instances: int
    bytes: int
    oldest_seconds: float
    refused: int


class Spool:
    """What waits in a directory, which is this process's alone."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        """Take the directory, and find what waits in it.

        Raises:
            SpoolError: it cannot be made, or another process has it.
        """
        self._directory, self._most_bytes = directory, most_bytes
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._waiting: deque[Entry] = deque()
        self._bytes = self._refused = 0
        self.arrived = threading.Event()
        with contextlib.ExitStack() as stack:
            try:
                for name in (INCOMING, WAITING, REFUSED):
                    (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
                held = stack.enter_context((directory / "lock").open("w"))
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._find()
            except BlockingIOError:
                raise SpoolError(f"another process has the spool {directory}") from None
            except OSError as error:
                why = f"the spool {directory} cannot be used: {error.strerror}"
                raise SpoolError(why) from error
            self._held = stack.pop_all()

    def _find(self) -> None:
        for path in (self._directory / INCOMING).iterdir():
            path.unlink()
        for path in sorted((self._directory / WAITING).iterdir()):
            entry = read_entry(path)
            if entry is None:
                _log.error("%s in the spool cannot be read, and is put aside", path.name)
                path.rename(self._directory / REFUSED / path.name)
            else:
                self._waiting.append(entry)
                self._bytes += entry.size
        self._refused = len(list((self._directory / REFUSED).iterdir()))

    def close(self) -> None:
        """Give the directory back."""
        self._held.close()

    def keep(self, peer: Peer, request: StoreRequest) -> Answer:
        """Keep an Instance durably; return the status for the peer, and a comment on a refusal."""
        refused = refusal_of(peer, request)
        if refused is not None:
            return refused
        instance = Instance(request)
        with self._lock:
            if self._bytes + instance.size > self._most_bytes:
                return status.OUT_OF_RESOURCES, "the spool of the bridge is full"
            self._bytes += instance.size  # the place is ours from now on
        try:
            entry = self._written(peer, request, instance)
        except OSError as error:
            with self._lock:
                self._bytes -= instance.size
            _log.error("the spool cannot be written to: %s", error.strerror)
            return status.OUT_OF_RESOURCES, "the spool of the bridge cannot be written to"
        with self._lock:
            self._bytes += entry.size - instance.size
            self._waiting.append(entry)
        self.arrived.set()
        return instance.told((status.SUCCESS, ""))

    def _written(self, peer: Peer, request: StoreRequest, instance: Instance) -> Entry:
        arrived = time.time()
        uids = request.sop_class_uid, request.sop_instance_uid
        goes_alone = not instance.is_as_named
        head = orjson.dumps([arrived, peer.ae_title, *uids, goes_alone]) + b"\n"
        name = f"{time.time_ns():020d}-{next(self._numbers):06d}"
        incoming, waiting = (self._directory / part / name for part in (INCOMING, WAITING))
        try:
            with incoming.open("xb") as file:
                file.write(head)
                file.writelines(instance)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            incoming.rename(waiting)
            _sync(waiting.parent)
        except OSError:
            for path in (incoming, waiting):
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        return Entry(waiting, size, len(head), arrived, peer.ae_title, *uids, goes_alone)

    def oldest(self, most: int, most_bytes: int) -> list[Entry]:
        """Return the oldest entries, one or more if any waits; each UID once."""
        with self._lock:
            taken: list[Entry] = []
            size, uids = 0, set[str]()
            for entry in itertools.islice(self._waiting, most):
                size += entry.size
                apart = entry.goes_alone or entry.sop_instance_uid in uids
                if taken and (apart or size > most_bytes or entry.ae_title != taken[0].ae_title):
                    break
                taken.append(entry)
                uids.add(entry.sop_instance_uid)
                if entry.goes_alone:
                    break
            return taken

    def forget(self, entry: Entry) -> None:
        """Forget an Instance that the archive has."""
        entry.path.unlink(missing_ok=True)
        self._drop(entry)

    def put_aside(self, entry: Entry) -> None:
        """Keep an Instance that the archive refuses where an operator finds it."""
        entry.path.rename(self._directory / REFUSED / entry.path.name)
        with self._lock:
            self._refused += 1
        self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        with self._lock:
            self._waiting.remove(entry)
            self._bytes -= entry.size

    def figures(self, now: Callable[[], float] = time.time) -> SpoolFigures:
        """Return how much waits."""
        with self._lock:
            oldest = max(0.0, now() - self._waiting[0].arrived) if self._waiting else 0.0
            return SpoolFigures(len(self._waiting), self._bytes, oldest, self._refused)


def read_entry(path: Path) -> Entry | None:
    """Return what a file of the spool holds, None if it is none."""
    try:
        with path.open("rb") as file:
            head = file.readline(_LONGEST_HEAD)
            size = os.fstat(file.fileno()).st_size
        arrived, ae_title, sop_class, instance, goes_alone = orjson.loads(head)
    except (OSError, ValueError):
        return None
    return Entry(path, size, len(head), float(arrived), ae_title, sop_class, instance, goes_alone)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
