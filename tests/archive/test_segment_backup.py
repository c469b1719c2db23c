"""Backup and restore take a segment of the log only as it was sealed."""

from pathlib import Path

from app.archive.backup import Copied, Fate, make_backup
from app.archive.backup_place import BackupPlace
from app.archive.context import Archive
from app.objects.base import segment_key
from app.rights import Principal
from tests.archive.test_backup import place_in, restored
from tests.archive.test_segment_stores import bytes_of, filled, forge, paired, path_in

__all__ = ["paired"]


def in_backup(tmp_path: Path, number: int) -> Path:
    (path,) = (tmp_path / "backup").rglob(segment_key(1, number).rpartition("/")[2] + "*")
    return path


async def of_log(archive: Archive, principal: Principal, place: BackupPlace) -> dict[str, Fate]:
    told: list[Copied] = []
    await make_backup(archive, principal, place, told.append)
    return fates(told)


def fates(told: list[Copied]) -> dict[str, Fate]:
    return {one.object_key: one.fate for one in told if one.object_key.startswith("log/")}


async def test_a_backup_takes_a_segment_where_it_is_sound_and_tells_of_one_that_is_not(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal, 2)
    one, two = bytes_of(tmp_path, 2)[:2]
    forge(path_in(tmp_path, "first", 1))
    forge(path_in(tmp_path, "first", 2))
    forge(path_in(tmp_path, "second", 2))
    keys = [segment_key(1, number) for number in (1, 2)]
    async with place_in(tmp_path) as place:
        told = await of_log(paired, principal, place)
        assert told == dict(zip(keys, (Fate.COPIED, Fate.MISSING), strict=True))
        assert in_backup(tmp_path, 1).read_bytes() == one
        path_in(tmp_path, "second", 2).write_bytes(two)
        told = await of_log(paired, principal, place)
        assert told == dict(zip(keys, (Fate.THERE, Fate.COPIED), strict=True))


async def test_a_restore_replaces_a_damaged_segment_and_takes_none(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    await filled(archive, principal, 2)
    async with place_in(tmp_path) as place:
        backup = await make_backup(archive, principal, place, lambda _: None)
        await restored(empty_database_url, tmp_path, place, backup)
        there = tmp_path / "restored" / segment_key(1, 1)
        whole = forge(there)
        told = await restored(empty_database_url, tmp_path, place, backup)
        assert fates(told)[segment_key(1, 1)] is Fate.COPIED
        assert there.read_bytes() == whole
    forge(in_backup(tmp_path, 1))
    there.unlink()
    async with place_in(tmp_path) as place:
        told = await restored(empty_database_url, tmp_path, place, backup)
    assert fates(told)[segment_key(1, 1)] is Fate.MISSING
    assert not there.exists()
