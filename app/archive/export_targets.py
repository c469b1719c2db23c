"""Where an export goes: a folder or a zip. Nothing that is there is ever overwritten. Blocks."""

import errno
import hashlib
import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from app.errors import Conflict, StorageFull

_BLOCK = 2**20


class Target(Protocol):
    """Takes files one after the other."""

    def has(self, name: str, size: int, sha256: bytes) -> bool:
        """Say whether this very file is there already.

        Raises:
            Conflict: another one is.
        """
        ...

    def begin(self, name: str, size: int) -> None:
        """Begin a file."""
        ...

    def write(self, data: bytes) -> None:
        """Append to the file."""
        ...

    def end(self, *, keep: bool) -> None:
        """End the file; if it is not to be kept, it is as if it never was (or marked as such)."""
        ...


class Folder:
    """Files below a folder; each appears whole. Those that are there already are left as they are.

    So an export that was broken off goes on where it stopped.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Folder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self.end(keep=False)

    def has(self, name: str, size: int, sha256: bytes) -> bool:
        path = self._root / name
        with _writing(self._root):
            if not path.exists():
                return False
            if path.stat().st_size == size and _digest(path) == sha256:
                return True
        raise Conflict(f"{name} is there already and is another file: choose another place")

    def begin(self, name: str, size: int) -> None:
        self._path = self._root / name
        with _writing(self._root):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("wb")

    @property
    def _partial(self) -> Path:
        return self._path.with_name(f".{self._path.name}.part")

    def write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - begun
        with _writing(self._root):
            self._file.write(data)

    def end(self, *, keep: bool) -> None:
        assert self._file is not None  # noqa: S101 - begun
        with _writing(self._root):
            self._file.close()
            self._file = None
            try:
                if keep:
                    os.link(self._partial, self._path)
            finally:
                self._partial.unlink()


class Zip:
    """A zip that appears when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.part")
        self._entry: IO[bytes] | None = None
        self._names: set[str] = set()
        self._damaged: list[str] = []
        self._name = ""

    def __enter__(self) -> "Zip":
        if self._path.exists():
            raise Conflict(f"{self._path} is there already: choose another name")
        with _writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._zip = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _writing(self._path):
            try:
                if self._entry is not None:
                    self._entry.close()
                self._zip.close()
                if kind is None:
                    os.link(self._partial, self._path)
            finally:
                self._partial.unlink()

    def has(self, name: str, size: int, sha256: bytes) -> bool:
        if name in self._names:
            raise Conflict(f"two files would be called {name}")
        return False

    def begin(self, name: str, size: int) -> None:
        self._name = name
        self._names.add(name)
        with _writing(self._path):
            info = zipfile.ZipInfo(name, time.localtime()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            self._entry = self._zip.open(info, "w", force_zip64=size >= 2**31)

    def write(self, data: bytes) -> None:
        assert self._entry is not None  # noqa: S101 - begun
        with _writing(self._path):
            self._entry.write(data)

    def end(self, *, keep: bool) -> None:
        assert self._entry is not None  # noqa: S101 - begun
        with _writing(self._path):
            self._entry.close()
            self._entry = None
            if not keep:  # what is written cannot be taken back
                self._zip.writestr(f"{self._name}.DAMAGED.txt", "This file is damaged.\n")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Say of which target an error of the operating system speaks."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"there is no room left for {target}") from error
        raise Conflict(f"{target} cannot be written: {error.strerror}") from error


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
