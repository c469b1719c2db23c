"""Which major version of PostgreSQL made the clusters of a directory.

A cluster is read and written by one major version alone. So where another one made the index it is
not touched, and no empty one is put beside it: `fileroom upgrade` carries it over.
"""

import os
from pathlib import Path

from app.index.account import EmbeddedError


class OtherVersion(EmbeddedError):
    """The index was made by another major version of PostgreSQL than the one that is installed."""

    def __init__(self, directory: Path, found: str, ours: str) -> None:
        self.found = (
            f"The index in {directory} was made by PostgreSQL {found}, and this installation "
            f"carries PostgreSQL {ours}. Nothing was changed."
        )
        self.mend = (
            f"`fileroom upgrade` carries it over with the programs of PostgreSQL {found} "
            "(docs/upgrading.md)."
            if _number(found) < _number(ours)
            else "An index is not carried back: install a Fileroom that carries PostgreSQL "
            f"{found} or later."
        )
        super().__init__(f"{self.found} {self.mend}")


def majors(directory: Path) -> list[int]:
    """Return the major versions that have their cluster in a directory, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(int(place.name) for place in directory.iterdir() if place.name.isdecimal())


def check_version(cluster: Path) -> None:
    """Look whether a cluster may be opened at this place, or made there.

    Raises:
        OtherVersion: another version made it; or it is not there, or old, beside one that counts.
    """
    found = str(max(majors(cluster.parent), default=cluster.name))
    if cluster.is_dir() and found == cluster.name:
        found = (cluster / "PG_VERSION").read_text().strip()
    if found != cluster.name:
        raise OtherVersion(cluster.parent, found, cluster.name)


def switch_over(fresh: Path, former: Path) -> Path:
    """Put a cluster that is whole in its place, then the former one aside; return where that is.

    Neither runs. A death between the two leaves both, and then the fresh one counts.
    """
    place = former.parent / fresh.name
    fresh.rename(place)
    sync_directory(place.parent)
    return put_aside(former)


def put_aside(former: Path) -> Path:
    """Give a cluster that is no longer used a name under which nobody opens it; return that."""
    names = (f"{former.name}.former{number or ''}" for number in range(1000))
    aside = next(place for place in map(former.with_name, names) if not place.exists())
    former.rename(aside)
    sync_directory(aside.parent)
    return aside


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
