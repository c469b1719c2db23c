"""`fileroom rebuild` as an operator runs it, after the index is lost."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.archive.test_backup import spoil
from tests.cli.test_backup import fileroom, stored
from tests.factories import new_uid
from tests.live_server import serve

pytestmark = pytest.mark.slow


def test_the_index_is_made_again_from_the_objects(tmp_path: Path) -> None:
    kept, deleted = new_uid(), new_uid()
    with serve(tmp_path) as server:
        for study in (kept, deleted):
            stored(server, study, 3)
        gone = httpx.delete(f"{server.dicomweb}/studies/{deleted}")
        assert gone.status_code == 204
        before = httpx.get(f"{server.dicomweb}/studies/{kept}/metadata").json()
        here: list[str | Path] = ["--data-dir", server.data_dir]
    assert "There is an index" in fileroom("rebuild", *here, code=1)
    shutil.rmtree(server.data_dir / "postgres")
    said = fileroom("rebuild", *here, "--report", tmp_path / "report.json")
    assert "3 live, 3 removed" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["live"], report["removed"], report["listed"]) == (3, 3, [])
    with serve(tmp_path) as server:
        after = httpx.get(f"{server.dicomweb}/studies/{kept}/metadata").json()
        assert len(after) == len(before) == 3
        assert httpx.get(f"{server.dicomweb}/studies/{deleted}").status_code == 410
        back = httpx.post(f"{server.dicomweb}/studies/{deleted}/restore")
        assert back.json()["restored"] == 3
    assert "6 whole" in fileroom("verify", *here)


def test_what_is_labelled_stays_so_and_what_is_lost_is_told_by_every_command(
    tmp_path: Path,
) -> None:
    study, other = new_uid(), new_uid()
    with serve(tmp_path) as server:
        for uid in (study, other):
            stored(server, uid, 2)
        put = httpx.put(f"{server.url}/api/v1/studies/{study}/labels/teaching")
        assert put.status_code == 201
        here: list[str | Path] = ["--data-dir", server.data_dir]
    shutil.rmtree(server.data_dir / "postgres")
    (victim, *_) = (path for path in server.data_dir.rglob("*.dcm") if study in str(path))
    spoil(victim)
    assert "3 live, 1 lost" in fileroom("rebuild", *here, code=3)
    assert "3 whole, 1 lost" in fileroom("verify", *here, code=3)
    assert "objects that are lost: 1 lost" in fileroom("doctor", *here, code=1)
    assert study in fileroom("label", "list", "teaching", *here)
    assert "bears the label teaching" in fileroom("label", "add", other, "teaching", *here)
    assert "teaching: 2 Studies" in fileroom("label", "list", *here)


def test_without_objects_there_is_nothing_to_make_it_from(tmp_path: Path) -> None:
    said = fileroom("rebuild", "--data-dir", tmp_path / "data", code=1)
    assert "There are no objects" in said
