"""A migration by C-MOVE: an old PACS sends to a bridge of ours, and nothing else is believed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from tests.bridges import RunningBridge, bridge_to, data_set_of
from tests.factories import make_dataset, make_series
from tests.live_server import FILEROOM, LiveServer, clean_environment
from tests.old_pacs import OldPacs, old_pacs

DAY, NEXT_DAY = "19990302", "19990303"


@pytest.fixture(scope="module")
def old(bridge: RunningBridge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldPacs]:
    """An old PACS that knows our bridge."""
    with old_pacs(tmp_path_factory.mktemp("old"), {"FILEROOM": bridge.port}) as running:
        yield running


def fetch(archive: LiveServer, old: OldPacs, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `fileroom fetch` from the old PACS."""
    source = f"OLDPACS@127.0.0.1:{old.port}"
    return subprocess.run(
        [FILEROOM, "fetch", "--from", source, "--archive-url", archive.url, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def held(archive: LiveServer, study: str) -> int:
    """Return how many Instances of a Study the archive has."""
    found = httpx.get(f"{archive.dicomweb}/studies/{study}/instances")
    return len(found.json()) if found.status_code == 200 else 0


def two_series(count: int) -> list[Dataset]:
    """Return a Study with two Series, each of as many Instances."""
    series = make_series(count)
    study = {"StudyInstanceUID": series[0].StudyInstanceUID, "PatientID": series[0].PatientID}
    return [*series, *make_series(count, **study)]


def words(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command has said, in one line."""
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.slow
def test_studies_of_a_date_range_arrive_whole_and_once(archive: LiveServer, old: OldPacs) -> None:
    studies = [
        make_series(3, StudyDate=DAY),
        [make_dataset(StudyDate=DAY, Modality="MR")],
        make_series(2, StudyDate=NEXT_DAY),
    ]
    old.fill(*(one for study in studies for one in study))
    asked = ("--since", DAY, "--until", NEXT_DAY, "--move-to", "FILEROOM", "--rate", "1000")
    done = fetch(archive, old, *asked)
    assert done.returncode == 0, done.stderr
    assert "3 studies, 6 instances: 6 fetched, 0 there already, 0 missing" in done.stdout
    for dataset in (one for study in studies for one in study):
        stored = archive.stored_object(dataset.SOPInstanceUID)
        assert data_set_of(stored) == data_set_of(old.file_of(dataset).read_bytes())
    moves = old.moves()
    assert moves[-3:] == ["STUDY"] * 3
    again = fetch(archive, old, *asked)
    assert again.returncode == 0
    assert "0 fetched, 6 there already, 0 missing; 0 studies" in again.stdout
    assert old.moves() == moves


@pytest.mark.slow
def test_a_destination_that_it_does_not_know_is_told(archive: LiveServer, old: OldPacs) -> None:
    dataset = make_dataset()
    old.fill(dataset)
    done = fetch(archive, old, dataset.StudyInstanceUID, "--move-to", "NOBODY")
    assert done.returncode == 1
    assert "OLDPACS does not know the AE NOBODY, or where it is (status A801)" in words(done)
    assert held(archive, dataset.StudyInstanceUID) == 0
    none = fetch(archive, old, dataset.StudyInstanceUID, "--move-to", "NO\\BODY")
    assert none.returncode == 1
    assert "is no AE title" in words(none)


@pytest.mark.slow
def test_what_it_cannot_send_is_told_and_asked_for_alone_the_next_time(
    archive: LiveServer, old: OldPacs
) -> None:
    datasets = two_series(2)
    study = datasets[0].StudyInstanceUID
    old.fill(*datasets)
    lost = [old.file_of(one) for one in datasets[1:]]
    for path in lost:
        path.rename(path.with_suffix(".away"))
    done = fetch(archive, old, study, "--move-to", "FILEROOM")
    assert done.returncode == 3, words(done)
    assert "3 of 4 are missing: 3 could not be sent to FILEROOM" in words(done)
    assert "4 instances: 1 fetched, 0 there already, 3 missing; 1 studies" in words(done)
    assert held(archive, study) == 1
    for path in lost:
        path.with_suffix(".away").rename(path)
    again = fetch(archive, old, study, "--move-to", "FILEROOM")
    assert again.returncode == 0, words(again)
    assert "4 instances: 3 fetched, 1 there already, 0 missing" in again.stdout
    assert held(archive, study) == 4
    assert sorted(old.moves()[-2:]) == ["IMAGE", "SERIES"]


@pytest.mark.slow
def test_by_c_get_comes_what_it_can_send_though_it_names_no_sop_class(
    archive: LiveServer, old: OldPacs
) -> None:
    datasets = two_series(2)
    study = datasets[0].StudyInstanceUID
    old.fill(*datasets)
    lost, moves = old.file_of(datasets[1]), old.moves()
    lost.rename(lost.with_suffix(".away"))
    done = fetch(archive, old, study)
    assert done.returncode == 3, words(done)
    assert "1 of 4 are missing: 1 could not be sent by C-GET: have it send to a" in words(done)
    assert "4 instances: 3 fetched, 0 there already, 1 missing; 1 studies" in words(done)
    lost.with_suffix(".away").rename(lost)
    again = fetch(archive, old, study)
    assert again.returncode == 0, words(again)
    assert "4 instances: 1 fetched, 3 there already, 0 missing" in again.stdout
    assert held(archive, study) == 4
    assert old.moves() == moves


@pytest.mark.slow
def test_what_still_waits_in_the_spool_of_the_bridge_is_not_missing(
    archive: LiveServer, tmp_path: Path
) -> None:
    datasets = make_series(5)
    with (
        bridge_to(archive, spool=tmp_path / "spool", forwardings=0) as bridge,
        old_pacs(tmp_path, {"FILEROOM": bridge.port}) as old,
    ):
        old.fill(*datasets)
        done = fetch(archive, old, datasets[0].StudyInstanceUID, "--move-to", "FILEROOM")
    assert done.returncode == 0, words(done)
    assert "5 fetched, 0 there already, 0 missing" in done.stdout


@pytest.mark.slow
def test_a_bridge_that_does_not_let_it_store_is_told(archive: LiveServer, tmp_path: Path) -> None:
    dataset = make_dataset()
    with (
        bridge_to(archive, open=False, forwardings=0) as bridge,
        old_pacs(tmp_path, {"FILEROOM": bridge.port}) as old,
    ):
        old.fill(dataset)
        done = fetch(archive, old, dataset.StudyInstanceUID, "--move-to", "FILEROOM")
    assert done.returncode == 3
    assert "OLDPACS could send nothing to FILEROOM: look into its log, whether it" in words(done)
