"""What earlier imports stored: which file became which Instance.

A small SQLite file in the data directory. It holds digests of path, size and time of files, no
names. It is a hint, never believed alone: an import asks the index whether the Instance is still
there. Without it an import only takes longer, since what is stored already is found out by storing
it again.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType


class ImportMemory:
    """Digests of files and the SOP Instance UIDs that they became. Blocks; for one thread a time.

    A file that cannot be used is done without.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._database = self._opened(path)
        except sqlite3.Error:
            self._database = self._opened(Path(":memory:"))

    @staticmethod
    def _opened(path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=10, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS stored"
                " (file BLOB PRIMARY KEY, instance TEXT NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error:
            database.close()
            raise
        return database

    def __enter__(self) -> "ImportMemory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def find(self, files: Sequence[bytes]) -> Mapping[bytes, str]:
        """Return what is known of `files`: SOP Instance UIDs by digest."""
        marks = ",".join("?" * len(files))
        statement = f"SELECT file, instance FROM stored WHERE file IN ({marks})"  # noqa: S608
        return dict(self._database.execute(statement, files).fetchall())

    def add(self, stored: Iterable[tuple[bytes, str]]) -> None:
        """Remember files and what they became."""
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO stored VALUES (?, ?)", stored)
