"""The work on a storage commitment: put off, taken over, done again, and finished once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.archive import committing
from app.archive.commitment import check_commitment, request_commitment
from app.archive.committing import commitments_kept, work_on
from app.archive.context import Archive
from app.archive.examine import State, examine
from app.archive.removal import delete
from app.archive.repair import repair_object
from app.dicom.commitment import COMMITTED, Reference
from app.errors import Unavailable
from app.index import commitments
from app.index.commitments import (
    Asked,
    Verdict,
    add_commitment,
    commitment_lag,
    save_verdicts,
    take_commitment,
)
from app.rights import Principal, Scope
from tests.archive.test_commitment import (
    ABSENT,
    DAMAGED,
    age,
    alone,
    ask,
    committed_events,
    ref_of,
    stored,
    verdicts,
)
from tests.archive.test_repair import key_of, lose
from tests.factories import make_dataset, new_uid
from tests.waiting import until

REASONS = "SELECT reason FROM commitment_item"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.repair.LEASE_SECONDS", 0)
    monkeypatch.setattr(committing, "LOOK_SECONDS", 0.05)


def _before_the_seal(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Awaitable[object]]
) -> list[int]:
    """Let something happen once after all is verified; the list has a number for each seal."""
    seals: list[int] = []
    settle = archive.sealer.settle

    async def meddled(tenant_id: int) -> None:
        seals.append(tenant_id)
        if len(seals) == 1:
            await work()
        await settle(tenant_id)

    monkeypatch.setattr(archive.sealer, "settle", meddled)
    return seals


async def test_what_is_removed_before_the_end_is_not_committed(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = await stored(archive, principal, 2)
    _before_the_seal(archive, monkeypatch, lambda: delete(archive, principal, ref_of(gone)))
    assert await ask(archive, principal, alone(gone), alone(kept)) == {
        gone.SOPInstanceUID: ABSENT,
        kept.SOPInstanceUID: COMMITTED,
    }


async def test_what_gets_another_object_before_the_end_is_read_again(
    replicated: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset,) = await stored(replicated, principal)
    key = await key_of(replicated, ref_of(dataset))

    async def move() -> None:
        await lose(replicated, "second", key, "bit")
        assert await repair_object(replicated, key) is State.REPAIRED

    seals = _before_the_seal(replicated, monkeypatch, move)
    assert set((await ask(replicated, principal, alone(dataset))).values()) == {COMMITTED}
    assert len(seals) == 2
    assert await key_of(replicated, ref_of(dataset)) != key


@pytest.mark.parametrize("fault", [Unavailable("no answer"), KeyError("a bug")])
async def test_a_fault_puts_it_off_until_it_can_be_done(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def fail() -> None:
        raise fault

    (dataset,) = await stored(archive, principal)
    seals = _before_the_seal(archive, monkeypatch, fail)
    uid = new_uid()
    assert await request_commitment(archive, principal, uid, [alone(dataset)]) is None
    assert await check_commitment(archive, principal, uid) is None
    assert await commitment_lag(archive.index) > 0
    assert await committed_events(archive) == []
    async with commitments_kept(archive):
        await until(lambda: _is_done(archive, principal, uid))
    assert set(verdicts(await check_commitment(archive, principal, uid)).values()) == {COMMITTED}
    assert len(seals) == 2
    assert await commitment_lag(archive.index) == 0


async def _is_done(archive: Archive, principal: Principal, uid: str) -> bool:
    return await check_commitment(archive, principal, uid) is not None


async def test_after_a_day_nothing_is_promised_any_more(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: int) -> None:
        raise Unavailable("no answer")

    (dataset,) = await stored(archive, principal)
    monkeypatch.setattr(archive.sealer, "settle", never)
    uid = new_uid()
    await request_commitment(archive, principal, uid, [alone(dataset), alone(make_dataset())])
    await age(archive, "requested_at", 2)
    async with commitments_kept(archive):
        await until(lambda: _is_done(archive, principal, uid))
    found = verdicts(await check_commitment(archive, principal, uid))
    assert sorted(found.values()) == [DAMAGED, ABSENT]


async def test_a_store_that_is_not_there_has_lost_nothing(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "MOST_LOST", 2)
    datasets = await stored(archive, principal, 6)
    for dataset in datasets:
        await lose(archive, "first", await key_of(archive, ref_of(dataset)), "gone")
    uid = new_uid()
    assert await request_commitment(archive, principal, uid, list(map(alone, datasets))) is None
    rows = await archive.index.fetch(
        "SELECT FROM instance WHERE starts_with(object_key, 'quarantine/')"
    )
    assert len(rows) <= 3


async def _left_by_another(archive: Archive, references: Sequence[Reference], uid: str) -> int:
    """Note a request as a process does that dies then."""
    number = await add_commitment(
        archive.index, Asked(Scope(), "dead", uid, references), "dead", 60
    )
    assert await take_commitment(archive.index, number, archive.commitments.holder) is None
    return number


async def _let_the_lease_end(archive: Archive) -> None:
    await archive.index.fetch("UPDATE commitment SET held_until = now() - interval '1 second'")


async def test_what_a_dead_process_has_left_goes_on_where_it_was(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    async def told(store_: Any, kept: Any) -> Any:
        read.append(kept.instance)
        return await examine(store_, kept)

    monkeypatch.setattr(committing, "examine", told)
    monkeypatch.setattr(committing, "PAGE", 2)
    datasets = await stored(archive, principal, 5)
    uid = new_uid()
    number = await _left_by_another(archive, list(map(alone, datasets)), uid)
    seen = Verdict(1, COMMITTED, await key_of(archive, ref_of(datasets[0])))
    assert await save_verdicts(archive.index, number, "dead", [seen])
    async with commitments_kept(archive):
        await asyncio.sleep(0.2)
        assert read == []  # it may be alive
        await _let_the_lease_end(archive)
        await until(lambda: _is_done(archive, principal, uid))
    assert sorted(read) == sorted(one.SOPInstanceUID for one in datasets[1:])
    result = await check_commitment(archive, principal, uid)
    assert verdicts(result) == {one.SOPInstanceUID: COMMITTED for one in datasets}
    (event,) = await committed_events(archive)
    assert event.actor == "dead"


async def test_who_was_thought_dead_changes_nothing(archive: Archive, principal: Principal) -> None:
    (dataset,) = await stored(archive, principal)
    uid = new_uid()
    number = await _left_by_another(archive, [alone(dataset)], uid)
    await _let_the_lease_end(archive)
    await work_on(archive, number)
    assert set(verdicts(await check_commitment(archive, principal, uid)).values()) == {COMMITTED}
    assert not await save_verdicts(archive.index, number, "dead", [Verdict(1, DAMAGED)])
    await work_on(archive, number)  # it is finished
    assert len(await committed_events(archive)) == 1


async def test_who_does_not_hold_it_any_more_leaves_it(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset,) = await stored(archive, principal)

    async def lose_the_lease() -> None:
        await archive.index.fetch("UPDATE commitment SET holder = 'another'")

    seals = _before_the_seal(archive, monkeypatch, lose_the_lease)
    uid = new_uid()
    assert await request_commitment(archive, principal, uid, [alone(dataset)]) is None
    assert len(seals) == 1
    assert await committed_events(archive) == []


async def test_a_lease_is_renewed_while_it_takes_long(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "LEASE_SECONDS", 0.1)
    (dataset,) = await stored(archive, principal)
    leases: list[Any] = []

    async def is_renewed() -> bool:
        leases.append(await archive.index.fetch("SELECT held_until FROM commitment"))
        return bool(leases[-1] != leases[0])

    _before_the_seal(archive, monkeypatch, lambda: until(is_renewed))
    assert set((await ask(archive, principal, alone(dataset))).values()) == {COMMITTED}


async def test_an_archive_that_closes_leaves_it_to_the_next(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()
    (dataset,) = await stored(archive, principal)
    seals = _before_the_seal(archive, monkeypatch, hanging.wait)
    uid = new_uid()
    asking = asyncio.create_task(request_commitment(archive, principal, uid, [alone(dataset)]))

    async def is_verified() -> bool:
        return bool(seals)

    await until(is_verified)
    await archive.commitments.close()
    assert await asking is None
    async with commitments_kept(archive):
        await until(lambda: _is_done(archive, principal, uid))


async def test_too_many_at_once_have_to_wait(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset,) = await stored(archive, principal)
    monkeypatch.setattr(commitments, "MOST_WORKING", 1)
    await _left_by_another(archive, [alone(dataset)], new_uid())
    with pytest.raises(Unavailable, match="Too many"):
        await ask(archive, principal, alone(dataset))


def _failing(real: Any, faults: list[Exception]) -> Any:
    async def fails(*arguments: Any) -> Any:
        if faults:
            raise faults.pop(0)
        return await real(*arguments)

    return fails


async def test_an_index_that_does_not_answer_is_waited_for(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: dict[str, list[Exception]] = {
        "take_commitment": [Unavailable("no answer")],
        "list_waiting": [Unavailable("no answer"), KeyError("a bug")],
        "find_held": [Unavailable("no answer"), KeyError("a bug")],
        "put_off": [Unavailable("no answer")],
        "renew_commitment": [Unavailable("no answer")],
    }
    for name, waiting in faults.items():
        monkeypatch.setattr(committing, name, _failing(getattr(committing, name), waiting))
    monkeypatch.setattr(committing, "LEASE_SECONDS", 0.02)
    (dataset,) = await stored(archive, principal)
    _before_the_seal(archive, monkeypatch, lambda: asyncio.sleep(0.1))
    uid = new_uid()
    assert await request_commitment(archive, principal, uid, [alone(dataset)]) is None

    async def is_done() -> bool:
        await _let_the_lease_end(archive)
        return await _is_done(archive, principal, uid)

    async with commitments_kept(archive):
        await until(is_done)
    assert not any(faults.values())
    assert set(verdicts(await check_commitment(archive, principal, uid)).values()) == {COMMITTED}
    assert len(await committed_events(archive)) == 1


async def test_who_loses_it_while_reading_saves_nothing(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(store_: Any, kept: Any) -> Any:
        await archive.index.fetch("UPDATE commitment SET holder = 'another'")
        return await examine(store_, kept)

    (dataset,) = await stored(archive, principal)
    monkeypatch.setattr(committing, "examine", late)
    assert await request_commitment(archive, principal, new_uid(), [alone(dataset)]) is None
    assert [row["reason"] for row in await archive.index.fetch(REASONS)] == [None]


async def test_what_never_holds_still_is_put_off(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def all_is_well(*_: object) -> State:
        return State.WHOLE

    (dataset,) = await stored(archive, principal)
    await lose(archive, "first", await key_of(archive, ref_of(dataset)), "gone")
    monkeypatch.setattr(committing, "repair_object", all_is_well)
    assert await request_commitment(archive, principal, new_uid(), [alone(dataset)]) is None
    assert [row["reason"] for row in await archive.index.fetch(REASONS)] == [None]
