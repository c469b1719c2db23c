"""A cluster of an older PostgreSQL, run once more with its own programs, to be read alone."""

import subprocess
from pathlib import Path

from app.index.account import Account, EmbeddedError
from app.index.binaries import programs_for
from app.index.embedded import SETTINGS, EmbeddedPostgres

NEWER = frozenset({"io_method", "autovacuum_worker_slots"})
"""Settings of ours that PostgreSQL 18 was the first to know."""
READ_ONLY = {"default_transaction_read_only": "on"}
PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
"""Where the packages of Debian and of the PostgreSQL project put a version's programs."""


class FormerPostgres(EmbeddedPostgres):
    """The cluster of an older version in a directory of ours. It takes the same locks, recovers
    from a crash in its own way, and lets nobody write."""

    def __init__(self, directory: Path, major: int, programs: Path) -> None:
        super().__init__(directory)
        self.cluster = self.directory / str(major)
        known = {name: value for name, value in SETTINGS.items() if name not in NEWER}
        self.settings = {**known, **READ_ONLY}
        self._programs = programs

    def _find_programs(self, account: Account) -> Path:
        """A system's package keeps some of them elsewhere, and lets every user enter."""
        if not account.foreign or account.may_enter(self._programs / "bin" / "postgres"):
            return self._programs
        return programs_for(account, self.directory, self._programs)


def find_programs(major: int, told: Path | None) -> Path:
    """Return the directory that has the `bin` with the programs of a major version.

    `told` is that `bin`, or the directory around it; None looks where packages put it.

    Raises:
        EmbeddedError: they are not there, or are of another version.
    """
    places = [told] if told else [Path(place.format(major)) for place in PLACES]
    for place in places:
        for programs in (place, place.parent):
            if (programs / "bin" / "postgres").is_file():
                _check(programs / "bin" / "postgres", major)
                return programs.resolve()
    raise EmbeddedError(
        f"The programs of PostgreSQL {major} are not in {' or '.join(map(str, places))}. Install "
        f"the package postgresql-{major}, or say where they are with --from-bin."
    )


def _check(postgres: Path, major: int) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - what the operator named, no shell
            [postgres, "--version"], capture_output=True, text=True, check=False
        )
        said = done.stdout.strip() or done.stderr.strip()
    except OSError as error:
        said = str(error.strerror)
    if f"(PostgreSQL) {major}." not in said:
        raise EmbeddedError(f"{postgres} is not PostgreSQL {major}: it says {said!r}.")
