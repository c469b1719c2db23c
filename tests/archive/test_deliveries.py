"""What the log says reaches webhooks: all of it, in order, whatever their receivers do."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path

import pytest

from app.archive import deliveries, webhook_calls, webhooks
from app.archive.changes import read_changes
from app.archive.context import Archive, Place, open_archive
from app.archive.deliveries import KIND, deliveries_begun
from app.archive.holds import hold_study
from app.archive.removal import delete
from app.dicom.uids import StudyRef
from app.index import webhooks as rows
from app.index.events import Position
from app.index.webhooks import Webhook, webhook_lags
from app.jobs import running
from app.jobs.queue import count_jobs, list_jobs, retry_jobs
from app.jobs.running import jobs_done
from app.rights import Principal
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.receiver import Receiver, receiving
from tests.waiting import until

ALL: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(deliveries, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(deliveries, "PAUSES", (0.05,) * 40)


@asynccontextmanager
async def at_work(archive: Archive) -> AsyncIterator[None]:
    async with (
        deliveries_begun(archive) as begun,
        jobs_done(archive.index, {KIND: begun.kind}),
    ):
        yield


async def happen(archive: Archive, count: int = 1) -> list[str]:
    """Store some Studies; return their UIDs."""
    studies = [new_uid() for _ in range(count)]
    for study in studies:
        await store(archive, Principal("Dr. Secret"), make_part10(StudyInstanceUID=study))
    return studies


async def positions(archive: Archive) -> list[str]:
    events, _ = await read_changes(archive, Principal("test"), Position(), 1000, 0)
    return [str(event.position) for event in events]


async def add(archive: Archive, receiver: Receiver, kinds: tuple[str, ...] = ALL) -> Webhook:
    principal = Principal("operator")
    return await webhooks.add(archive, principal, receiver.url, kinds, receiver.secret)


async def until_told(archive: Archive, seconds: float = 15) -> None:
    async def told() -> bool:
        return not any(lag.waiting for lag in await webhook_lags(archive.index))

    await until(told, seconds)


async def one(archive: Archive) -> Webhook:
    (found,) = await webhooks.list_all(archive, Principal("operator"))
    return found


async def test_events_arrive_signed_in_order_and_without_names(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await happen(archive)
    before = await positions(archive)
    with receiving() as receiver:
        await add(archive, receiver)
        async with at_work(archive):
            study, other = await happen(archive, 2)
            await hold_study(archive, Principal("Dr. Secret"), other, "Patient Secret sues")
            await delete(archive, Principal("Dr. Secret"), StudyRef(study))
            await until_told(archive)
    assert receiver.positions() == (await positions(archive))[len(before) :]
    assert all(call.genuine for call in receiver.calls)
    assert len({call.id for call in receiver.calls}) == len(receiver.calls)
    first, last = receiver.calls[0], receiver.calls[-1]
    assert first.headers["content-type"] == "application/json"
    assert first.body["type"] == "changes"
    change = first.body["data"]["changes"][0]
    assert (change["kind"], change["study"]) == ("accepted", study)
    assert last.body["data"]["next"] == last.positions[-1]
    assert last.body["timestamp"] == last.body["data"]["changes"][-1]["at"]
    assert "Secret" not in str([call.body for call in receiver.calls])
    assert (await one(archive)).delivered_at is not None
    assert receiver.secret not in caplog.text
    assert "token=hidden" not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("app.")
    )


async def test_only_kinds_that_were_asked_for_are_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_NEXT_STEP", rows._NEXT_STEP.replace("LIMIT 5000", "LIMIT 2"))
    with receiving() as receiver:
        await add(archive, receiver, ("removed",))
        studies = await happen(archive, 7)
        await delete(archive, Principal("test"), StudyRef(studies[3]))
        await happen(archive, 3)
        async with at_work(archive):
            await until_told(archive)
            end = (await positions(archive))[-1]

            async def passed() -> bool:
                return str((await one(archive)).after) == end

            await until(passed)
    (call,) = receiver.calls
    (change,) = call.body["data"]["changes"]
    assert (change["kind"], change["study"]) == ("removed", studies[3])


async def test_a_message_takes_so_many_events_and_so_many_bytes(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST", 3)
    with receiving() as receiver:
        await add(archive, receiver)
        await happen(archive, 8)
        async with at_work(archive):
            await until_told(archive)
        assert [len(call.positions) for call in receiver.calls] == [3, 3, 2]
        receiver.calls.clear()
        monkeypatch.setattr(deliveries, "MOST_BYTES", 1)
        await happen(archive, 3)
        async with at_work(archive):
            await until_told(archive)
        assert [len(call.positions) for call in receiver.calls] == [1, 1, 1]
        assert receiver.positions() == (await positions(archive))[8:]


async def test_a_receiver_that_fails_and_is_down_and_comes_back_misses_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST", 2)
    with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        hook = await add(archive, receiver)
        receiver.answer = lambda number: (204 if number % 3 == 0 else 500, 0)
        await happen(archive, 6)
        async with at_work(archive):
            await until_told(archive)
    assert len(receiver.calls) == 9
    ids = [call.id for call in receiver.calls]
    assert [ids[at] == ids[at + 1] for at in range(8)] == [True, True, False] * 2 + [True, True]
    async with at_work(archive):
        await happen(archive, 3)

        async def tried() -> bool:
            return any(job.attempts > 1 for job in await list_jobs(archive.index, 0, dead=False))

        await until(tried)
        (job, *_) = await list_jobs(archive.index, 0, dead=False)
        assert "could not be called" in job.error
        (lag,) = await webhook_lags(archive.index)
        assert (lag.webhook, lag.waiting) == (hook.id, 3)
        assert lag.lag_seconds > 0
        with receiving(port) as back:
            await until_told(archive)
    took = chain.from_iterable(call.positions for call in receiver.calls[2::3])
    assert [*took, *back.positions()] == await positions(archive)
    assert (await count_jobs(archive.index)).dead == 0


async def test_a_receiver_that_is_too_slow_is_called_again_with_the_same_message(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_calls, "CALL_SECONDS", 0.2)
    with receiving() as receiver:
        await add(archive, receiver)
        receiver.answer = lambda number: (204, 0.5 if number == 1 else 0)
        async with at_work(archive):
            await happen(archive)
            await until_told(archive)
    first, second = receiver.calls
    assert (first.id, first.body) == (second.id, second.body)
    rows = await archive.index.fetch("SELECT traceback ->> 'exception_message' AS m FROM job_log")
    assert "there was no answer within 0.2 s" in {row["m"] for row in rows}


async def test_a_receiver_that_is_gone_is_told_nothing_until_it_is_enabled(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver:
        hook = await add(archive, receiver)
        receiver.answer = lambda _: (410, 0)
        async with at_work(archive):
            await happen(archive, 2)

            async def disabled() -> bool:
                return (await one(archive)).disabled == "410 Gone"

            await until(disabled)
            calls = len(receiver.calls)
            await happen(archive)
            await asyncio.sleep(0.2)
            assert len(receiver.calls) == calls
            assert await list_jobs(archive.index, 0, dead=False) == []
            assert f"webhook {hook.id} is disabled" in caplog.text
            receiver.answer = lambda _: (200, 0)
            receiver.calls.clear()
            await webhooks.enable(archive, Principal("operator"), hook.id)
            await until_told(archive)
    assert receiver.positions() == await positions(archive)


async def test_redirects_are_not_followed(archive: Archive) -> None:
    with receiving() as elsewhere, receiving() as receiver:
        await add(archive, receiver)
        receiver.location = elsewhere.url
        receiver.answer = lambda number: (307 if number == 1 else 200, 0)
        async with at_work(archive):
            await happen(archive)
            await until_told(archive)
    assert elsewhere.calls == []
    assert len(receiver.calls) == 2


async def test_what_failed_for_good_is_left_behind_and_can_be_sent_late(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAUSES", (0.01,))
    monkeypatch.setattr(deliveries, "MOST", 1)
    with receiving() as receiver:
        await add(archive, receiver)
        receiver.answer = lambda number: (500 if number <= 2 else 204, 0)
        async with at_work(archive):
            await happen(archive, 3)
            await until_told(archive)
            (dead,) = await list_jobs(archive.index, 0, dead=True)
            assert dead.error == "the receiver answered 500"
            everything = await positions(archive)
            assert [call.positions[0] for call in receiver.calls[2:]] == everything[1:]
            assert (await one(archive)).disabled == ""
            receiver.calls.clear()
            receiver.answer = lambda _: (204, 0)
            assert await retry_jobs(archive.index, None) == [dead.id]

            async def late() -> bool:
                return not await list_jobs(archive.index, 0, dead=False)

            await until(late)
            await happen(archive)
            await until_told(archive)
    assert receiver.positions() == [everything[0], (await positions(archive))[3]]


async def test_a_dead_letter_of_a_webhook_that_is_gone_stays_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAUSES", ())

    async def dead(count: int, error: str) -> None:
        async def so() -> bool:
            found = await list_jobs(archive.index, 0, dead=True)
            return [job.error for job in found] == [error] * count

        await until(so)

    with receiving() as receiver:
        await add(archive, receiver)
        receiver.answer = lambda _: (500, 0)
        async with at_work(archive):
            await happen(archive)
            await dead(1, "the receiver answered 500")
            receiver.answer = lambda _: (410, 0)
            await retry_jobs(archive.index, None)
            await dead(1, "the receiver answered 410")
            await archive.index.fetch("UPDATE webhook SET disabled = '410 Gone'")
            await retry_jobs(archive.index, None)
            await dead(1, "webhook 1 is disabled: 410 Gone")


async def test_of_each_webhook_there_is_one_delivery_at_a_time_however_many_work(
    archive: Archive, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST", 1)
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache")
    async with AsyncExitStack() as stack:
        first, second = (stack.enter_context(receiving()) for _ in range(2))
        await add(archive, first)
        await add(archive, second)
        first.answer = second.answer = lambda _: (204, 0.03)
        await happen(archive, 10)
        other = await stack.enter_async_context(open_archive(place))
        async with at_work(archive), at_work(other):
            await until_told(archive)
    everything = await positions(archive)
    for receiver in (first, second):
        assert receiver.positions() == everything
        assert receiver.most_at_once == 1


async def test_a_webhook_that_is_removed_takes_its_jobs_with_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PAUSES", (60.0,))
    with receiving() as receiver:
        hook = await add(archive, receiver)
        receiver.answer = lambda _: (500, 0)
        async with at_work(archive):
            await happen(archive)

            async def failed() -> bool:
                return [job.attempts for job in await list_jobs(archive.index, 0, dead=False)] == [
                    1
                ]

            await until(failed)
            await webhooks.remove(archive, Principal("operator"), hook.id)
            assert await list_jobs(archive.index, 0, dead=False) == []
            receiver.answer = lambda _: (204, 0.3)
            again = await add(archive, receiver)
            calls = len(receiver.calls)
            await happen(archive)

            async def called() -> bool:
                return len(receiver.calls) > calls

            await until(called)
            await webhooks.remove(archive, Principal("operator"), again.id)  # in mid-call
            await asyncio.sleep(0.4)
    assert await archive.index.fetch("SELECT FROM webhook UNION ALL SELECT FROM job") == []


@pytest.mark.parametrize("losing", ["DELETE FROM webhook", "DELETE FROM event"])
async def test_a_job_that_has_nobody_or_nothing_to_tell_ends(archive: Archive, losing: str) -> None:
    async def queued() -> bool:
        return bool(await list_jobs(archive.index, 0, dead=False))

    async def ended() -> bool:
        return not await queued()

    with receiving() as receiver:
        await add(archive, receiver)
        await happen(archive)
        async with deliveries_begun(archive):
            await until(queued)
        await archive.index.fetch(losing)
        async with at_work(archive):
            await until(ended)
    assert receiver.calls == []


async def test_an_index_that_fails_puts_deliveries_off(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deliveries, "LONGEST_PAUSE", 0.05)
    begin_all, failures = deliveries.Deliveries.begin_all, [KeyError("a bug"), OSError("none")]

    async def fails(self: deliveries.Deliveries) -> None:
        if failures:
            raise failures.pop()
        await begin_all(self)

    monkeypatch.setattr(deliveries.Deliveries, "begin_all", fails)
    with receiving() as receiver:
        await add(archive, receiver)
        async with at_work(archive):
            await happen(archive)
            await until_told(archive)
    assert receiver.positions() == await positions(archive)
    assert caplog.text.count("deliveries to webhooks could not be begun") == 2
