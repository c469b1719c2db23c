"""Who is killed, with SIGKILL, and how they are found."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from random import Random

import psutil

from tests.killing.clients import Importing
from tests.killing.served import Served


class Victim(StrEnum):
    """A process that may die, or several."""

    NEWBORN = "all in the very first start"
    PARENT = "parent of serve"
    WORKER = "worker"
    POSTMASTER = "postmaster"
    BACKEND = "backend of PostgreSQL"
    EVERYTHING = "all at once"
    SYNCING = "process that writes"
    IMPORT = "fileroom import"
    S3 = "S3 server"


IN_TURN = tuple(victim for victim in Victim if victim is not Victim.NEWBORN)
LOCAL = tuple(victim for victim in IN_TURN if victim is not Victim.S3)
IN_A_BUCKET = tuple(victim for victim in IN_TURN if victim is not Victim.SYNCING)


class Killer:
    """Kills one victim after another, each of them about as often."""

    def __init__(self, served: Served, importing: Importing, rng: Random) -> None:
        self._served = served
        self._importing = importing
        self._rng = rng
        self._deck: list[Victim] = []
        self._kill: Mapping[Victim, Callable[[], bool]] = {
            Victim.PARENT: self._kill_parent,
            Victim.WORKER: lambda: self._kill_one_of(served.worker_processes()),
            Victim.POSTMASTER: lambda: self._kill_one_of(served.postmasters()),
            Victim.BACKEND: lambda: self._kill_one_of(served.backends()),
            Victim.SYNCING: lambda: self._kill_one_of(served.syncing()),
            Victim.EVERYTHING: self._kill_everything,
            Victim.IMPORT: self._kill_import,
            Victim.S3: self._kill_s3,
        }

    def kill(self) -> Victim:
        """Kill whose turn it is, or the next one where that is not there just now."""
        for _ in range(100):
            if not self._deck:
                self._deck = list(IN_A_BUCKET if self._served.s3 else LOCAL)
                self._rng.shuffle(self._deck)
            victim = self._deck.pop()
            if self._kill[victim]():
                return victim
        raise AssertionError("there is nobody to be killed")

    def _kill_one_of(self, processes: list[psutil.Process]) -> bool:
        if not processes:
            return False
        with suppress(psutil.NoSuchProcess):
            self._rng.choice(processes).kill()
            return True
        return False

    def _kill_parent(self) -> bool:
        if self._served.process.poll() is not None:
            return False
        self._served.process.kill()
        self._served.process.wait()
        return True

    def _kill_everything(self) -> bool:
        if self._served.process.poll() is not None:
            return False
        self._served.kill_all()
        return True

    def _kill_import(self) -> bool:
        process = self._importing.process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        return True

    def _kill_s3(self) -> bool:
        if self._served.s3 is None:
            return False
        self._served.s3.kill()
        return True
