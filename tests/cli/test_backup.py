"""`fileroom backup`, `restore` and `drill` as an operator runs them, beside a server."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest
from pyrage import x25519

from tests.factories import make_part10, new_uid
from tests.live_server import FILEROOM, LiveServer, clean_environment, serve

pytestmark = pytest.mark.slow
DICOM = {"Content-Type": "application/dicom"}


def fileroom(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [FILEROOM, *map(str, arguments)],
        capture_output=True,
        env=clean_environment(),
        timeout=120,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, said
    return said


def stored(server: LiveServer, study: str, count: int) -> None:
    for _ in range(count):
        body = make_part10(StudyInstanceUID=study)
        answer = httpx.post(f"{server.dicomweb}/studies", content=body, headers=DICOM)
        assert answer.status_code == 200


def test_an_archive_is_backed_up_rehearsed_and_restored(tmp_path: Path) -> None:
    key, place, study = x25519.Identity.generate(), tmp_path / "place", new_uid()
    (tmp_path / "key").write_text(f"{key}\n")
    there: list[str | Path] = ["--key", tmp_path / "key"]
    with serve(tmp_path) as server:
        here: list[str | Path] = ["--data-dir", server.data_dir]
        stored(server, study, 3)
        assert "no backup yet, no drill yet" in fileroom("doctor", *here)
        said = fileroom("backup", place, "--encrypt-to", str(key.to_public()), *here)
        assert re.search(r"[3-6] copied", said)  # with segments of the log
        stored(server, study, 1)
        said = fileroom("drill", place, *there, *here)
        assert re.search(r"[3-6] copied", said)
        assert re.search(r"RPO: it is [0-9]+ s old, and 1 changes came after it", said)
        assert re.search(r"RTO: it was restored and checked in [0-9.]+ s", said)
        assert not list(server.data_dir.glob("fileroom-drill-*"))
        said = fileroom("doctor", *here)
        assert re.search(r"backup of 0.0 days ago, drill of 0.0 days ago", said)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert re.search(r"^fileroom_backup_age_seconds [0-9.]+$", metrics, re.M)
        assert re.search(r"^fileroom_drill_age_seconds [0-9.]+$", metrics, re.M)
        before = httpx.get(f"{server.dicomweb}/studies/{study}/metadata").json()
        refused = fileroom("restore", place, *there, *here, code=1)
        assert "There is an archive in" in refused
    other = tmp_path / "other"
    other.mkdir()
    said = fileroom("restore", place, *there, "--data-dir", other / "data")
    assert re.search(r"[3-6] copied", said)
    with serve(other) as server:
        after = httpx.get(f"{server.dicomweb}/studies/{study}/metadata").json()
        uids = [one["00080018"]["Value"][0] for one in after]
        assert len(uids) == 3
        known = {one["00080018"]["Value"][0]: one for one in before}
        assert [strip(one) for one in after] == [strip(known[uid]) for uid in uids]
        stored(server, study, 1)
    assert "5 whole" not in fileroom("verify", "--data-dir", other / "data")


def test_what_a_drill_finds_damaged_the_next_backup_puts_anew(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with serve(tmp_path) as server:
        here: list[str | Path] = ["--data-dir", server.data_dir]
        stored(server, new_uid(), 2)
        fileroom("backup", place, *here)
        victim = next((place / "objects" / "t").rglob("*.dcm"))
        victim.chmod(0o600)
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
        said = fileroom("drill", place, *here, code=3)
        assert "The next `fileroom backup` puts anew" in said
        assert f"1 objects damaged in {place}" in fileroom("doctor", *here)
        said = fileroom("backup", place, *here)
        assert "1 put anew" in said
        assert f"put anew: {victim.relative_to(place / 'objects')}: " in said
        assert "damaged" not in fileroom("doctor", *here)
        fileroom("drill", place, *here)
        assert "anew" not in fileroom("backup", place, *here)


def strip(document: dict[str, object]) -> dict[str, object]:
    """Return it without what names the server."""
    return {tag: one for tag, one in document.items() if "http://" not in str(one)}


def test_half_an_archive_is_not_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "restoring").touch()
    for command in (["serve", "--port", "0"], ["import", "."]):
        assert "fileroom restore" in fileroom(*command, "--data-dir", data, code=1)


def test_half_an_index_is_made_anew_not_restored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "objects").mkdir(parents=True)
    (data / "postgres").mkdir()
    (data / "rebuilding").touch()  # as a `rebuild` that was killed leaves it
    for command in (["serve", "--port", "0"], ["verify"], ["worker"]):
        said = fileroom(*command, "--data-dir", data, code=1)
        assert "run `fileroom rebuild` again" in said
        assert "restore" not in said
    fileroom("rebuild", "--data-dir", data)
    assert not (data / "rebuilding").exists()
    assert "nothing to verify" in fileroom("verify", "--data-dir", data)


def test_a_place_is_named_or_set(tmp_path: Path) -> None:
    said = fileroom("restore", "--data-dir", tmp_path / "data", code=1)
    assert "FILEROOM_BACKUP__URL" in said
