"""A group of processes with a limit of memory: the kernel's memory controller, version 1.

The limit holds for all that the processes hold together, what they have read and written of files
included; of that the kernel takes back what it can before it kills one of them.
"""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

CONTROLLER = Path("/sys/fs/cgroup/memory")
_LOOK_SECONDS = 0.05


class NoGroups(Exception):
    """This user may not make such groups here, or this system has none."""


class MemoryGroup:
    """A group that exists as long as the block lasts, and is watched meanwhile."""

    def __init__(self, name: str, limit: int) -> None:
        self.path = CONTROLLER / f"{name}-{os.getpid()}"
        self.limit = limit
        self._held = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryGroup":
        try:
            self.path.mkdir()
            (self.path / "memory.limit_in_bytes").write_text(str(self.limit))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            raise NoGroups(
                f"No group with a limit of memory could be made at {self.path.parent} "
                f"({error.strerror}). This needs root and the memory controller of cgroups, "
                "version 1."
            ) from None
        with contextlib.suppress(OSError):  # where swap is not counted, there is none
            (self.path / "memory.memsw.limit_in_bytes").write_text(str(self.limit))
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watcher.join()
        for _ in range(100):
            try:
                self.path.rmdir()
            except OSError:  # its last processes are about to end
                time.sleep(0.1)
            else:
                return

    def within(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs `command` in the group; its process is the same."""
        script = 'echo $$ > "$0" && exec "$@"'
        return ["sh", "-c", script, str(self.path / "cgroup.procs"), *command]

    @property
    def peak(self) -> int:
        """The most bytes that were counted for the group, files' pages among them."""
        return int((self.path / "memory.max_usage_in_bytes").read_text())

    @property
    def held(self) -> int:
        """The most bytes that the processes were seen to hold themselves, shared memory among
        them: what the kernel could not have taken back."""
        return self._held

    @property
    def killed(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        return self._figures("memory.oom_control")["oom_kill"]

    def _figures(self, name: str) -> dict[str, int]:
        lines = (self.path / name).read_text().splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            figures = self._figures("memory.stat")
            self._held = max(self._held, figures["total_rss"] + figures.get("total_shmem", 0))
