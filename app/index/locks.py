"""Locks on files, which the kernel lets go of when their holder ends, however it ends."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType


class FileLock:
    """A lock that one holds alone, or some share. The file says who holds it alone; that it stays
    behind means nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, note: str = "") -> bool:
        """Take the lock if it is free and write `note` and our process id into the file."""
        if self._descriptor is None and self._take(fcntl.LOCK_EX):
            os.ftruncate(self.fileno(), 0)
            os.pwrite(self.fileno(), f"{os.getpid()}\n{note}\n".encode(), 0)
        return self._descriptor is not None

    def share(self) -> bool:
        """Take the lock together with others who share it, unless one has it alone."""
        return self._descriptor is not None or self._take(fcntl.LOCK_SH)

    def _take(self, kind: int) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        if not _locked(descriptor, kind):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of the lock; a child that inherited it keeps it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, for a child to inherit."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path.name} is not held")
        return self._descriptor

    def holder(self) -> tuple[int, str] | None:
        """Return process id and note of who holds the lock, None if nobody does."""
        if self._descriptor is not None:
            return os.getpid(), ""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            lines = os.read(descriptor, 1000).decode(errors="replace").splitlines()
            return (int(lines[0]) if lines and lines[0].isdecimal() else 0), "".join(lines[1:2])
        else:
            return None
        finally:
            os.close(descriptor)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _locked(descriptor: int, kind: int) -> bool:
    """Lock, with some patience for one who only looks (`holder`)."""
    for _ in range(5):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False
