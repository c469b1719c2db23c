"""What cannot be meant is refused as a usage error, before an archive is looked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.joining import joined_index
from app.cli.main import application
from app.cli.refusal import Refusal
from app.cli.verifying import run_verify
from app.settings import Settings

FAR = "99999999999999999999"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retention", "preview", FAR], "less than or equal to"),
        (["retention", "activate", "2147483648"], "less than or equal to"),
        (["retention", "deactivate", FAR], "less than or equal to"),
        (["retention", "remove", FAR], "less than or equal to"),
        (["webhooks", "test", FAR], "less than or equal to"),
        (["webhooks", "enable", FAR], "less than or equal to"),
        (["webhooks", "remove", FAR], "less than or equal to"),
        (["jobs", "retry", "1", FAR], "less than or equal to"),
        (["jobs", "discard", FAR], "less than or equal to"),
        (["webhooks", "add", "https://ris.example", "--kinds", ""], "leave it out for all"),
        (["webhooks", "add", "https://ris.example", "--kinds", " , "], "leave it out for all"),
        (["verify", "--manifest", "day.json", "--repair"], "none of --since, --study, --repair"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        application,
        [*arguments, "--data-dir", str(tmp_path)],
        env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"},
    )
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--since", "2015-12-31", "--until", "2015-01-01"], "--since is after --until"),
        (["--since", "2015-12-31"], "give --since and --until, or Study Instance UIDs"),
        ([], "give --since and --until, or Study Instance UIDs"),
    ],
)
def test_a_fetch_of_nothing_is_a_usage_error(asked: list[str], said: str) -> None:
    done = CliRunner().invoke(
        application,
        ["fetch", "--from", "OLD@127.0.0.1:104", *asked],
        env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"},
    )
    assert done.exit_code == 2, done.output
    assert said in done.output


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday"]
)
def test_a_moment_that_is_none_is_refused(since: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="--since takes a date or a time"):
        run_verify(Settings(data_dir=tmp_path), since, None, None, None)


def test_a_disk_that_is_full_is_not_laid_on_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with (
        pytest.raises(Refusal, match=r"No space left on device\. Make room there\."),
        joined_index(Settings(data_dir=tmp_path), "a test"),
    ):
        pass
