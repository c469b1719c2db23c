"""Where backups and drills are refused, before anything is written."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyrage import x25519

from app.cli.backing_up import run_backup, run_drill, run_restore
from app.cli.placing import DRILL, check_scratch, drill_directory, find_backup
from app.cli.refusal import Refusal
from app.settings import Settings, SettingsError, load_settings
from tests.cli.test_backup import fileroom
from tests.factories import make_part10


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an archive that looks as if it was there, with objects and a copy elsewhere."""
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    monkeypatch.setenv("FILEROOM_OBJECTS__URL", f"file://{tmp_path}/bytes/objects")
    monkeypatch.setenv(
        "FILEROOM_OBJECTS__COPIES",
        f'[{{"name": "nas", "url": "file://{tmp_path}/nas"}},'
        ' {"name": "far", "url": "s3://far/copy", "endpoint": "http://127.0.0.1:9"}]',
    )
    return load_settings({"data_dir": tmp_path / "data"})


def there(directory: Path) -> list[str]:
    return sorted(str(one.relative_to(directory)) for one in directory.rglob("*"))


@pytest.mark.parametrize(
    "place",
    ["data", "data/backups", ".", "bytes/objects", "bytes/objects/b", "bytes", "nas", "nas/b"],
)
def test_no_backup_is_in_the_archive_nor_the_archive_in_a_backup(
    tmp_path: Path, settings: Settings, place: str
) -> None:
    before = there(tmp_path)
    with pytest.raises(Refusal, match="apart from the archive"):
        run_backup(settings, str(tmp_path / place), (), 0)
    assert there(tmp_path) == before


def test_a_link_into_the_archive_is_no_other_place(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(Refusal, match="the data directory"):
        run_backup(settings, str(tmp_path / "link" / "backups"), (), 0)


def test_no_backup_is_in_the_bucket_of_a_copy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILEROOM_BACKUP__ENDPOINT", "http://127.0.0.1:9/")
    settings = load_settings({"data_dir": tmp_path / "data"})
    for place in ("s3://far", "s3://far/copy/", "s3://far/copy/b"):
        with pytest.raises(Refusal, match="the copy far"):
            run_backup(settings, place, (), 0)


def test_nothing_is_restored_into_its_own_backup(tmp_path: Path) -> None:
    (tmp_path / "place" / "backups").mkdir(parents=True)
    for data in ("place", "place/data", "."):
        settings = load_settings({"data_dir": tmp_path / data})
        with pytest.raises(Refusal, match="apart from the archive"):
            run_restore(settings, str(tmp_path / "place"), "", None)
    assert there(tmp_path) == ["place", "place/backups"]


def test_a_restore_that_finds_no_backup_leaves_nothing(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path / "data"})
    with pytest.raises(Refusal, match=r"There are no backups in .*it is no directory"):
        run_restore(settings, str(tmp_path / "plcae"), "", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refusal, match=r"There are no backups in .*empty\."):
        run_restore(settings, str(tmp_path / "empty"), "", None)
    assert there(tmp_path) == ["empty"]


@pytest.mark.parametrize(
    ("scratch", "said"),
    [
        ("bytes/objects", "would be among"),
        ("nas/in", "would be among"),
        ("place", "would be among"),
        ("nowhere", "is no directory"),
    ],
)
def test_a_drill_is_not_among_objects_or_backups(
    tmp_path: Path, settings: Settings, scratch: str, said: str
) -> None:
    for name in ("bytes/objects", "nas/in", "place/backups"):
        (tmp_path / name).mkdir(parents=True)
    before = there(tmp_path)
    with pytest.raises(Refusal, match=said):
        run_drill(settings, str(tmp_path / "place"), None, tmp_path / scratch)
    assert there(tmp_path) == before


def test_a_drill_may_be_in_the_data_directory(tmp_path: Path, settings: Settings) -> None:
    check_scratch(settings, settings.data_dir, tmp_path / "place")


def test_where_nothing_can_be_made_there_is_no_drill() -> None:
    with (
        pytest.raises(Refusal, match=r"A drill cannot be made in /proc: No such file"),
        drill_directory(Path("/proc")),
    ):
        pass


def test_what_a_killed_drill_left_goes_with_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from app.cli.placing import drill_directory\n"
        "with drill_directory(Path(sys.argv[1])) as own:\n"
        "    (own / 'patient').touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False, timeout=60)
    (left,) = tmp_path.glob(f"{DRILL}*")
    assert (left / "patient").exists()
    other, alive = tmp_path / "other", tmp_path / f"{DRILL}alive"
    other.mkdir()
    alive.mkdir()
    held = os.open(alive, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with drill_directory(tmp_path) as own:
            assert sorted(tmp_path.iterdir()) == sorted([own, other, alive])
    finally:
        os.close(held)
    assert sorted(tmp_path.iterdir()) == sorted([other, alive])


@pytest.mark.parametrize(
    ("place", "said"), [("a-file", "it is a file"), ("/proc", "No such file or directory")]
)
def test_what_takes_no_backup_is_named(
    tmp_path: Path, settings: Settings, place: str, said: str
) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(Refusal, match=f"cannot be put into .*{place}: {said}"):
        run_backup(settings, str(tmp_path / place), (), 0)


def test_what_is_no_place_is_not_laid_on_a_setting(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^ftp://x is no place for backups.*s3://"):
        run_backup(settings, "ftp://x", (), 0)


def test_an_unknown_stamp_is_told_with_the_newest(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "b.json").touch()
    with pytest.raises(Refusal, match=r"no backup a in .*; the newest one is b\."):
        find_backup(tmp_path, "a")


@pytest.mark.slow
def test_plain_follows_encrypted_only_where_that_is_said(tmp_path: Path) -> None:
    here = ["--data-dir", str(tmp_path / "data")]
    (tmp_path / "one.dcm").write_bytes(make_part10())
    fileroom("import", tmp_path / "one.dcm", *here)
    public = str(x25519.Identity.generate().to_public())
    fileroom("backup", tmp_path / "place", "--encrypt-to", public, *here)
    before = there(tmp_path / "place" / "objects")
    said = fileroom("backup", tmp_path / "place", *here, code=1)
    assert "are encrypted, and this one would not be" in said
    assert there(tmp_path / "place" / "objects") == before
    fileroom("backup", tmp_path / "place", "--plain", *here)
    assert len(there(tmp_path / "place" / "objects")) > len(before)
    fileroom("backup", tmp_path / "place", *here)
