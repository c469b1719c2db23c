"""`fileroom manifest`, `verify --manifest` and `keys` as an operator runs them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.test_transfer import fileroom
from tests.factories import make_part10


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "data"


@pytest.mark.slow
def test_a_day_is_written_proved_and_what_is_lost_of_it_found(
    data_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2):
        (source / f"IM{number}").write_bytes(make_part10())
    assert fileroom(data_dir, "import", source).returncode == 0
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    manifest = tmp_path / "day.json"
    made = fileroom(data_dir, "manifest", day, "--to", manifest)
    assert made.returncode == 0, made.stderr
    assert b"segments 1 to 1 (the first ones), 2 events" in made.stdout

    rotated = fileroom(data_dir, "keys", "rotate-seal")
    assert rotated.returncode == 0, rotated.stderr
    keys = fileroom(data_dir, "keys", "list").stdout.decode().splitlines()
    assert len(keys) == 2
    assert rotated.stdout.decode().split()[0] == keys[1].split()[0]

    proved = fileroom(data_dir, "verify", "--manifest", manifest)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert f"proven: {manifest}: {day}".encode() in proved.stdout
    assert b"2 whole, 1 sealed" in proved.stdout
    whole = fileroom(data_dir, "verify")
    assert b"2 whole, 2 sealed" in whole.stdout

    lost = next((data_dir / "objects" / "t").rglob("*.dcm"))
    lost.unlink()
    report = tmp_path / "report.json"
    found = fileroom(data_dir, "verify", "--manifest", manifest, "--report", report)
    assert found.returncode == 3
    (finding,) = json.loads(report.read_bytes())["findings"]
    assert (finding["state"], finding["object"]) == (
        "missing",
        str(lost.relative_to(data_dir / "objects")),
    )

    nowhere = tmp_path / "nowhere"
    alone = fileroom(nowhere, "verify", "--manifest", manifest, "--key", keys[0].split()[0])
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert not nowhere.exists()
    stranger = fileroom(nowhere, "verify", "--manifest", manifest, "--key", "00" * 32)
    assert stranger.returncode == 3
    assert b"is not one that is trusted" in stranger.stdout
    changed = manifest.read_bytes().replace(b'"kind":"accepted"', b'"kind":"Accepted"', 1)
    manifest.write_bytes(changed)
    tampered = fileroom(nowhere, "verify", "--manifest", manifest, "--key", keys[0].split()[0])
    assert tampered.returncode == 3
    assert b"segment 1: its entries are not those that were sealed" in tampered.stdout
    twice = [f"--manifest={manifest}"] * 2
    again = fileroom(nowhere, "verify", *twice, "--key", keys[0].split()[0])
    assert f"it does not go on from that of {day}".encode() in again.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--key", "00" * 32), b"say which with"),
        (("verify", "--manifest", "x.json", "--since", "2026-01-31"), b"takes neither"),
        (("verify", "--manifest", "x.json", "--key", "1234"), b"takes a public key"),
        (("verify", "--manifest", "no/x.json", "--key", "00" * 32), b"cannot be read"),
        (("verify", "--manifest", "pyproject.toml", "--key", "00" * 32), b"manifest was expected"),
        (("manifest", "2026-01-31", "--to", "x.json"), b"There is no archive"),
        (("keys", "list"), b"There is no archive"),
        (("keys", "rotate-seal"), b"There is no archive"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: bytes
) -> None:
    done = fileroom(tmp_path / "none", *arguments)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
