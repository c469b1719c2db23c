"""Under which account PostgreSQL runs: it refuses root, so root has to lend it another."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

CANDIDATES = ("fileroom", "postgres", "nobody")


class EmbeddedError(RuntimeError):
    """Our own PostgreSQL cannot be run; the message tells an operator why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system. `foreign`: it is not the one that we run as."""

    name: str
    uid: int
    gid: int
    foreign: bool

    def may_enter(self, path: Path) -> bool:
        """Say whether this account may walk down to `path` and read it (by modes, not by ACLs)."""
        return all(self._may(place, 0o1) for place in path.parents) and self._may(path, 0o4)

    def _may(self, path: Path, bit: int) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_uid == self.uid:
            return bool(status.st_mode & bit << 6)
        return bool(status.st_mode & (bit << 3 if status.st_gid == self.gid else bit))


def choose_account(owned: Path) -> Account:
    """Return the account for a cluster at `owned`, or in the nearest directory above that exists.

    As an ordinary user that is oneself. As root it is whom the directory belongs to, and where
    that is root as well the first of `CANDIDATES` that this system knows.

    Raises:
        EmbeddedError: the account has no name, which `peer` authentication needs.
    """
    me = os.geteuid()
    if me != 0:
        return _account(me, foreign=False)
    owner = _owner(owned)
    if owner != 0:
        return _account(owner, foreign=True)
    for name in CANDIDATES:
        try:
            return _account(pwd.getpwnam(name).pw_uid, foreign=True)
        except KeyError:
            continue
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this system has none of the users "
        f"{', '.join(CANDIDATES)}. Make one with `useradd --system fileroom`."
    )


def _owner(path: Path) -> int:
    existing = next(place for place in (path, *path.parents) if place.exists())
    return existing.stat().st_uid


def _account(uid: int, *, foreign: bool) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedError(
            f"The user id {uid} has no name on this system, and PostgreSQL needs one. Add it to "
            "/etc/passwd, or set FILEROOM_DATABASE__URL to a PostgreSQL of your own."
        ) from None
    return Account(entry.pw_name, uid, entry.pw_gid, foreign)


def user_name(uid: int) -> str:
    """Return a user's name for a message, the number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
