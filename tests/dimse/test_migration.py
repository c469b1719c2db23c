"""Studies of another archive are brought over, whole, once, and verified; ours are sent."""

import datetime
from collections.abc import Iterator

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from app.cli.exchanging import run_fetch
from app.dimse.migration import Migration
from app.dimse.peers import Peer
from app.dimse.sending_out import send_study
from app.dimse.server import Speaker
from app.settings import load_settings
from benchmarks.server import free_port
from tests.bridges import TITLE, bridge_to, data_set_of
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.live_server import LiveServer, serve

DAY = datetime.date(1999, 3, 2)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Another archive."""
    with serve(tmp_path_factory.mktemp("other")) as server:
        yield server


@pytest.fixture(scope="module")
def studies(other: LiveServer) -> dict[str, list[Dataset]]:
    """Three Studies of two days in the other archive, some of it compressed, by their UIDs."""
    one = make_series(3, StudyDate="19990302")
    two = [make_dataset(StudyDate="19990302", Modality="MR")]
    three = make_series(2, StudyDate="19990303")
    for number, dataset in enumerate([*one, *two, *three]):
        syntax = JPEG2000Lossless if number == 1 else ImplicitVRLittleEndian
        sent = httpx.post(
            f"{other.dicomweb}/studies",
            content=make_part10(dataset, transfer_syntax=syntax),
            headers={"Content-Type": "application/dicom"},
        )
        assert sent.status_code == 200
    return {series[0].StudyInstanceUID: series for series in (one, two, three)}


def _count(archive: LiveServer, study: str) -> int:
    found = httpx.get(f"{archive.dicomweb}/studies/{study}/instances")
    return len(found.json()) if found.status_code == 200 else 0


@pytest.mark.slow
def test_studies_come_over_whole_and_once(
    archive: LiveServer, other: LiveServer, ours: Speaker, studies: dict[str, list[Dataset]]
) -> None:
    with bridge_to(other) as bridge:
        peer = Peer(TITLE, "127.0.0.1", bridge.port)
        migration = Migration(ours.archive, ours.caller, peer, seconds=30, rate=1000)
        found = [one.study for one in migration.studies(DAY, DAY + datetime.timedelta(days=1))]
        assert set(found) == set(studies)
        brought = [migration.bring(study) for study in found]
        assert all(done.good for done in brought), brought
        assert sum(done.named for done in brought) == sum(done.come for done in brought) == 6
        again = [migration.bring(study) for study in found]
        assert [(done.known, done.good) for done in again] == [
            (done.named, True) for done in brought
        ]
        nothing = migration.bring(new_uid())
        assert (nothing.named, nothing.trouble) == (0, f"{TITLE} names no Instance of it")
    for study, series in studies.items():
        assert _count(archive, study) == len(series)
        for dataset in series:
            uid = dataset.SOPInstanceUID
            assert data_set_of(archive.stored_object(uid)) == data_set_of(other.stored_object(uid))


def test_a_source_that_is_not_there_is_told(ours: Speaker) -> None:
    away = Migration(ours.archive, ours.caller, Peer("AWAY", "127.0.0.1", free_port()))
    assert away.bring(new_uid()).trouble == "AWAY takes no association"


def test_what_is_not_known_to_be_here_is_not_counted_as_fetched(
    other: LiveServer, studies: dict[str, list[Dataset]], capfd: pytest.CaptureFixture[str]
) -> None:
    """The summary of a run without our archive: 3 are named, none was seen to come."""
    study = next(iter(studies))
    with bridge_to(other) as bridge:
        dimse = {"archive_url": f"http://127.0.0.1:{free_port()}", "patience_seconds": 1}
        source = f"{TITLE}@127.0.0.1:{bridge.port}"
        assert run_fetch(load_settings({"dimse": dimse}), source, None, [study], 0) == 3
    said = capfd.readouterr().out
    assert "3 instances: 0 fetched, 0 there already, 3 missing; 1 studies are not whole" in said


@pytest.mark.slow
def test_a_study_is_sent_to_another_archive(
    archive: LiveServer, other: LiveServer, ours: Speaker
) -> None:
    series = make_series(4)
    for dataset in series:
        httpx.post(
            f"{archive.dicomweb}/studies",
            content=make_part10(dataset),
            headers={"Content-Type": "application/dicom"},
        )
    study = series[0].StudyInstanceUID
    with bridge_to(other) as bridge:
        peer = Peer(TITLE, "127.0.0.1", bridge.port)
        outcomes = list(send_study(ours, peer, study))
    assert [(one.total, one.sent) for one in outcomes] == [(4, True)] * 4
    assert _count(other, study) == 4
    (nothing,) = send_study(ours, peer, new_uid())
    assert (nothing.sent, nothing.why) == (False, "the archive has no such Study")
    (away,) = send_study(ours, Peer("AWAY", "127.0.0.1", free_port()), study)
    assert away.why == "AWAY takes no association"
