"""Archives as an older PostgreSQL made them, for tests of how they are carried over."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.index.account import choose_account
from app.index.binaries import major_version
from app.index.former import READ_ONLY, FormerPostgres, find_programs
from app.index.orphans import signal_all

_INSTALLED = (
    place.parent.parent.name for place in Path("/usr/lib/postgresql").glob("*/bin/initdb")
)
MAJOR = max((int(name) for name in _INSTALLED if int(name) < int(major_version())), default=0)
"""The newest older version that this machine has, 0 where there is none."""
needs_former = pytest.mark.skipif(
    not MAJOR, reason="an older PostgreSQL (package `postgresql`) is not installed"
)


def make_former(directory: Path) -> FormerPostgres:
    """Make an empty cluster of the older version, as we would have made it then, to be written."""
    postgres = FormerPostgres(directory, MAJOR, find_programs(MAJOR, None))
    postgres.settings = {**postgres.settings, **dict.fromkeys(READ_ONLY, "off")}
    account = choose_account(postgres.cluster)
    directory.mkdir(parents=True)
    postgres.cluster.mkdir(mode=0o700)
    directory.chmod(0o755 if account.foreign else 0o700)
    os.chown(postgres.cluster, account.uid, account.gid)
    initdb = find_programs(MAJOR, None) / "bin" / "initdb"
    flags = (
        "--username=fileroom",
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--auth-local=peer",
        "--auth-host=reject",
    )
    done = subprocess.run(
        [initdb, "--pgdata=/proc/self/cwd", *flags],
        cwd=postgres.cluster,
        user=account.uid if account.foreign else None,
        group=account.gid if account.foreign else None,
        extra_groups=[] if account.foreign else None,
        check=False,
        capture_output=True,
    )
    assert not done.returncode, done.stderr.decode()
    with (postgres.cluster / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude 'fileroom.conf'\n")
    return postgres


@contextmanager
def killed_at_the_end(postgres: FormerPostgres) -> Iterator[FormerPostgres]:
    """Run it, and end it as a power cut does."""
    postgres.start(note="a test")
    try:
        postgres.ensure_database()
        yield postgres
    finally:
        signal_all(postgres.cluster, signal.SIGKILL)
        postgres.stop()
