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
from app.cli.refusal import Refusal
from app.cli.ruling import describe
from app.dicom.uids import InstanceRef, NonPatientRef, SeriesRef, StudyRef
from app.errors import InvalidUID
from app.index.retention_rules import Action, CountedFrom, Rule, Terms
from app.rights import Principal
from tests.cli.test_index_tags import fileroom
from tests.factories import make_part10, new_uid

NOW = datetime.now(UTC)
GROUPS = {"deleted": deleted, "hold": hold, "retention": retention}


@pytest.mark.slow
def test_what_is_deleted_held_ruled_and_swept_is_told(tmp_path: Path) -> None:
    data_dir, study = tmp_path / "data", new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=study))
    refused = fileroom(data_dir, "hold", "list")
    assert (refused.returncode, "There is no archive" in refused.stderr) == (1, True)
    assert fileroom(data_dir, "import", tmp_path / "one.dcm").returncode == 0

    assert "no Study is under legal hold" in fileroom(data_dir, "hold", "list").stdout
    held = fileroom(data_dir, "hold", "add", study, "--reason", "case 17")
    assert held.stdout == f"Study {study} is under legal hold\n", held.stderr
    listed = fileroom(data_dir, "hold", "list").stdout
    assert listed.startswith(f"{study}: since ")
    assert listed.endswith("by operator: case 17\n")
    assert "any more" in fileroom(data_dir, "hold", "remove", study).stdout
    assert fileroom(data_dir, "hold", "remove", study).returncode == 1

    rule = ["retention", "add", "old CT", "--days", "100", "--modality", "CT", "--action"]
    wrong = fileroom(data_dir, *rule, "burn")
    assert (wrong.returncode, "delete or keep" in wrong.stderr) == (1, True)
    assert "1. old CT (draft): delete" in fileroom(data_dir, *rule, "delete").stdout
    preview = fileroom(data_dir, "retention", "preview", "1").stdout
    assert "would delete now: 0 Studies" in preview  # it came just now
    assert "old CT (active)" in fileroom(data_dir, "retention", "activate", "1").stdout
    assert "old CT (active)" in fileroom(data_dir, "retention", "list").stdout
    assert fileroom(data_dir, "retention", "remove", "1").returncode == 0
    assert "there is no retention rule" in fileroom(data_dir, "retention", "list").stdout

    assert "nothing is deleted" in fileroom(data_dir, "deleted", "list").stdout
    back = fileroom(data_dir, "deleted", "restore", study)
    assert (back.returncode, "A deleted Instance of" in back.stderr) == (1, True)
    stray = data_dir / "objects" / "t/1/ab/cd/1.2/1.3" / f"1.4.{'0' * 26}.dcm"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    preview = fileroom(data_dir, "sweep").stdout
    assert "1 objects that the index does not name (0.0 MB) would be swept" in preview
    assert stray.exists()
    assert "are swept" in fileroom(data_dir, "sweep", "--yes").stdout
    assert not stray.exists()


async def delete_study(url: str, tmp_path: Path, study: str) -> None:
    """Delete a Study as a caller of the server does."""
    place = Place(url, tmp_path / "d/objects", tmp_path / "cache")
    async with open_archive(place) as archive:
        await delete(archive, Principal("test"), StudyRef(study))


@pytest.mark.slow
def test_what_is_deleted_is_listed_and_comes_back(tmp_path: Path, database_url: str) -> None:
    study = new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=study))
    kept = {name: value for name, value in os.environ.items() if "FILEROOM" not in name}
    environment = {**kept, "FILEROOM_DATABASE__URL": database_url}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "app.cli", *arguments, "--data-dir", str(tmp_path / "d")]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    run("import", str(tmp_path / "one.dcm"))
    asyncio.run(delete_study(database_url, tmp_path, study))
    listed = run("deleted", "list")
    assert listed.startswith(f"{study}: 1 Instances (0.0 MB), deleted ")
    assert ", until 20" in listed
    assert run("deleted", "restore", study) == "1 Instances are back\n"
    assert "nothing is deleted" in run("deleted", "list")


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
            Terms("ct", Action.KEEP, 30, CountedFrom.STORED, ("CT", "SR"), ("A",), ("B",)),
            NOW,
            "7. ct (active): keep Studies of modality CT or SR and station A and institution B that"
            " are not yet 30 days since it was stored",
        ),
    ],
)
def test_a_rule_is_described_in_a_line(terms: Terms, activated: datetime | None, said: str) -> None:
    assert describe(Rule(7, terms, "me", NOW, activated)) == said
