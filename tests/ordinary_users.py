"""For tests in which root gives something to other users."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for other users")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter; pytest keeps its own ones to root."""
    with tempfile.TemporaryDirectory(prefix="fileroom-test-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def is_known(name: str) -> bool:
    """Say whether this system has a user of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
