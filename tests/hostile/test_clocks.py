"""Clocks that jump: nothing goes for good before somebody can have seen it, nothing waits for ever.

How each use of the wall clock in `app/` bears it, the table at the end says.
"""

import ast
import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

import app
from app.archive import retention, sweep, upkeep
from app.archive.backup import make_backup
from app.archive.backup_place import new_stamp, open_place
from app.archive.context import Archive, Place, open_archive
from app.archive.removal import delete
from app.archive.restoring import restore_deleted
from app.archive.retention import act_by_rules
from app.archive.store import store_instances
from app.archive.upkeep import kept_up
from app.dicom.commitment import Reference
from app.dicom.uids import StudyRef
from app.errors import Conflict
from app.index.backup_runs import BACKUP, add_run, last_runs
from app.index.clock import seconds_ahead, see_time_pass, seen_now
from app.index.commitments import Asked, add_commitment, list_waiting
from app.index.copies import claim_tasks
from app.index.scrubs import take_store
from app.index.segments import Turn
from app.index.upkeep import begin_upkeep, leave_upkeep
from app.jobs.queue import enqueue, take
from app.rights import Principal, Scope
from tests.archive.test_retention import DELETE_OLD, KEEP_CT, live, make_rule, make_study
from tests.archive.test_sealing import check
from tests.archive.test_store import parts, store
from tests.archive.test_verify import files
from tests.factories import make_part10, new_uid
from tests.hostile.clocks import jump
from tests.hostile.names import Hostile
from tests.waiting import until

COVERED = frozenset(
    {
        Hostile.CLOCK_FORWARD_PURGE,
        Hostile.CLOCK_FORWARD_RULES,
        Hostile.CLOCK_FORWARD_KEPT,
        Hostile.CLOCK_FORWARD_STORE,
        Hostile.CLOCK_FLAPS,
        Hostile.CLOCK_BACK_STORE,
        Hostile.CLOCK_BACK_SEAL,
        Hostile.CLOCK_BACK_LEASES,
        Hostile.CLOCK_BACK_TASKS,
        Hostile.CLOCK_BACK_PURGE,
        Hostile.CLOCK_FORWARD_BACKUP,
    }
)
YEAR, DAY = timedelta(days=365), timedelta(days=1)
ONE = Principal("test")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0)
    monkeypatch.setattr(upkeep, "READ_SECONDS", 0)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)


@pytest.fixture
async def archive(database_url: str, tmp_path: Path) -> AsyncIterator[Archive]:
    """An archive that nobody keeps up but the test."""
    place = Place(database_url, tmp_path / "objects", tmp_path / "cache")
    async with open_archive(place) as opened:
        yield opened


async def deleted_study(archive: Archive) -> str:
    uid = new_uid()
    await store(archive, ONE, make_part10(StudyInstanceUID=uid))
    await delete(archive, ONE, StudyRef(uid))
    return uid


async def ahead(archive: Archive) -> timedelta:
    return timedelta(seconds=await seconds_ahead(archive.index))


