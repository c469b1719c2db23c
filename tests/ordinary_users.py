"""For tests in which root gives something to other users."""

import os
import pwd
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for other users")


def open_for_all(place: Path) -> None:
    """Let every user walk down to a directory that pytest made for us alone."""
    for directory in (place, *place.parents):
        if directory.stat().st_mode & 0o011 == 0:
            directory.chmod(directory.stat().st_mode | 0o055)


def is_known(name: str) -> bool:
    """Say whether this system has a user of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
