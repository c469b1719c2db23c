"""Whom PostgreSQL runs as."""

import os
import pwd
from pathlib import Path

import pytest

from app.index.account import CANDIDATES, Account, EmbeddedError, choose_account, user_name
from tests.ordinary_users import as_root, is_known


def test_an_ordinary_user_is_oneself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid, foreign=False)
    assert choose_account(tmp_path) == account


@as_root
def test_root_lends_the_owner_of_the_data(tmp_path: Path) -> None:
    owner = pwd.getpwnam("nobody")
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, owner.pw_uid, owner.pw_gid)
    assert choose_account(data / "postgres" / "18") == Account(
        "nobody", owner.pw_uid, owner.pw_gid, foreign=True
    )


@as_root
def test_a_user_without_a_name_is_told_what_to_do(tmp_path: Path) -> None:
    nameless = 2_000_000_123
    os.chown(tmp_path, nameless, nameless)
    with pytest.raises(EmbeddedError, match=f"user id {nameless} has no name"):
        choose_account(tmp_path)


@as_root
def test_a_candidate_for_lending_is_known_here() -> None:
    assert any(is_known(name) for name in CANDIDATES)


@as_root
def test_without_a_candidate_root_is_told_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.account.CANDIDATES", ("no-such-user",))
    with pytest.raises(EmbeddedError, match="useradd --system fileroom"):
        choose_account(tmp_path)


@pytest.mark.parametrize(
    ("mode", "as_owner", "as_group", "as_other"),
    [
        (0o700, True, False, False),
        (0o750, True, True, False),
        (0o755, True, True, True),
        (0o055, False, True, True),
        (0o711, True, False, False),
    ],
)
def test_modes_decide_who_may_enter(
    tmp_path: Path, mode: int, as_owner: bool, as_group: bool, as_other: bool
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    me, group = place.stat().st_uid, place.stat().st_gid
    who = ((me, group + 1), (me + 1, group), (me + 1, group + 1))
    for (uid, gid), expected in zip(who, (as_owner, as_group, as_other), strict=True):
        assert Account("a", uid, gid, foreign=True)._may(place, 0o4) is expected


def test_what_is_not_there_cannot_be_entered(tmp_path: Path) -> None:
    assert not Account("a", 1, 1, foreign=True).may_enter(tmp_path / "no" / "place")


def test_a_user_without_a_name_is_shown_as_a_number() -> None:
    assert user_name(2_000_000_123) == "2000000123"
