"""The scrubber: all that is lost is found, and what is found is repaired or quarantined."""

import asyncio

import pytest

from app.archive import repair, scrubbing
from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.findings import count_safety, list_findings
from app.archive.scrubbing import look_at_quarantine, scrub_store, scrubbed
from app.archive.stores import stores_of
from app.errors import Unavailable
from app.index import scrubs
from app.rights import Principal
from tests.archive.test_repair import key_of, lose, read, stored
from tests.archive.test_store import store
from tests.archive.test_verify import found
from tests.factories import make_part10

DAY = 86_400.0


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "LEASE_SECONDS", 0.0)


async def scrub(archive: Archive, every: float = 0.0) -> list[bool]:
    return [await scrub_store(archive, name, "me", every) for name in stores_of(archive.objects)]


async def test_everything_lost_is_found_and_repaired(
    replicated: Archive, principal: Principal
) -> None:
    made = [make_part10() for _ in range(6)]
    refs = [await stored(replicated, principal, data) for data in made]
    losses = [(name, loss) for name in ("first", "second") for loss in ("bit", "cut", "gone")]
    for ref, (name, loss) in zip(refs, losses, strict=True):
        await lose(replicated, name, await key_of(replicated, ref), loss)
    assert await scrub(replicated) == [True, True]
    assert set(await found(replicated)) == {State.WHOLE}
    for ref, data in zip(refs, made, strict=True):
        assert await read(replicated, principal, ref) == data
    assert await list_findings(replicated, principal, 0, 10) == []


async def test_what_has_no_copy_is_quarantined_until_it_is_there_again(
    archive: Archive, principal: Principal
) -> None:
    data = make_part10()
    ref = await stored(archive, principal, data)
    key = await key_of(archive, ref)
    await lose(archive, "first", key, "bit")
    assert await scrub(archive) == [True]
    assert set(await found(archive)) == {State.QUARANTINED}
    assert await scrub(archive) == [True]  # it is left alone there
    await look_at_quarantine(archive)
    assert (await count_safety(archive)).findings == {"quarantined": 1}
    await lose(archive, "first", key, "bit")  # which turns the bit back
    await look_at_quarantine(archive)
    assert await read(archive, principal, ref) == data
    assert (await count_safety(archive)).findings == {}


async def test_a_pass_is_made_once_in_its_time_and_its_age_is_known(
    archive: Archive, principal: Principal
) -> None:
    await stored(archive, principal, make_part10())
    await archive.index.fetch("UPDATE instance SET stored_at = now() - interval '40 days'")
    assert (await count_safety(archive)).ages["first"] == pytest.approx(40 * DAY, abs=60)
    assert await scrub(archive, 30 * DAY) == [True]
    assert (await count_safety(archive)).ages["first"] == pytest.approx(0, abs=60)
    assert await scrub(archive, 30 * DAY) == [False]
    await archive.index.fetch(
        "UPDATE scrubbed_store SET began_at = now() - interval '31 days',"
        " verified_from = now() - interval '31 days'"
    )
    assert (await count_safety(archive)).ages["first"] == pytest.approx(31 * DAY, abs=60)
    assert await scrub(archive, 30 * DAY) == [True]


async def test_a_pass_that_was_stopped_goes_on_where_it_was(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(archive, principal, *(make_part10() for _ in range(5)))
    monkeypatch.setattr(scrubbing, "SAVE_SECONDS", 0.0)
    seen: list[str] = []
    look = examine

    async def stopping(one: object, kept: object, before: object) -> object:
        if len(seen) == 2 and "stopped" not in seen:
            seen.append("stopped")
            raise Unavailable("the store went away")
        seen.append(kept.key)  # type: ignore[attr-defined]
        return await look(one, kept, before)  # type: ignore[arg-type]

    monkeypatch.setattr(scrubbing, "examine", stopping)
    with pytest.raises(Unavailable):
        await scrub(archive)
    assert await scrub(archive) == [True]
    seen.remove("stopped")
    assert len(seen) == len(set(seen)) == 5


async def test_one_worker_at_a_time_has_a_store(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(archive, principal, make_part10())
    assert await scrubs.take_store(archive.index, "first", "another") is not None
    assert await scrub(archive) == [False]
    await scrubs.let_go(archive.index, "another")
    assert await scrub(archive) == [True]
    assert await scrubs.take_store(archive.index, "first", "another") is None
    await archive.index.fetch("UPDATE scrubbed_store SET leased_until = now()")  # it died
    assert await scrubs.take_store(archive.index, "first", "another") is not None
    assert not await scrubs.save_place(archive.index, "first", "me", 0, 0)


async def test_a_store_that_has_lost_all_is_not_believed(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "MOST_LOST", 2)
    refs = [await stored(archive, principal, make_part10()) for _ in range(5)]
    for ref in refs:
        await lose(archive, "first", await key_of(archive, ref), "gone")
    with pytest.raises(Unavailable, match="is it mounted"):
        await scrub(archive)
    assert (await count_safety(archive)).findings == {"quarantined": 2}


async def test_what_waits_to_be_copied_is_not_missing(
    followed: Archive, principal: Principal
) -> None:
    await stored(followed, principal, make_part10())
    assert await scrub(followed) == [True, True]
    assert (await count_safety(followed)).findings == {}
    await followed.index.fetch("DELETE FROM copy_task")
    assert await scrub(followed) == [True, True]
    assert set(await found(followed)) == {State.WHOLE}


async def test_it_runs_beside_the_server_and_survives_errors(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(scrubbing, "LOOK_SECONDS", 0.01)
    ref = await stored(archive, principal, make_part10())
    await lose(archive, "first", await key_of(archive, ref), "bit")
    faults: list[Exception] = [Unavailable("no answer"), KeyError("a bug")]
    work, looked = scrub_store, look_at_quarantine

    async def faulty(*arguments: object) -> bool:
        if faults:
            raise faults[-1]
        return await work(*arguments)  # type: ignore[arg-type]

    async def looking(of: Archive) -> None:
        if faults:
            raise faults.pop()
        await looked(of)

    monkeypatch.setattr(scrubbing, "scrub_store", faulty)
    monkeypatch.setattr(scrubbing, "look_at_quarantine", looking)
    async with scrubbed(archive, 30, 1e9):
        for _ in range(3000):
            if (await count_safety(archive)).findings == {"quarantined": 1}:
                break
            await asyncio.sleep(0.02)
    assert (await count_safety(archive)).findings == {"quarantined": 1}
    rows = await archive.index.fetch("SELECT worker, leased_until FROM scrubbed_store")
    assert [tuple(row) for row in rows] == [("", None)]
