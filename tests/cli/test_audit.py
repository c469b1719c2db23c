"""`fileroom audit` as an auditor meets it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.auditing import run_export, run_list, run_verify, run_who_saw
from app.cli.exporting import run_export as export_studies
from app.cli.importing import run_import
from app.cli.main import application
from app.cli.refusal import Refusal
from app.errors import InvalidRequest, InvalidUID
from app.index.audit_log import Wanted
from app.settings import Settings
from tests.factories import make_part10, new_uid

NEVER = ("", "")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data").with_database(database_url)


@pytest.fixture
def study(settings: Settings, tmp_path: Path) -> str:
    """A Study that was imported and exported."""
    uid = new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=uid))
    assert run_import(settings, [str(tmp_path / "one.dcm")], None, 1) == 0
    assert export_studies(settings, [uid], tmp_path / "out") == 0
    return uid


def test_who_saw_a_study_is_printed_and_who_asked_is_noted(
    settings: Settings, study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run_who_saw(settings, study, NEVER, as_json=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"exported  study={study}" in line
    run_list(settings, Wanted(kinds=("audit-used",)), NEVER, as_json=True)
    used = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [one.get("study") for one in used] == [study, None]
    run_who_saw(settings, "1.2.3", NEVER, as_json=False)
    assert capsys.readouterr().out == ""


def test_the_list_has_reads_and_writes(
    settings: Settings, study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run_list(settings, Wanted(study=study), NEVER, as_json=True)
    found = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    actions = [one["action"] for one in found]
    assert actions[:2] == ["accepted", "exported"]
    assert found[0]["instances"] == 1
    run_list(settings, Wanted(study=study), ("2120-01-01", ""), as_json=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no entries" in shown.err


def test_a_time_is_exported_as_lines_and_no_file_is_written_over(
    settings: Settings, study: str, tmp_path: Path
) -> None:
    to = tmp_path / "trail.jsonl"
    run_export(settings, to, ("2020-01-01", "2120-01-01T00:00+02:00"))
    entries = [json.loads(line) for line in to.read_text().splitlines()]
    assert {"accepted", "exported", "audit-used"} == {one["action"] for one in entries}
    with pytest.raises(Refusal, match="cannot be written"):
        run_export(settings, to, NEVER)


def test_the_trail_is_verified(
    settings: Settings, study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verify(settings) == 0
    assert "nothing to verify" in capsys.readouterr().out


def test_what_is_no_time_uid_or_action_is_refused(settings: Settings, study: str) -> None:
    with pytest.raises(Refusal, match="is no time"):
        run_list(settings, Wanted(), ("yesterday", ""), as_json=False)
    with pytest.raises(InvalidUID):
        run_who_saw(settings, "x", NEVER, as_json=False)
    with pytest.raises(InvalidRequest, match="viewed"):
        run_list(settings, Wanted(kinds=("Seen!",)), NEVER, as_json=False)


def test_the_commands_take_what_their_help_says(
    study: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    monkeypatch.setenv("FILEROOM_DATA_DIR", str(tmp_path / "data"))
    lines = tmp_path / "lines"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(application, ["audit", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert f"exported  study={study}" in run("who-saw", study, "--from", "2020-01-01")
    listed = run("list", "--action", "accepted", "--study", study, "--to", "2120-01-01", "--json")
    assert '"action":"accepted"' in listed
    assert "operator  audit-used" in run("list", "--principal", "operator")
    assert "entries in" in run("export", str(lines), "--from", "2020-01-01")
    assert lines.read_text().count("\n") >= 4
    assert "nothing to verify" in run("verify")


def test_an_export_that_fails_leaves_no_file(
    settings: Settings, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.cli.auditing.with_archive", fail)
    with pytest.raises(ZeroDivisionError):
        run_export(settings, tmp_path / "half.jsonl", NEVER)
    assert not (tmp_path / "half.jsonl").exists()
