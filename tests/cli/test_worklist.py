"""`fileroom worklist`, and DCMTK's worklist server as the judge of what matches."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from app.archive.context import Archive, open_archive
from app.archive.worklist import search_steps
from app.cli.main import application
from app.cli.refusal import Refusal
from app.cli.worklist_files import run_forget, run_import, run_list, run_remove
from app.dicom.attributes import Level
from app.dicomweb.query import read_query
from app.errors import InvalidRequest, NotFound
from app.rights import Principal
from app.settings import Settings
from tests.procedure_steps import Json, make_order, make_step

DUMPS = Path("/usr/share/doc/dcmtk/examples/wlistdb/OFFIS")
DUMP2DCM, SERVER, FIND = "/usr/bin/dump2dcm", "/usr/bin/wlmscpfs", "/usr/bin/findscu"
SPS = "ScheduledProcedureStepSequence"
needs_dcmtk = pytest.mark.skipif(
    not DUMPS.is_dir() or shutil.which(SERVER) is None, reason="DCMTK's worklist is not here"
)


def write_wl(path: Path, order: Json, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Data Set of the worklist as a file."""
    dataset = Dataset.from_json(order)
    if syntax == ImplicitVRLittleEndian:
        dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data").with_database(database_url)


def test_files_of_any_encoding_are_imported_listed_removed_and_forgotten(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "wl" / "CT01"
    folder.mkdir(parents=True)
    write_wl(folder / "a.wl", make_order(StudyInstanceUID="1.2.3"))
    later = make_step(ScheduledProcedureStepID="S2", ScheduledProcedureStepStartDate="20260301")
    latin = make_order(later, StudyInstanceUID="1.2.4", PatientName="Müller^Änne")
    write_wl(folder / "b.wl", latin, ImplicitVRLittleEndian)
    (folder / "lockfile").write_bytes(b"")
    assert run_import(settings, [tmp_path / "wl"]) == 0
    assert run_import(settings, [folder / "a.wl"]) == 0  # again
    capsys.readouterr()
    run_list(settings, every=False)
    listed = capsys.readouterr().out
    assert [line.split()[-2:] for line in listed.splitlines()] == [["1.2.3", "S1"], ["1.2.4", "S2"]]
    assert "Müller" not in listed
    assert named(settings, b"PatientName=muller*") == ["1.2.3", "1.2.4"]
    run_remove(settings, "1.2.3", "S1")
    with pytest.raises(NotFound):
        run_remove(settings, "1.2.3", "S1")
    with pytest.raises(InvalidRequest):
        run_forget(settings, "yesterday")
    run_forget(settings, "20260301")
    assert "0 steps" in capsys.readouterr().out
    run_list(settings, every=True)
    assert len(capsys.readouterr().out.splitlines()) == 1
    run_forget(settings, "20260302")
    run_list(settings, every=True)
    assert "nothing is scheduled" in capsys.readouterr().err


def test_what_is_no_step_is_refused_and_the_others_are_put(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.wl").write_bytes(b"no DICOM at all")
    write_wl(tmp_path / "bare.wl", make_order(PatientID=None))
    write_wl(tmp_path / "good.wl", make_order(StudyInstanceUID="1.2.3"))
    assert run_import(settings, [tmp_path]) == 3
    said = capsys.readouterr()
    assert "1 steps are on the worklist; 2 files were refused" in said.out
    assert "PatientID has to have a value" in said.err
    with pytest.raises(Refusal, match="There is no "):
        run_import(settings, [tmp_path / "nowhere"])


def test_the_commands_say_what_they_take() -> None:
    for command in ("import", "list", "remove", "forget"):
        done = CliRunner().invoke(application, ["worklist", command, "--help"])
        assert done.exit_code == 0
        assert "Example" in done.output


def named(settings: Settings, keys: bytes) -> list[str]:
    """Return the Studies of the steps that match."""

    async def work(archive: Archive) -> list[str]:
        query = read_query(keys, Level.INSTANCE)
        rows = (await search_steps(archive, Principal("test"), query)).rows
        return [str(Dataset.from_json(row).StudyInstanceUID) for row in rows]

    async def run() -> list[str]:
        async with open_archive(settings.place()) as archive:
            return await work(archive)

    return asyncio.run(run())


# --- beside DCMTK's own server ------------------------------------------------------------------


@pytest.fixture
def offis(tmp_path: Path) -> Path:
    """The worklist that DCMTK comes with, as files."""
    folder = tmp_path / "wl" / "OFFIS"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for dump in sorted(DUMPS.glob("*.dump")):
        made = folder / f"{dump.stem}.wl"
        subprocess.run([DUMP2DCM, "-q", "-g", dump, made], check=True, capture_output=True)
    return folder


@pytest.fixture
def port(offis: Path) -> Iterator[int]:
    """The port of DCMTK's worklist server over these files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    server = subprocess.Popen(
        [SERVER, "-q", "-dfp", str(offis.parent), str(number)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", number)) == 0:
                    break
            sleep(0.05)
        yield number
    finally:
        server.terminate()
        server.wait(30)


QUERIES: list[dict[str, Any]] = [
    {},
    {"PatientName": "VIVALDI^ANTONIO"},
    {"PatientName": "*A*"},
    {"PatientID": "AV35674"},
    {"AccessionNumber": "00000"},
    {"step.Modality": "MR"},
    {"step.ScheduledStationAETitle": "AA32"},
    {"step.ScheduledProcedureStepStartDate": "19951015"},
    {"step.ScheduledProcedureStepStartDate": "19960101-"},
    {"step.ScheduledProcedureStepStartTime": "120000-"},
    {"step.ScheduledPerformingPhysicianName": "JOHNSON"},
    {"step.Modality": "MR", "PatientName": "V*"},
]


@needs_dcmtk
@pytest.mark.slow
def test_the_same_steps_match_here_and_in_dcmtks_worklist(
    settings: Settings, offis: Path, port: int, tmp_path: Path
) -> None:  # L-02
    assert run_import(settings, [offis]) == 0
    assert len(named(settings, b"")) == len(list(offis.glob("*.wl"))) == 10
    for number, keys in enumerate(QUERIES):
        answered = tmp_path / f"answers{number}"
        answered.mkdir()
        query = write_query(tmp_path / f"query{number}.dcm", keys)
        where = ["127.0.0.1", str(port)]
        command = [FIND, "-q", "-W", "-aec", "OFFIS", "-X", "-od", str(answered), *where, query]
        subprocess.run(command, check=True, capture_output=True)
        theirs = [str(dcmread(one, force=True).StudyInstanceUID) for one in answered.iterdir()]
        asked = "&".join(f"{k.replace('step.', f'{SPS}.')}={v}" for k, v in keys.items())
        assert sorted(named(settings, asked.encode())) == sorted(theirs), keys
        assert theirs or keys, "the server answered nothing at all"


def write_query(path: Path, keys: dict[str, Any]) -> str:
    """Write the identifier of a C-FIND of the worklist."""
    step, query = Dataset(), Dataset()
    for keyword in ("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate"):
        setattr(step, keyword, keys.get(f"step.{keyword}", ""))
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "AccessionNumber"):
        setattr(query, keyword, keys.get(keyword, ""))
    for name, value in keys.items():
        if name.startswith("step."):
            setattr(step, name.removeprefix("step."), value)
    query.ScheduledProcedureStepSequence = [step]
    query.file_meta = FileMetaDataset()
    query.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.31")
    query.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    query.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    query.save_as(path, enforce_file_format=True)
    return str(path)
