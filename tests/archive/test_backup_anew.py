"""What a drill found damaged in the place of the backups is put there anew by the next one."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyrage import x25519

from app.archive.backup import Fate, make_backup
from app.archive.context import Archive
from app.index.backup_runs import BACKUP, DRILL, add_run, damaged_places, found_damaged
from app.objects.envelope import Identity
from app.rights import Principal
from tests.archive.test_backup import Told, backed_up, files, place_in, restored, spoil
from tests.archive.test_store import store
from tests.factories import make_part10

NOW = datetime.now(UTC)


async def noted(archive: Archive, kind: str, damaged: list[str], seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    await add_run(archive.index.url, kind, at, "/p", {"damaged": damaged}, good=not damaged)


@pytest.mark.parametrize("identity", [None, x25519.Identity.generate()], ids=["plain", "age"])
async def test_what_is_damaged_in_the_place_is_put_anew(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    empty_database_url: str,
    identity: Identity,
) -> None:
    await store(archive, principal, *(make_part10() for _ in range(3)))
    await archive.sealer.seal_waiting()
    async with place_in(tmp_path, identity) as place:
        await backed_up(archive, principal, place)
    objects = tmp_path / "backup" / "objects"
    victims = [next(objects.glob("t/**/*.dcm*")), next(objects.glob("log/**/*.json*"))]
    for victim in victims:
        spoil(victim)
    keys = {str(one.relative_to(objects)).removesuffix(".age") for one in victims}
    async with place_in(tmp_path, identity) as place:
        told = await restored(empty_database_url, tmp_path, place, await place.load())
        assert {one.object_key for one in told if one.fate is Fate.MISSING} == keys
        told = []
        await make_backup(archive, principal, place, told.append, keys)
        assert {one.object_key for one in told if one.fate is Fate.ANEW} == keys
        assert {one.fate for one in told if one.object_key not in keys} == {Fate.THERE}
    async with place_in(tmp_path, identity) as place:
        told = await restored(empty_database_url, tmp_path, place, await place.load())
    assert {one.object_key for one in told if one.fate is Fate.COPIED} == keys
    assert Fate.MISSING not in {one.fate for one in told}
    assert files(tmp_path / "restored") == files(tmp_path / "objects")


async def test_what_is_damaged_here_too_replaces_nothing(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await store(archive, principal, make_part10())
    async with place_in(tmp_path) as place:
        await backed_up(archive, principal, place)
        before = files(tmp_path / "backup" / "objects")
        (mine,) = (tmp_path / "objects" / "t").rglob("*.dcm")
        spoil(mine)
        told: Told = []
        key = str(mine.relative_to(tmp_path / "objects"))
        assert (await make_backup(archive, principal, place, told.append, {key})).missing == (key,)
    assert files(tmp_path / "backup" / "objects").items() >= before.items()


async def test_drills_are_believed_until_a_backup_has_done_it(archive: Archive) -> None:
    index = archive.index
    await noted(archive, DRILL, ["t/a", "t/b"], 0)
    assert await found_damaged(index, "/p") == {"t/a", "t/b"}
    assert await asyncio.to_thread(damaged_places, index.url) == {"/p": 2}
    assert await found_damaged(index, "/other") == frozenset()
    await noted(archive, DRILL, ["t/c"], 9)  # while the backup is under way
    await noted(archive, BACKUP, ["t/b"], 5)  # which has none that is whole
    assert await found_damaged(index, "/p") == {"t/b", "t/c"}
    await noted(archive, BACKUP, [], 10)
    assert await asyncio.to_thread(damaged_places, index.url) == {}
    assert await found_damaged(index, "/p") == frozenset()
