"""`fileroom import` and `fileroom export` as an operator runs them."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydicom.uid import ColorPaletteStorage

from tests.factories import make_non_patient, make_part10, new_uid

RUN = "from app.cli.main import main; main()"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that is there, whichever test comes first."""
    directory = tmp_path_factory.mktemp("archive")
    (directory / "first").write_bytes(make_part10())
    done = fileroom(directory / "data", "import", directory / "first")
    assert done.returncode == 0, done.stderr
    return directory / "data"


def fileroom(
    data_dir: Path, *arguments: str | Path, text: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FILEROOM_")}
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments), "--data-dir", str(data_dir)],
        input=text,
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )


def test_import_report_and_export_go_round(data_dir: Path, tmp_path: Path) -> None:
    study, source = new_uid(), tmp_path / "source"
    source.mkdir()
    made = [make_part10(StudyInstanceUID=study, InstanceNumber=n) for n in range(3)]
    for number, data in enumerate(made):
        (source / f"IM{number}").write_bytes(data)
    (source / "cut").write_bytes(make_part10()[:-30])
    report = tmp_path / "report.json"
    done = fileroom(data_dir, "import", source, "--report", report)
    assert done.returncode == 3, done.stderr
    assert b"3 stored" in done.stdout
    assert f"refused: {source}/cut:".encode() in done.stdout
    told = json.loads(report.read_bytes())
    assert (told["stored"], told["refused"]) == (3, 1)
    assert told["refusals"][0]["reason"] == "C001"

    (source / "cut").unlink()
    listed = "\n".join(str(path) for path in source.iterdir()).encode()
    again = fileroom(data_dir, "import", "-", text=listed)
    assert again.returncode == 0
    assert b"3 skipped" in again.stdout

    done = fileroom(data_dir, "export", study, "--to", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")]
    assert sorted(written) == sorted(made)


@pytest.mark.slow
def test_what_is_of_no_patient_goes_round_too(data_dir: Path, tmp_path: Path) -> None:
    palette = make_part10(make_non_patient(ColorPaletteStorage))
    (tmp_path / "palette").write_bytes(palette)
    assert b"1 stored" in fileroom(data_dir, "import", tmp_path / "palette").stdout
    done = fileroom(data_dir, "export", "color-palettes", "--to", tmp_path / "out.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "out.zip") as file:
        (name,) = file.namelist()
        assert name.startswith("color-palettes/")
        assert file.read(name) == palette


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["import", "/no/such/file"], b"There is no /no/such/file."),
        (["import", "@/no/such/list"], b"The list /no/such/list cannot be read"),
        (["import", "-"], b"The list of files is empty"),
        (["import", "/etc", "--report", "/no/such/report"], b"cannot be written"),
        (["export", "1.2.3.4.5", "--to", "out"], b"Study 1.2.3.4.5 not found"),
        (["export", "x", "--to", "out"], b"is not a UID"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    data_dir: Path, tmp_path: Path, arguments: list[str], sentence: bytes
) -> None:
    if arguments[-1] == "out":
        arguments = [*arguments[:-1], str(tmp_path / "out")]
    if arguments[0] == "export":
        assert fileroom(data_dir, "migrate").returncode == 0
    done = fileroom(data_dir, *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_verify_tells_what_is_damaged(data_dir: Path, tmp_path: Path) -> None:
    study, report = new_uid(), tmp_path / "report.json"
    for number in range(2):
        (tmp_path / f"IM{number}").write_bytes(make_part10(StudyInstanceUID=study))
    assert fileroom(data_dir, "import", tmp_path).returncode == 0
    done = fileroom(data_dir, "verify", "--study", study)
    assert done.returncode == 0, done.stderr
    assert b"2 whole" in done.stdout
    victim, _ = (data_dir / "objects").rglob(f"{study}/*/*.dcm")
    victim.chmod(0o600)
    victim.write_bytes(victim.read_bytes()[:-2] + b"\1\1")
    done = fileroom(data_dir, "verify", "--since", "2026-01-31", "--report", report)
    assert done.returncode == 3
    assert b"damaged: t/1/" in done.stdout
    (finding,) = json.loads(report.read_bytes())["findings"]
    assert (finding["state"], finding["study"]) == ("damaged", study)
    assert victim.name.startswith(finding["instance"])


@pytest.mark.slow
def test_verify_refuses_what_it_cannot_understand(data_dir: Path, tmp_path: Path) -> None:
    done = fileroom(data_dir, "verify", "--since", "yesterday")
    assert done.returncode == 1
    assert b"--since takes a date" in done.stderr
    done = fileroom(data_dir, "verify", "--report", tmp_path / "no" / "report.json")
    assert (done.returncode, b"no such folder" in done.stderr) == (1, True)
    done = fileroom(data_dir, "verify", "--study", "")
    assert (done.returncode, b"UID" in done.stderr) == (1, True), done.stderr
    done = fileroom(data_dir, "verify", "--study", "1.2.3")
    assert (done.returncode, b"not found" in done.stderr) == (1, True)
    done = fileroom(tmp_path / "nothing", "verify")
    assert done.returncode == 1
    assert b"no archive" in done.stderr


@pytest.mark.slow
def test_doctor_sees_that_the_objects_are_elsewhere(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "IM1").write_bytes(make_part10())
    assert fileroom(data_dir, "import", tmp_path).returncode == 0
    told = json.loads(fileroom(data_dir, "doctor", "--json").stdout)
    (stored,) = (one for one in told["findings"] if one["check"] == "stored")
    assert stored["verdict"] == "good"
    (data_dir / "objects" / "t").rename(tmp_path / "elsewhere")
    done = fileroom(data_dir, "doctor", "--json")
    (stored,) = (one for one in json.loads(done.stdout)["findings"] if one["check"] == "stored")
    assert (done.returncode, stored["verdict"]) == (1, "bad")
    assert "FILEROOM_OBJECTS__URL" in stored["mend"]
