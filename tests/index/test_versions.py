"""Clusters of other major versions: told from one another, and put aside."""

import shutil
import subprocess
from pathlib import Path

import pytest

from app.index.account import EmbeddedError, choose_account
from app.index.binaries import installed_programs, major_version
from app.index.former import FormerPostgres, find_programs
from app.index.versions import OtherVersion, check_version, majors, switch_over
from tests.ordinary_users import as_root


def make_cluster(directory: Path, version: str) -> Path:
    cluster = directory / version
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text(f"{version}\n")
    return cluster


def test_only_whole_clusters_count(tmp_path: Path) -> None:
    for name in ("9", "17", "18.unfinished", "17.former", "socket"):
        (tmp_path / name).mkdir()
    assert majors(tmp_path) == [9, 17]
    assert majors(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("there", "mend"),
    [
        (["17"], r"PostgreSQL 17, and.*carries PostgreSQL 18.*`fileroom upgrade`"),
        (["9", "17"], r"PostgreSQL 17, and"),
        (["19"], r"PostgreSQL 19, and.*not carried back"),
        (["18", "19"], r"PostgreSQL 19, and.*not carried back"),
    ],
)
def test_one_of_another_version_is_refused(tmp_path: Path, there: list[str], mend: str) -> None:
    for version in there:
        make_cluster(tmp_path, version)
    with pytest.raises(OtherVersion, match=mend):
        check_version(tmp_path / "18")


def test_one_of_this_version_is_used_and_made(tmp_path: Path) -> None:
    check_version(tmp_path / "18")
    make_cluster(tmp_path, "17")
    check_version(make_cluster(tmp_path, "18"))


def test_the_switch_leaves_one_that_counts_and_keeps_the_former(tmp_path: Path) -> None:
    for number in ("", "1"):
        former = make_cluster(tmp_path, "17")
        kept = switch_over(make_cluster(tmp_path / "upgrading-18", "18"), former)
        assert kept.name == f"17.former{number}"
        assert (kept / "PG_VERSION").read_text() == "17\n"
        assert majors(tmp_path) == [18]
        (tmp_path / "18" / "PG_VERSION").unlink()
        (tmp_path / "18").rmdir()


def test_programs_are_found_by_their_directory_and_asked_who_they_are(tmp_path: Path) -> None:
    ours, major = installed_programs(), int(major_version())
    assert find_programs(major, ours) == find_programs(major, ours / "bin") == ours
    with pytest.raises(EmbeddedError, match=r"is not PostgreSQL 3: it says .*\(PostgreSQL\)"):
        find_programs(3, ours)
    with pytest.raises(EmbeddedError, match=r"package postgresql-3.*--from-bin"):
        find_programs(3, None)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "postgres").write_text("no program")
    with pytest.raises(EmbeddedError, match="it says 'Permission denied'"):
        find_programs(17, tmp_path)


@as_root
def test_programs_of_a_wheel_in_a_private_place_are_copied(
    tmp_path: Path, open_directory: Path
) -> None:
    """As when root has put the former wheel below /root."""
    package = installed_programs().parent
    ignored = shutil.ignore_patterns("include")
    shutil.copytree(package, tmp_path / package.name, ignore=ignored)
    shutil.copytree(package.with_suffix(".libs"), tmp_path / f"{package.name}.libs")
    account = choose_account(open_directory)
    former = FormerPostgres(open_directory, 17, tmp_path / package.name / "pginstall")
    copy = former._find_programs(account)
    assert copy.is_relative_to(open_directory)
    done = subprocess.run([copy / "bin" / "postgres", "--version"], user=account.uid, check=False)
    assert done.returncode == 0
