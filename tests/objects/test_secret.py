"""The archive's secrets: made once, the same for all that share its objects."""

from pathlib import Path

import pytest

from app.errors import Unavailable
from app.objects.secret import load_secret


def test_a_secret_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    secret = load_secret(tmp_path, "one")
    assert len(secret) == 32
    assert load_secret(tmp_path, "one") == secret != load_secret(tmp_path, "two")
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == {"one", "two"}
    assert all(path.stat().st_mode & 0o77 == 0 for path in (tmp_path / "secrets").iterdir())


def test_of_two_that_make_it_at_once_both_get_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_secret(tmp_path, "one")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert load_secret(tmp_path, "one") == first
    assert len(list((tmp_path / "secrets").iterdir())) == 1


def test_a_damaged_secret_is_not_replaced(tmp_path: Path) -> None:
    load_secret(tmp_path, "one")
    (tmp_path / "secrets" / "one").write_bytes(b"short")
    with pytest.raises(Unavailable):
        load_secret(tmp_path, "one")


def test_a_directory_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    with pytest.raises(Unavailable):
        load_secret(tmp_path, "one")