async def test_a_year_forward_purges_nothing(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = await deleted_study(archive)
    await see_time_pass(archive.index, 60)
    await jump(archive.index, YEAR)
    async with kept_up(replace(archive, deleted_days=30), rules=True):
        await asyncio.sleep(0.5)
    assert len(files(tmp_path)) == 1
    assert YEAR - DAY < await ahead(archive) < YEAR
    assert caplog.text.count("days ahead of the time that was seen to pass") == 1
    assert (await restore_deleted(archive, ONE, StudyRef(study))).instances == 1


async def test_an_archive_that_was_never_looked_at_begins_with_its_log(
    archive: Archive, tmp_path: Path
) -> None:
    await deleted_study(archive)
    await jump(archive.index, YEAR, but=())
    async with kept_up(replace(archive, deleted_days=30), rules=False):
        await asyncio.sleep(0.3)
    assert len(files(tmp_path)) == 1


async def test_the_window_is_over_when_its_time_was_seen_to_pass(
    archive: Archive, tmp_path: Path
) -> None:
    await deleted_study(archive)
    await see_time_pass(archive.index, 60)
    for _ in range(31):  # a day each
        await jump(archive.index, DAY)
        await see_time_pass(archive.index, DAY.total_seconds())
    assert await ahead(archive) < timedelta(seconds=1)
    async with kept_up(replace(archive, deleted_days=30), rules=False):
        await until(lambda: nothing_left(tmp_path))


async def nothing_left(tmp_path: Path) -> bool:
    return not files(tmp_path)


async def test_time_that_was_not_seen_is_caught_up_with_at_twice_its_pace(archive: Archive) -> None:
    await see_time_pass(archive.index, 60)
    await jump(archive.index, YEAR)
    await see_time_pass(archive.index, 3600)  # the first look of a process
    before = await ahead(archive)
    await jump(archive.index, DAY)
    await see_time_pass(archive.index, DAY.total_seconds())
    assert abs(before - DAY - await ahead(archive)) < timedelta(seconds=5)
    await jump(archive.index, -YEAR)  # the clock is mended
    look = await see_time_pass(archive.index, 60)
    assert abs(YEAR.total_seconds() - look.back) < 5
    assert await ahead(archive) < DAY


async def test_a_clock_that_flaps_lets_no_more_time_pass_than_looks_do(archive: Archive) -> None:
    await see_time_pass(archive.index, 60)
    begun = await seen_now(archive.index)
    for _ in range(20):
        await jump(archive.index, YEAR)
        begun -= YEAR
        await see_time_pass(archive.index, 60)
        await jump(archive.index, -YEAR)
        begun += YEAR
        await see_time_pass(archive.index, 60)
    assert await seen_now(archive.index) - begun < timedelta(seconds=20 * 2 * 120)


async def test_a_year_forward_lets_no_rule_delete(archive: Archive) -> None:
    rule = replace(DELETE_OLD, days=30)
    await make_rule(archive, rule)
    today = f"{datetime.now(UTC):%Y%m%d}"
    study = await make_study(archive, date=today)
    await see_time_pass(archive.index, 60)
    await jump(archive.index, YEAR)
    await archive.index.fetch(
        "UPDATE study SET study_date = to_char(now() - interval '1 year', 'YYYYMMDD')"
    )
    await see_time_pass(archive.index, 3600)
    assert await act_by_rules(archive, 1, always) == 0
    assert await live(archive) == {study}


async def always() -> bool:
    return True


async def test_a_year_forward_ends_no_duty_to_keep(archive: Archive) -> None:
    await make_rule(archive, replace(KEEP_CT, days=100))
    study = await make_study(archive, date="", stored=10)
    await see_time_pass(archive.index, 60)
    await jump(archive.index, YEAR)
    await see_time_pass(archive.index, 3600)
    with pytest.raises(Conflict):
        await delete(archive, ONE, StudyRef(study))


async def test_a_store_that_a_jump_lets_be_swept_is_refused_and_can_be_sent_again(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, go_on = asyncio.Event(), asyncio.Event()
    add = archive.writer.add

    async def late(*arguments: object) -> object:
        put.set()
        await go_on.wait()
        return await add(*arguments)  # type: ignore[arg-type]

    data = make_part10()
    await see_time_pass(archive.index, 60)
    with monkeypatch.context() as patched:
        patched.setattr(archive.writer, "add", late)
        storing = asyncio.create_task(store_instances(archive, ONE, parts(data)))
        await put.wait()
        later = SimpleNamespace(time=lambda: time.time() + YEAR.total_seconds())
        patched.setattr(sweep, "time", later)
        await sweep.sweep_unnamed(archive, ONE, 0, lambda _: None, really=True)
        await jump(archive.index, YEAR)
        await sweep.sweep_unnamed(archive, ONE, 0, lambda _: None, really=True)
        go_on.set()
        report = await storing
    assert [one.reason for one in report.failed] == [0x0110]
    assert files(tmp_path) == []
    assert (await store_instances(archive, ONE, parts(data))).stored


async def test_a_day_back_between_two_stores_changes_nothing(
    archive: Archive, tmp_path: Path
) -> None:
    study, series = new_uid(), new_uid()
    uids: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    for _ in range(3):
        await store(archive, ONE, make_part10(**uids))
        await archive.sealer.settle(1)
        await jump(archive.index, -DAY)
    assert len(files(tmp_path)) == 3
    await delete(archive, ONE, StudyRef(study))
    assert (await restore_deleted(archive, ONE, StudyRef(study))).instances == 3


async def test_a_day_back_between_two_seals_leaves_a_chain_that_holds(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Turn.now

    async def earlier(turn: Turn) -> datetime:
        return await now(turn) - DAY

    for _ in range(2):
        await store(archive, ONE, make_part10())
        await archive.sealer.settle(1)
        monkeypatch.setattr(Turn, "now", earlier)
    first, second = await check(archive)
    assert first.head.sealed_at == second.head.sealed_at


async def test_after_a_jump_back_no_lease_is_waited_for(archive: Archive) -> None:
    index = archive.index
    await see_time_pass(index, 60)
    assert await begin_upkeep(index, "purge", "dead", 50)
    assert await take_store(index, "first", "dead") is not None
    await jump(index, -YEAR)
    assert not await begin_upkeep(index, "purge", "alive", 50)
    assert (await see_time_pass(index, 60)).back > 0
    await jump(index, timedelta(minutes=11))
    assert await begin_upkeep(index, "purge", "alive", 50)
    assert await take_store(index, "first", "alive") is not None
    await leave_upkeep(index, "purge", "alive", done=True)
    await jump(index, -YEAR)
    await see_time_pass(index, 60)
    await jump(index, timedelta(minutes=3))
    assert await begin_upkeep(index, "purge", "alive", 50)


async def test_after_a_jump_back_no_task_is_waited_for(archive: Archive) -> None:
    index = archive.index
    await index.fetch("INSERT INTO copy_task (kind, store, object_key) VALUES ('copy', 'x', 'k')")
    await see_time_pass(index, 60)
    await jump(index, -YEAR)
    assert await claim_tasks(index, "x", 4) == []
    await see_time_pass(index, 60)
    assert [task.object_key for task in await claim_tasks(index, "x", 4)] == ["k"]


async def test_after_a_jump_back_no_job_and_no_commitment_is_waited_for(archive: Archive) -> None:
    index = archive.index
    async with index.at_once() as connection:
        await enqueue(connection, "told", b"")
    asked = Asked(Scope(), "modality", new_uid(), [Reference("1.2", new_uid())])
    number = await add_commitment(index, asked, "dead", 60)
    await see_time_pass(index, 60)
    await jump(index, -YEAR)
    assert await take(index, uuid4(), ["told"], 1) == []
    await see_time_pass(index, 60)
    await jump(index, DAY + timedelta(seconds=1))
    (job,) = await take(index, uuid4(), ["told"], 1)
    assert await list_waiting(index, 9) == [number]
    await jump(index, -YEAR)  # who has taken the job is dead
    await see_time_pass(index, 60)
    await jump(index, DAY + timedelta(seconds=1))
    assert [one.id for one in await take(index, uuid4(), ["told"], 1)] == [job.id]


async def test_after_a_jump_back_the_last_backup_grows_old_again(archive: Archive) -> None:
    index = archive.index
    await add_run(index.url, BACKUP, datetime.now(UTC), "here", {}, good=True)
    await see_time_pass(index, 60)
    await jump(index, -YEAR)
    await see_time_pass(index, 60)
    at = (await last_runs(index)).backup
    assert at is not None
    assert at <= datetime.now(UTC)


async def test_a_day_back_purges_nothing_sooner(archive: Archive, tmp_path: Path) -> None:
    await deleted_study(archive)
    await see_time_pass(archive.index, 60)
    await jump(archive.index, -DAY)
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await asyncio.sleep(0.3)
    assert len(files(tmp_path)) == 1  # it was deleted in what is the future now
    await jump(archive.index, DAY)
    await see_time_pass(archive.index, 2 * DAY.total_seconds())
    async with kept_up(replace(archive, deleted_days=0), rules=False):
        await until(lambda: nothing_left(tmp_path))


async def test_the_newest_backup_is_the_one_made_last_whatever_the_clock_said(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_place(tmp_path / "backup", tmp_path / "scratch") as place:
        wrong = await make_backup(archive, ONE, place, lambda _: None)
        ahead = new_stamp(wrong.at + YEAR, [])
        for name in ("index/{}.dump", "index/{}.secrets", "backups/{}.json"):
            old = tmp_path / "backup" / name.format(wrong.stamp)
            old.rename(old.with_name(old.name.replace(wrong.stamp, ahead)))
        await store(archive, ONE, make_part10())
        right = await make_backup(archive, ONE, place, lambda _: None)
        assert await place.stamps() == [ahead, right.stamp]
        assert (await place.load()).position == right.position
        assert await place.forget_older(1) == [ahead]
        assert await place.stamps() == [right.stamp]


# --- who looks at the clock of the wall -----------------------------------------------------------

BEARS = {
    "admin/figures.py": "shows an age",
    "archive/backup.py": "writes down when a backup was finished",
    "archive/export_targets.py": "times in a ZIP file",
    "archive/findings.py": "shows a lag",
    "archive/rebuild.py": "what is of a time to come: where the log has a later one, that counts",
    "archive/running.py": "since when a Store runs: too early is more careful, too late is refused",
    "archive/sweep.py": "what is old enough to be swept: who stores it is refused, never lost",
    "archive/verify.py": "what is too young to be called unnamed: only told of",
    "archive/webhook_calls.py": "the time in a signature, which the receiver checks",
    "archive/webhooks.py": "the time in a message that is only a test",
    "archive/zipped.py": "times in a ZIP file",
    "cli/backing_up.py": "shows RPO and writes down when a drill was",
    "cli/doctor.py": "compares the clock with what was written",
    "cli/doctor_safety.py": "shows an age",
    "cli/purging.py": "an operator's own purge: says first how far the clock is ahead",
    "cli/serving.py": "the time of a line in the log",
    "dimse/reporting.py": "how old a commitment is that is told still: a day more or less",
    "dimse/spool.py": "the order of arrival, which a start of the bridge reads; and shows an age",
    "jobs/queue.py": "writes down when a job failed",
    "objects/base.py": "the age in a key: see sweep",
    "web/oidc/checking.py": "compares a provider's clock with ours, for `doctor` to tell",
    "web/oidc/source.py": "how long a token is remembered: never beyond the end it was checked for",
    "web/oidc/tokens.py": "whether a token is in force, which its provider's clock says",
    "objects/s3_uploads.py": "the time in a signature, which the bucket checks",
}
"""Modules that ask what time it is, and what becomes of a jump there. All else that has to do with
time is counted by a clock that cannot be set, or by PostgreSQL (`app.index.clock`)."""
_ASKS = {("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime")}
_ASKS |= {("datetime", "now"), ("datetime", "today"), ("datetime", "utcnow"), ("date", "today")}


def asks_the_wall(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in _ASKS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_every_module_that_asks_what_time_it_is_bears_a_jump() -> None:
    root = Path(app.__file__).parent
    asking = {str(path.relative_to(root)) for path in root.rglob("*.py") if asks_the_wall(path)}
    assert asking == set(BEARS)
