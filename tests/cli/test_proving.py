"""`fileroom manifest`, `verify --manifest` and `keys` as an operator runs them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.test_transfer import fileroom
from tests.factories import make_part10


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with two Instances, and beside it the manifest of its first day."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "source").mkdir()
    for number in range(2):
        (folder / "source" / f"IM{number}").write_bytes(make_part10())
    data_dir = folder / "data"
    assert fileroom(data_dir, "import", folder / "source").returncode == 0
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    made = fileroom(data_dir, "manifest", day, "--to", folder / "day.json")
    assert made.returncode == 0, made.stderr
    assert b"segments 1 to 1 (the first ones), 2 events" in made.stdout
    return data_dir


@pytest.fixture
def manifest(data_dir: Path) -> Path:
    """The manifest of the archive's first day."""
    return data_dir.with_name("day.json")


def key_of(data_dir: Path) -> str:
    listed = fileroom(data_dir, "seal-keys", "list").stdout.decode().splitlines()
    return listed[0].split()[0]


@pytest.mark.slow
def test_a_day_is_proved_and_what_is_lost_of_it_found(
    data_dir: Path, manifest: Path, tmp_path: Path
) -> None:
    proved = fileroom(data_dir, "verify", "--manifest", manifest)
    assert proved.returncode == 0, proved.stdout + proved.stderr
    assert f"proven: {manifest}: 20".encode() in proved.stdout
    assert b"2 whole, 1 sealed" in proved.stdout
    assert b"2 whole" in fileroom(data_dir, "verify").stdout

    lost = next((data_dir / "objects" / "t").rglob("*.dcm"))
    lost.unlink()
    report = tmp_path / "report.json"
    found = fileroom(data_dir, "verify", "--manifest", manifest, "--report", report)
    assert found.returncode == 3
    (finding,) = json.loads(report.read_bytes())["findings"]
    assert finding["state"] == "missing"
    assert finding["object"] == str(lost.relative_to(data_dir / "objects"))


@pytest.mark.slow
def test_a_day_is_proved_with_the_public_key_alone(
    data_dir: Path, manifest: Path, tmp_path: Path
) -> None:
    key, nowhere = key_of(data_dir), tmp_path / "nowhere"
    alone = fileroom(nowhere, "verify", "--manifest", manifest, "--key", key)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert not nowhere.exists()
    stranger = fileroom(nowhere, "verify", "--manifest", manifest, "--key", "00" * 32)
    assert stranger.returncode == 3
    assert b"is not one that is trusted" in stranger.stdout
    changed = tmp_path / "changed.json"
    changed.write_bytes(manifest.read_bytes().replace(b'"accepted"', b'"Accepted"', 1))
    tampered = fileroom(nowhere, "verify", "--manifest", changed, "--key", key)
    assert tampered.returncode == 3
    assert b"segment 1: its entries are not those that were sealed" in tampered.stdout
    twice = [f"--manifest={manifest}"] * 2
    again = fileroom(nowhere, "verify", *twice, "--key", key)
    assert again.returncode == 3
    assert b"it does not go on from that of 20" in again.stdout


@pytest.mark.slow
def test_a_new_key_is_listed_behind_the_old_one(data_dir: Path) -> None:
    old = key_of(data_dir)
    rotated = fileroom(data_dir, "seal-keys", "rotate")
    assert rotated.returncode == 0, rotated.stderr
    listed = fileroom(data_dir, "seal-keys", "list").stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == [old, rotated.stdout.decode().split()[0]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--key", "00" * 32), b"say which with"),
        (("verify", "--manifest", "x.json", "--since", "2026-01-31"), b"takes none of"),
        (("verify", "--manifest", "x.json", "--key", "1234"), b"takes a public key"),
        (("verify", "--manifest", "no/x.json", "--key", "00" * 32), b"cannot be read"),
        (("verify", "--manifest", "pyproject.toml", "--key", "00" * 32), b"manifest was expected"),
        (("manifest", "2026-01-31", "--to", "x.json"), b"There is no archive"),
        (("seal-keys", "list"), b"There is no archive"),
        (("seal-keys", "rotate"), b"There is no archive"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: bytes
) -> None:
    done = fileroom(tmp_path / "none", *arguments)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
