"""The files that an import finds: in folders, in zips, on media with a DICOMDIR.

Nothing here trusts a name: members of a zip are read, never written anywhere; a DICOMDIR's files
are looked up within its own folder. Nothing waits on a pipe or a device.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from app.dicom.media_directory import referenced_files
from app.dicom.source import FileSource
from app.errors import InvalidDataset

_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that may hold an Instance.

    `name` is for people. `identity` is another one when path, size or time are. `packed` is its
    size within its zip, 0 if it is in none.
    """

    name: str
    size: int
    identity: bytes
    open: Callable[[], BinaryIO]
    packed: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that was named or found, and why it cannot be read."""

    name: str
    reason: str


Found = FoundFile | Unreadable


def find_files(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield all files that lie at or below `paths`, in a steady order. Blocks."""
    for path in paths:
        try:
            yield from _find(path)
        except OSError as error:
            yield Unreadable(str(path), error.strerror or "cannot be read")


def _find(path: Path) -> Iterator[Found]:
    if path.is_dir():
        yield from _walk(path)
    elif path.name.upper() == "DICOMDIR":
        yield from _of_medium(path)
    else:
        yield from _one(str(path), os.stat(path))  # noqa: PTH116 - raises where is_file would hide


def _walk(folder: Path) -> Iterator[Found]:
    """Yield what lies in a folder; its DICOMDIR names nothing that is not there already."""
    faults: list[OSError] = []
    for directory, names, files in os.walk(folder, onerror=faults.append):
        names.sort()
        for name in names:
            if os.path.islink(f"{directory}/{name}"):  # noqa: PTH114
                yield Unreadable(
                    f"{directory}/{name}", "is a link to a folder: name it to follow it"
                )
        for name in sorted(files):
            path = f"{directory}/{name}"
            with suppress(FileNotFoundError):  # gone since, or a link to nothing
                if name.upper() != "DICOMDIR":
                    yield from _one(path, os.stat(path))  # noqa: PTH116
    for fault in faults:
        yield Unreadable(str(fault.filename), fault.strerror or "cannot be read")


def _one(path: str, status: os.stat_result) -> Iterator[Found]:
    if not stat.S_ISREG(status.st_mode):
        yield Unreadable(path, "is not a file")
    elif path.lower().endswith(".zip"):
        yield from _members(path, status)
    else:
        identity = _identity(os.path.abspath(path), status.st_size, status.st_mtime_ns)  # noqa: PTH100
        yield FoundFile(path, status.st_size, identity, lambda: open(path, "rb"))  # noqa: PTH123, SIM115


def _identity(*facts: str | int) -> bytes:
    text = "\0".join(map(str, facts)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).digest()


def _members(path: str, status: os.stat_result) -> Iterator[Found]:
    try:
        archive = zipfile.ZipFile(path)
        infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        yield Unreadable(path, f"cannot be read as a zip, or its end is missing: {error}")
        return
    outer = os.path.abspath(path), status.st_size, status.st_mtime_ns  # noqa: PTH100
    for info in infos:
        if not info.is_dir() and not info.filename.startswith("__MACOSX/"):
            yield _member(archive, info, path, _identity(*outer, info.header_offset))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, identity: bytes) -> Found:
    name = f"{path}!{info.filename}"
    if info.flag_bits & _ENCRYPTED:
        return Unreadable(name, "is encrypted")
    if info.filename.lower().endswith(".zip"):
        return Unreadable(name, "is a zip within a zip: unpack the outer one first")

    def opened() -> BinaryIO:
        return cast(BinaryIO, archive.open(info))

    return FoundFile(name, info.file_size, identity, opened, max(info.compress_size, 1))


def _of_medium(path: Path) -> Iterator[Found]:
    """Yield the files that a DICOMDIR names, as far as they lie in its folder."""
    try:
        with path.open("rb") as file:
            files = referenced_files(FileSource(file.fileno(), os.fstat(file.fileno()).st_size))
    except InvalidDataset as error:
        yield Unreadable(str(path), f"cannot be read as a DICOMDIR: {error}")
        return
    for components in files:
        found = _within(path.parent, components)
        if found is None:
            yield Unreadable(f"{path}: {'/'.join(components)}", "is named there and not found")
        else:
            yield from _one(str(found), found.stat())


def _within(folder: Path, components: tuple[str, ...]) -> Path | None:
    """Return where a File ID lies, whatever the case of the names and version numbers at their end.

    Only what a folder really lists is followed, so `..` and absolute names lead nowhere.
    """
    for component in components:
        wanted = component.upper()
        try:
            names = {_plain(entry.name): entry for entry in folder.iterdir()}
        except (NotADirectoryError, FileNotFoundError):
            return None
        if wanted not in names or names[wanted].is_symlink():
            return None
        folder = names[wanted]
    return folder if folder.is_file() else None


def _plain(name: str) -> str:
    """Return the name without what ISO 9660 puts at its end (`;1`, `.`)."""
    return name.upper().partition(";")[0].rstrip(".")
