"""`fileroom deleted`, `hold`, `retention` and `sweep` as an operator runs them."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.archive.context import Place, open_archive
from app.archive.removal import delete
from app.cli.deleted import _ref
from app.cli.keeping import deleted, hold, retention
from app.cli.label import commands as label
from app.cli.label_rules import commands as label_rules
from app.cli.refusal import Refusal
from app.cli.ruling import describe
from app.dicom.uids import InstanceRef, NonPatientRef, SeriesRef, StudyRef
from app.errors import InvalidUID
from app.index.engine import connect
from app.index.retention_rules import Action, CountedFrom, Rule, Terms
from app.rights import Principal
from tests.factories import make_part10, new_uid

NOW = datetime.now(UTC)
GROUPS = {
    "deleted": deleted,
    "hold": hold,
    "label": label,
    "label rules": label_rules,
    "retention": retention,
}


def command(url: str, data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "FILEROOM" not in name}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments, "--data-dir", str(data_dir)],
        env={**kept, "FILEROOM_DATABASE__URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def delete_study(url: str, data_dir: Path, study: str) -> None:
    """Delete a Study as a caller of the server does."""
    place = Place(url, data_dir / "objects", data_dir / "cache")
    async with open_archive(place) as archive:
        await delete(archive, Principal("test"), StudyRef(study))


@pytest.fixture
def study(tmp_path: Path, database_url: str) -> str:
    """A Study in the archive."""
    uid = new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=uid))
    done = command(database_url, tmp_path / "data", "import", str(tmp_path / "one.dcm"))
    assert done.returncode == 0, done.stderr
    return uid


@pytest.mark.slow
def test_holds_are_added_listed_and_removed(tmp_path: Path, database_url: str, study: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(database_url, tmp_path / "data", "hold", *arguments)

    assert run("list").stdout == "no Study is under legal hold\n"
    held = run("add", study, "--reason", "case 17")
    assert held.stdout == f"Study {study} is under legal hold\n", held.stderr
    listed = run("list").stdout
    assert listed.startswith(f"{study}: since ")
    assert listed.endswith("by operator: case 17\n")
    assert run("remove", study).stdout == f"Study {study} is not under legal hold any more\n"
    assert run("remove", study).returncode == 1


@pytest.mark.slow
def test_rules_are_added_looked_at_activated_and_removed(
    tmp_path: Path, database_url: str, study: str
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(database_url, tmp_path / "data", "retention", *arguments)

    rule = ("add", "old CT", "--days", "100", "--modality", "CT", "--action")
    wrong = run(*rule, "burn")
    assert (wrong.returncode, "delete or keep" in wrong.stderr) == (1, True)
    assert run(*rule, "delete").stdout.startswith("1. old CT (draft): delete Studies of")
    previewed = run("preview", "1").stdout
    assert "would delete now: 0 Studies" in previewed  # it came just now
    assert "changed within the last 24 hours is not taken yet" in previewed
    assert "old CT (active)" in run("activate", "1").stdout
    assert "old CT (active)" in run("list").stdout
    assert "old CT (draft)" in run("deactivate", "1").stdout
    assert run("remove", "1").stdout == "There is no rule 1 any more\n"
    assert run("list").stdout == "there is no retention rule\n"


@pytest.mark.slow
def test_labels_are_added_listed_and_removed(tmp_path: Path, database_url: str, study: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(database_url, tmp_path / "data", "label", *arguments)

    assert run("list").stderr.endswith("no Study bears a label\n")
    added = run("add", study, "teaching")
    assert added.stdout == f"Study {study} bears the label teaching\n", added.stderr
    assert (
        run("add", study, "teaching").stdout == f"Study {study} bore already the label teaching\n"
    )
    assert run("list").stdout == "teaching: 1 Studies\n"
    assert run("list", "teaching").stdout == f"{study}\n"
    wrong = run("add", study, new_uid(), "No")
    assert (wrong.returncode, "lower-case" in wrong.stderr) == (1, True)
    assert run("add", study, new_uid(), "more").returncode == 1
    gone = run("remove", study, "teaching")
    assert gone.stdout == f"Study {study} does not bear the label teaching any more\n"
    assert run("remove", study, "teaching").stdout.endswith("did not bear the label teaching\n")
    assert run("list").stdout == "more: 1 Studies\n"


@pytest.mark.slow
def test_rules_for_labels_are_added_listed_and_removed(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "data").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(database_url, tmp_path / "data", "label", "rules", *arguments)

    assert run("list").stdout == "there is no rule for labels\n"
    added = run("add", "trial", "--institution", "Site 7", "--sender", "gateway")
    assert added.stdout == "1: trial where institution 'Site 7' and sender 'gateway'\n", (
        added.stderr
    )
    wrong = run("add", "trial")
    assert (wrong.returncode, "name one" in wrong.stderr) == (1, True)
    assert run("list").stdout == added.stdout
    assert run("remove", "1").stdout.startswith("rule 1 is gone")
    assert run("remove", "1").returncode == 1


@pytest.mark.slow
def test_what_is_deleted_is_listed_and_comes_back(
    tmp_path: Path, database_url: str, study: str
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(database_url, tmp_path / "data", "deleted", *arguments)

    assert "nothing is deleted" in run("list").stdout
    refused = run("restore", study)
    assert (refused.returncode, "A deleted Instance of" in refused.stderr) == (1, True)
    asyncio.run(delete_study(database_url, tmp_path / "data", study))
    listed = run("list").stdout
    assert listed.startswith(f"{study}: 1 Instances (0.0 MB), deleted ")
    assert ", until 20" in listed
    assert run("restore", study).stdout == "1 Instances are back\n"


@pytest.mark.slow
def test_what_no_row_names_is_shown_and_then_swept(
    tmp_path: Path, database_url: str, study: str
) -> None:
    stray = tmp_path / "data/objects/t/1/ab/cd/1.2/1.3" / f"1.4.{'0' * 26}.dcm"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    preview = command(database_url, tmp_path / "data", "sweep").stdout
    assert "1 objects that the index does not name (0.0 MB) would be swept" in preview
    assert stray.exists()
    assert "are swept" in command(database_url, tmp_path / "data", "sweep", "--yes").stdout
    assert not stray.exists()
    (left,) = (tmp_path / "data/objects").rglob("*.dcm")
    assert study in str(left)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_help_of_each_command_of_a_group_teaches_by_example(group: str) -> None:
    for entry in GROUPS[group].registered_commands:
        said = entry.callback.__doc__ or ""
        assert f"fileroom {group} {entry.name}" in said.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("what", "ref"),
    [
        ("1.2", StudyRef("1.2")),
        ("1.2/1.3", SeriesRef("1.2", "1.3")),
        ("1.2/1.3/1.4", InstanceRef("1.2", "1.3", "1.4")),
        ("inventories/1.5", NonPatientRef("inventories", "1.5")),
    ],
)
def test_what_comes_back_is_named_by_its_uids(what: str, ref: object) -> None:
    assert _ref(what) == ref


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("", InvalidUID),
        ("inventories", InvalidUID),
        ("inventories/x", InvalidUID),
        ("1.2/", InvalidUID),
        ("1/2/3/4", Refusal),
    ],
)
def test_what_names_nothing_is_refused(what: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        _ref(what)


@pytest.mark.parametrize(
    ("terms", "activated", "said"),
    [
        (
            Terms("all", Action.DELETE, 3650),
            None,
            "7. all (draft): delete Studies of any Series that are older than 3,650 days by Study"
            " Date",
        ),
        (
            Terms(
                "ct", Action.KEEP, 30, CountedFrom.STORED, ("CT", "SR"), ("A",), ("B",), ("x", "y")
            ),
            NOW,
            "7. ct (active): keep Studies labelled x or y of modality CT or SR and station A and"
            " institution B that are not yet 30 days since it was stored",
        ),
    ],
)
def test_a_rule_is_described_in_a_line(terms: Terms, activated: datetime | None, said: str) -> None:
    assert describe(Rule(7, terms, "me", NOW, activated)) == said


@pytest.mark.slow
@pytest.mark.parametrize(("days", "told"), [(0, False), (200, True)])
def test_a_purge_by_hand_says_how_far_the_clock_is_ahead(
    tmp_path: Path, database_url: str, study: str, days: int, told: bool
) -> None:
    asyncio.run(delete_study(database_url, tmp_path / "data", study))
    asyncio.run(_jump(database_url, days))
    done = command(database_url, tmp_path / "data", "purge", "--older-than", "0", "--yes")
    assert "1 deleted Instances of 1 Studies" in done.stdout
    assert ("The clock is 200.0 days ahead" in done.stderr) is told


async def _jump(url: str, days: int) -> None:
    connection = await connect(url)
    await connection.execute(
        "INSERT INTO upkeep (name, holder, held_until, done_at)"
        " VALUES ('clock', '', now(), now() - make_interval(days => $1))",
        days,
    )
    await connection.close()
