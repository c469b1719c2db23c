"""The sealed log in several stores: each segment counts where it is as it was signed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.archive.context import Archive, Place, open_archive
from app.archive.copying import work_on
from app.archive.examine import State
from app.archive.findings import list_findings
from app.archive.rebuild import Outcome, Rebuilt, rebuild_index
from app.archive.rotation import rotate_key
from app.archive.scrubbing import scrub_store
from app.archive.sealed_log import verify_log
from app.archive.sealing import Sealer
from app.archive.segment_stores import fetch_sound
from app.archive.stores import stores_of
from app.errors import Damaged, Unavailable
from app.index.copies import add_tasks, fill
from app.index.migrations import migrate
from app.index.segments import SegmentRow, segment_at
from app.objects.base import ObjectStore, segment_key
from app.objects.bucket import CopyPlace
from app.objects.local import LocalStore
from app.objects.secret_copies import spread_secrets
from app.rights import Principal
from tests.archive.test_rebuild import content, outcomes, rebuilt
from tests.archive.test_store import store
from tests.factories import make_part10


def place_of(url: str, tmp_path: Path, mode: str = "sync") -> Place:
    copy = CopyPlace("second", sync=mode == "sync", where=tmp_path / "second")
    return Place(url, tmp_path / "objects", tmp_path / f"cache-{url[-8:]}", copies=[copy])


@pytest.fixture
async def paired(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """An archive in two directories."""
    async with open_archive(place_of(database_url, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def trailed(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """An archive whose second directory is filled later."""
    async with open_archive(place_of(database_url, tmp_path, "async")) as opened:
        yield opened


@pytest.fixture
async def paired_again(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """The same directories with a new, empty index."""
    await asyncio.to_thread(migrate, empty_database_url)
    async with open_archive(place_of(empty_database_url, tmp_path)) as opened:
        yield opened


def path_in(tmp_path: Path, name: str, number: int) -> Path:
    directory = {"first": "objects"}.get(name, name)
    return tmp_path / directory / segment_key(1, number)


def forge(path: Path) -> bytes:
    """Change a digit of a UID in a segment, which stays one by its form; return what it was."""
    data = path.read_bytes()
    at = data.index(b'"study":"') + 20
    digit = b"3" if data[at : at + 1] != b"3" else b"4"
    path.chmod(0o600)
    path.unlink()
    path.write_bytes(data[:at] + digit + data[at + 1 :])
    return data


async def filled(archive: Archive, principal: Principal, count: int = 3) -> None:
    for _ in range(count):
        await store(archive, principal, make_part10())
        await archive.sealer.seal_waiting()


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_rebuild_reads_a_segment_where_it_is_sound(
    paired: Archive,
    paired_again: Archive,
    principal: Principal,
    tmp_path: Path,
    name: str,
    number: int,
) -> None:
    await filled(paired, principal)
    forge(path_in(tmp_path, name, number))
    path_in(tmp_path, name, number % 3 + 1).unlink()
    assert outcomes(await rebuilt(paired_again, principal)) == {Outcome.LIVE: 3}
    before, after = await content(paired), await content(paired_again)
    for part in ("instance", "event", "segment"):
        assert before[part] == after[part]


async def test_a_rebuild_ends_at_a_segment_that_no_store_has_sound_and_goes_on_later(
    paired: Archive, paired_again: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal)
    whole = forge(path_in(tmp_path, "first", 2))
    path_in(tmp_path, "second", 2).unlink()
    with pytest.raises(Damaged, match=r"0002\.json .* first: its entries.*; second: object"):
        await rebuilt(paired_again, principal)
    path_in(tmp_path, "second", 2).write_bytes(whole)
    assert outcomes(await rebuilt(paired_again, principal)) == {Outcome.LIVE: 3}


async def test_who_says_so_goes_on_without_a_segment(
    paired: Archive, paired_again: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal)
    for name in ("first", "second"):
        path_in(tmp_path, name, 2).unlink()
    forge(path_in(tmp_path, "first", 3))
    told: list[Rebuilt] = []
    await rebuild_index(paired_again, principal, told.append, doubtful=True)
    of_log = [one.object_key for one in told if one.outcome is Outcome.DOUBTFUL]
    assert set(of_log) == {segment_key(1, 2), segment_key(1, 3)}
    assert outcomes(told)[Outcome.LIVE] == 2  # the third one's segment is that of the second store


async def test_a_store_that_does_not_answer_is_no_store_without_a_segment(
    paired: Archive,
    paired_again: Archive,
    principal: Principal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await filled(paired, principal)
    forge(path_in(tmp_path, "first", 2))
    stream, check = LocalStore.stream, LocalStore.check

    def is_away(store: LocalStore) -> bool:
        return str(store._root).endswith("second")

    async def streams(store: LocalStore, *place: object) -> AsyncIterator[bytes]:
        if is_away(store):
            raise Unavailable("the second store does not answer")
        return await stream(store, *place)  # type: ignore[arg-type]

    async def checks(store: LocalStore) -> None:
        if is_away(store):
            raise Unavailable("the second store does not answer")
        await check(store)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "stream", streams)
        patch.setattr(LocalStore, "check", checks)
        with pytest.raises(Unavailable, match="the second store does not answer"):
            await rebuild_index(paired_again, principal, lambda _: None, doubtful=True)
    assert outcomes(await rebuilt(paired_again, principal)) == {Outcome.LIVE: 3}


async def states(archive: Archive, *, repair: bool = False) -> dict[tuple[str, int], State]:
    return {
        (one.store, int(one.object_key[-6:-5])): one.state
        async for one in verify_log(archive, 1, repair=repair)
    }


def bytes_of(tmp_path: Path, count: int = 3) -> list[bytes]:
    places = [(name, number) for name in ("first", "second") for number in range(1, count + 1)]
    return [path_in(tmp_path, *place).read_bytes() for place in places]


async def worked(archive: Archive) -> None:
    for name in ("first", "second"):
        while await work_on(archive, name):
            pass


async def test_verify_reads_segments_in_every_store_and_repairs_them(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal)
    whole = bytes_of(tmp_path)
    forge(path_in(tmp_path, "first", 1))
    path_in(tmp_path, "second", 2).unlink()
    forge(path_in(tmp_path, "second", 3))
    wrong = {
        ("first", 1): State.DAMAGED,
        ("second", 2): State.MISSING,
        ("second", 3): State.DAMAGED,
    }
    sound = {(name, number): State.SEALED for name in ("first", "second") for number in (1, 2, 3)}
    assert await states(paired) == sound | wrong
    assert (await fetch_sound(paired, await row_of(paired, 1), 1)).as_bytes() == whole[0]
    repaired = dict.fromkeys(wrong, State.REPAIRED)
    assert await states(paired, repair=True) == sound | repaired
    assert bytes_of(tmp_path) == whole
    assert await states(paired) == sound


async def row_of(archive: Archive, number: int) -> SegmentRow:
    row = await segment_at(archive.index, 1, number)
    assert row is not None
    return row


async def test_a_segment_that_no_store_has_is_made_again_of_index_and_key(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal, 2)
    await rotate_key(paired, principal)
    await paired.sealer.seal_waiting()
    whole = bytes_of(tmp_path)
    for number in (1, 3):
        forge(path_in(tmp_path, "first", number)) if number == 1 else path_in(
            tmp_path, "first", number
        ).unlink()
        path_in(tmp_path, "second", number).unlink()
    with pytest.raises(Unavailable, match="segment 1 of the log is damaged in first: its entries"):
        await fetch_sound(paired, await row_of(paired, 1), 1)
    assert Counter((await states(paired, repair=True)).values()) == {
        State.REPAIRED: 4,
        State.SEALED: 2,
    }
    assert bytes_of(tmp_path) == whole


async def change_history(archive: Archive) -> None:
    """Let the index say something else than what was sealed, so that no segment is made of it."""
    async with archive.index.writing() as connection:
        await connection.execute("UPDATE event SET actor = 'another' WHERE id = 1")


async def test_a_segment_that_cannot_be_made_again_stays_what_it_is(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(archive, principal, 2)
    forge(path_in(tmp_path, "first", 1))
    await change_history(archive)
    assert (await states(archive, repair=True))["first", 1] is State.DAMAGED


async def scrub(archive: Archive) -> None:
    for name in ("first", "second")[: len(stores_of(archive.objects))]:
        assert await scrub_store(archive, name, "me", 0.0)


async def test_the_scrubber_reads_segments_and_repairs_them(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal)
    whole = bytes_of(tmp_path)
    forge(path_in(tmp_path, "first", 1))
    path_in(tmp_path, "second", 2).unlink()
    await scrub(paired)
    assert bytes_of(tmp_path) == whole
    assert set((await states(paired)).values()) == {State.SEALED}
    assert await list_findings(paired, principal, 0, 10) == []


async def test_a_segment_that_is_lost_for_good_is_shown_until_it_is_there_again(
    archive: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(archive, principal, 2)
    path = path_in(tmp_path, "first", 1)
    whole = path.read_bytes()
    forge(path)
    await change_history(archive)
    for _ in range(2):
        await scrub(archive)
        (finding,) = await list_findings(archive, principal, 0, 10)
        assert (finding.store, finding.state, finding.instance) == ("first", "damaged", "")
        assert finding.object_key == path.relative_to(tmp_path / "objects").as_posix()
    path.chmod(0o600)
    path.write_bytes(whole)
    await scrub(archive)
    assert await list_findings(archive, principal, 0, 10) == []


async def test_a_copy_that_is_filled_later_gets_the_log(
    trailed: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(trailed, principal)
    assert (await states(trailed))["second", 1] is State.WAITING
    await worked(trailed)
    assert set((await states(trailed)).values()) == {State.SEALED}
    for number in (1, 2, 3):
        path_in(tmp_path, "second", number).unlink()
    assert await fill(trailed.index, "second") == 6
    await worked(trailed)
    assert set((await states(trailed)).values()) == {State.SEALED}


async def test_nothing_of_the_log_is_ever_removed_by_a_task(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal, 1)
    keys = [segment_key(1, number) for number in (1, 2)]
    path_in(tmp_path, "second", 2).write_bytes(b"left by a put that failed")
    await add_tasks(paired.index, [("remove", "second", key) for key in keys])
    await worked(paired)
    assert path_in(tmp_path, "second", 1).exists()
    assert path_in(tmp_path, "second", 2).exists()


async def test_what_is_taken_over_from_a_sealer_that_died_goes_to_every_store(
    paired: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(paired, principal, 1)
    async with paired.index.writing() as connection:
        await connection.execute("DELETE FROM segment")
    path_in(tmp_path, "second", 1).unlink()
    assert await paired.sealer.seal_waiting() == 1
    await worked(paired)
    assert set((await states(paired)).values()) == {State.SEALED}


def secrets_in(tmp_path: Path, name: str) -> dict[str, bytes]:
    directory = tmp_path / {"first": "objects"}.get(name, name) / "secrets"
    return {path.name: path.read_bytes() for path in directory.glob("[!.]*")}


async def test_every_store_has_the_secrets_and_any_one_is_enough(
    trailed: Archive, principal: Principal, tmp_path: Path
) -> None:
    await filled(trailed, principal, 1)
    await trailed.objects.secret("deidentification")
    kept = secrets_in(tmp_path, "first")
    assert len(kept) == 2
    (tmp_path / "second" / "secrets" / "deidentification").unlink()
    for path in (tmp_path / "objects" / "secrets").glob("seal-*"):
        path.unlink()
    stores = stores_of(trailed.objects)
    sealer = Sealer(trailed.index, trailed.objects, trailed.staging)
    await store(trailed, principal, make_part10())
    assert await sealer.seal_waiting() == 1
    for name in stores:
        await spread_secrets(stores, name)
        assert secrets_in(tmp_path, name) == kept


async def test_a_copy_with_another_secret_is_told_of_and_keeps_it(
    trailed: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stores = stores_of(trailed.objects)
    other = await stores["second"].secret("a")
    await stores["first"].secret("a")
    await spread_secrets(stores, "second")
    assert "another secret named a" in caplog.text
    assert secrets_in(tmp_path, "second") == {"a": other}


async def test_no_secret_is_made_while_a_copy_that_may_have_it_is_away(
    trailed: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: object) -> dict[str, bytes]:
        raise Unavailable("the copy is away")

    second = stores_of(trailed.objects)["second"]
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "all_secrets", _only(second, fails))
        with pytest.raises(Unavailable, match="the copy is away"):
            await trailed.objects.secret("a")
    assert secrets_in(tmp_path, "first") == {}
    assert secrets_in(tmp_path, "second") == {}
    secret = await trailed.objects.secret("a")
    assert secrets_in(tmp_path, "first") == secrets_in(tmp_path, "second") == {"a": secret}


def _only(
    one: ObjectStore, instead: Callable[[object], Awaitable[dict[str, bytes]]]
) -> Callable[[LocalStore], Awaitable[dict[str, bytes]]]:
    usual = LocalStore.all_secrets

    async def chosen(store: LocalStore) -> dict[str, bytes]:
        return await (instead if store is one else usual)(store)

    return chosen
