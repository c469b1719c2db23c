"""`fileroom index-tags` as an operator runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.tag_states import describe
from app.dicom.chosen_attributes import read_chosen
from app.index.attribute_values import Indexed, State
from tests.factories import make_part10, new_uid

RUN = "from app.cli.main import main; main()"


def fileroom(data_dir: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FILEROOM_")}
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments), "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_tags_are_indexed_listed_seen_by_the_doctor_and_removed(tmp_path: Path) -> None:
    data_dir, study = tmp_path / "data", new_uid()
    (tmp_path / "one.dcm").write_bytes(make_part10(StudyInstanceUID=study, SliceThickness=5))
    refused = fileroom(data_dir, "index-tags", "add", "SliceThickness")
    assert (refused.returncode, "There is no archive" in refused.stderr) == (1, True)
    assert fileroom(data_dir, "import", tmp_path / "one.dcm").returncode == 0
    wrong = fileroom(data_dir, "index-tags", "add", "SliceThickness", "PatientID")
    assert (wrong.returncode, "PatientID is in the index already" in wrong.stderr) == (1, True)
    assert "nothing beyond the columns" in fileroom(data_dir, "index-tags", "list").stdout
    added = fileroom(data_dir, "index-tags", "add", "00180050")
    assert (added.returncode, added.stdout) == (0, "SliceThickness is in the index\n"), added.stderr
    assert fileroom(data_dir, "index-tags", "list").stdout == added.stdout
    assert "beyond its columns: SliceThickness" in fileroom(data_dir, "doctor").stdout
    removed = fileroom(data_dir, "index-tags", "remove", "SliceThickness")
    assert removed.stdout == "SliceThickness is not in the index any more\n"
    again = fileroom(data_dir, "index-tags", "remove", "SliceThickness")
    assert (again.returncode, "SliceThickness not found" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.READY, "is in the index"),
        (State.FILLING, "filled to 25%; unless .* go on with: fileroom index-tags add '0009"),
        (State.LEAVING, "go on with: fileroom index-tags remove '0009"),
        (State.OUTDATED, "remove it, and add it again"),
    ],
)
def test_each_state_says_what_is_to_be_done(state: State, said: str) -> None:
    chosen = read_chosen("00090010=ACME&00091001")
    told = describe(Indexed(1, chosen, chosen.name, state, 25, 100))
    assert told.startswith(chosen.name)
    assert re.search(said, told)
