"""`fileroom users` as an operator runs it."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.archive import local_users
from app.cli.refusal import Refusal
from app.errors import InvalidRequest, NotFound
from app.setting_groups import SettingsError
from tests.cli.test_keys import Run, run

__all__ = ["run"]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_users, "LEASE_SECONDS", 0)


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Let a person at a terminal type this."""
    waiting: Iterator[str] = iter(words)

    def asked(_prompt: str) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(getpass, "getpass", asked)


def test_a_user_is_added_listed_disabled_and_let_in_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, PASSWORD, PASSWORD)
    added = run("users", "add", "meier", "--role", "viewer", "--label", "a").stdout
    assert "meier may search, view, download (viewer); sees studies that bear a" in added
    assert "set FILEROOM_AUTH__BASIC=true" in added
    assert run("users", "list").stdout == "meier: viewer; studies that bear a\n"
    assert run("users", "disable", "meier").stdout == "meier is let in no more\n"
    assert run("users", "list").stdout.endswith("; disabled\n")
    assert run("users", "enable", "meier").stdout == "meier is let in again\n"
    typed(monkeypatch, "another horse battery", "another horse battery")
    assert run("users", "passwd", "meier").stdout == "meier has another password\n"


def test_a_user_gets_other_rights_and_is_removed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    file = ("--password-file", "password")
    run("users", "add", "meier", "--role", "viewer", "--label", "a", *file)
    more = ("--role", "viewer", "--role", "uploader")
    assert run("users", "change", "meier", *more).stdout == (
        "meier may search, view, download, store (viewer, uploader); sees studies that bear a\n"
    )
    run("users", "change", "meier", "--label", "c", "--label", "b")
    assert run("users", "list").stdout == "meier: viewer, uploader; studies that bear b or c\n"
    assert run("users", "change", "meier", "--all-studies").stdout.endswith("sees all studies\n")
    assert run("users", "remove", "meier").stdout == "meier is no user any more\n"
    assert run("users", "list").stdout == "there are no users\n"
    for again in (("remove", "meier"), ("change", "meier", "--role", "viewer")):
        with pytest.raises(NotFound):
            run("users", *again)
    run("users", "add", "meier", "--role", "viewer", *file)
    assert run("users", "list").stdout == "meier: viewer; all studies\n"


def test_a_change_that_is_none_or_two_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    run("users", "add", "meier", "--role", "viewer", "--password-file", "password")
    assert "--all-studies" in run("users", "change", "meier", code=2).stderr
    both = ("--label", "a", "--all-studies")
    assert "not both" in run("users", "change", "meier", *both, code=2).stderr
    with pytest.raises(InvalidRequest, match="no role"):
        run("users", "change", "meier", "--role", "god")
    assert run("users", "list").stdout == "meier: viewer; all studies\n"


def test_a_password_may_stand_in_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_AUTH__BASIC", "true")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    assert run("users", "list").stdout == "there are no users\n"
    file = ("--password-file", "password")
    added = run("users", "add", "meier", "--role", "administrator", *file).stdout
    assert "(administrator); sees all studies" in added
    assert "set FILEROOM" not in added
    with pytest.raises(SettingsError, match="--password-file"):
        run("users", "passwd", "meier", "--password-file", "nowhere")


def test_what_is_typed_badly_changes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, PASSWORD, "correct house battery")
    with pytest.raises(Refusal, match="not alike"):
        run("users", "add", "meier", "--role", "viewer")
    typed(monkeypatch)
    with pytest.raises(Refusal, match="give --password-file"):
        run("users", "add", "meier", "--role", "viewer")
    typed(monkeypatch, "short", "short")
    with pytest.raises(InvalidRequest, match="12 to 1024"):
        run("users", "add", "meier", "--role", "viewer")
    run("users", "add", "meier", code=2)
    assert run("users", "list").stdout == "there are no users\n"
