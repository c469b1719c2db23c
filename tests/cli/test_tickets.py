"""`fileroom tickets` as an operator runs it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from app.archive import tickets
from app.errors import InvalidRequest, NotFound
from tests.cli.test_keys import run as run  # noqa: PLC0414 - a fixture
from tests.factories import make_part10, new_uid

TICKET = re.compile(r"frt_[A-Za-z0-9_-]{43}\n")
Run = Callable[..., Result]


@pytest.fixture
def study(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Study in this test's archive."""
    monkeypatch.setattr(tickets, "LEASE_SECONDS", 0)
    uid = new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=uid))
    run("import", str(tmp_path / "one.dcm"))
    return uid


def test_a_ticket_is_printed_once_listed_and_revoked(run: Run, study: str) -> None:
    assert run("tickets", "list").stdout == "there are no tickets\n"
    made = run("tickets", "create", study, "--minutes", "60", "--verb", "search", "--verb", "view")
    assert TICKET.fullmatch(made.stdout)
    listed = run("tickets", "list").stdout
    match = re.match(rf"(\d+): search, view of {re.escape(study)}, by \S+, until 2", listed)
    assert match
    assert listed.strip() in made.stderr
    assert made.stdout.strip() not in listed
    assert "opens nothing" in run("tickets", "revoke", match[1]).stdout
    assert run("tickets", "list").stdout == "there are no tickets\n"
    with pytest.raises(NotFound):
        run("tickets", "revoke", match[1])


def test_what_cannot_be_given_is_refused(run: Run, study: str) -> None:
    with pytest.raises(NotFound):
        run("tickets", "create", new_uid())
    with pytest.raises(InvalidRequest, match="download, search, view"):
        run("tickets", "create", study, "--verb", "delete")
    run("tickets", "create", study, "--minutes", "481", code=2)
