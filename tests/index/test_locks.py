"""Locks that end with their holder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.index.locks import FileLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_one_holds_it_and_is_named(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.holder() is None
    assert first.acquire("a test")
    assert first.acquire("a test"), "taking it twice is no error"
    assert not second.acquire()
    assert second.holder() == (os.getpid(), "a test")
    first.release()
    assert second.holder() is None
    assert second.acquire()
    second.release()


def test_some_share_it_or_one_has_it_alone(path: Path) -> None:
    one, other, alone = FileLock(path), FileLock(path), FileLock(path)
    with one, other, alone:
        assert one.share()
        assert other.share()
        assert not alone.acquire()
        one.release()
        other.release()
        assert alone.acquire()
        assert not one.share()


def test_a_killed_holder_lets_go(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from app.index.locks import FileLock; "
        "lock = FileLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout
        assert child.stdout.readline() == b"True\n"
        with FileLock(path) as ours:
            assert not ours.acquire()
            child.kill()
            child.wait()
            assert ours.acquire()


def test_a_child_that_inherits_it_keeps_it(path: Path) -> None:
    lock = FileLock(path)
    assert lock.acquire()
    child = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),))
    lock.release()
    assert not lock.acquire()
    child.kill()
    child.wait()
    assert lock.acquire()
    lock.release()


def test_a_lock_that_is_not_held_has_no_descriptor(path: Path) -> None:
    with pytest.raises(RuntimeError, match="lock is not held"):
        FileLock(path).fileno()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(path).acquire()
