"""`fileroom worker`, `jobs` and `webhooks` as an operator runs them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.archive.context import Archive, Place, open_archive
from app.archive.webhook_calls import make_secret
from app.cli import working
from app.cli.background import jobs, webhooks
from app.cli.main import application
from app.cli.queued import describe
from app.cli.refusal import Refusal
from app.errors import ArchiveError, Unavailable
from app.index.engine import fetch_at
from app.index.pool import Connection
from app.jobs.queue import SeenJob, bury, enqueue, take
from app.rights import Principal
from app.settings import Settings
from tests.archive.test_store import store
from tests.factories import make_part10
from tests.live_server import FILEROOM, clean_environment, serve
from tests.receiver import Receiver, receiving

GROUPS = {"jobs": jobs, "webhooks": webhooks}
PATIENCE = 60.0
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def until(is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def in_archive(url: str, tmp_path: Path, work: Callable[[Archive], Awaitable[None]]) -> None:
    async def run() -> None:
        place = Place(url, tmp_path / "data" / "objects", tmp_path / "data" / "cache")
        async with open_archive(place) as archive:
            await work(archive)

    asyncio.run(run())


def happen(url: str, tmp_path: Path, count: int = 1) -> None:
    """Store some Instances, as a server elsewhere does."""

    async def work(archive: Archive) -> None:
        for _ in range(count):
            await store(archive, Principal("test"), make_part10())

    in_archive(url, tmp_path, work)


Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on this test's archive in this process; return what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILEROOM_DATABASE__URL", database_url)
    monkeypatch.setenv("FILEROOM_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(application, arguments)
        if isinstance(done.exception, ArchiveError | Refusal):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout

    return call


async def bury_one(archive: Archive) -> None:
    async def nothing(_: Connection) -> None:
        """Write nothing."""

    async with archive.index.writing() as connection:
        await enqueue(connection, "webhook/1", b"")
        await enqueue(connection, "webhook/2", b"")
    me = uuid.uuid4()
    (job, _) = await take(archive.index, me, ["webhook"], 9)
    await bury(archive.index, me, job, "the receiver answered 500", nothing)


def test_the_queue_is_listed_retried_and_given_up(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    assert run("jobs", "list") == "no job waits\n"
    assert run("jobs", "list", "--dead") == "no job has failed for good\n"
    in_archive(database_url, tmp_path, bury_one)
    dead, other = run("jobs", "list").splitlines()
    assert dead.startswith("1: webhook/1, dead since ")
    assert dead.endswith(": the receiver answered 500")
    assert other.startswith("2: webhook/2, running since ")
    (job,) = json.loads(run("jobs", "list", "--dead", "--json"))["jobs"]
    assert (job["id"], job["state"], job["error"]) == (1, "dead", "the receiver answered 500")
    doctor = json.loads(run("doctor", "--json", code=1))
    (found,) = (one for one in doctor["findings"] if one["check"] == "jobs")
    assert (found["verdict"], found["found"]) == ("bad", "1 failed for good; 1 wait")
    assert run("jobs", "retry", "--all-dead").startswith("1 jobs are done as soon as")
    assert run("jobs", "retry", "1").startswith("1 jobs are done as soon as")
    assert "or --all-dead" in CliRunner().invoke(application, ["jobs", "retry"]).output
    with pytest.raises(ArchiveError, match="Dead letter 1 not found"):
        run("jobs", "discard", "1")
    fetch_at(database_url, "UPDATE job SET status = 'failed'")
    assert run("jobs", "discard", "1") == "Job 1 is given up\n"


def test_webhooks_are_added_listed_tried_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("webhooks", "list") == "there are no webhooks\n"
    with receiving() as receiver:
        added = run("webhooks", "add", receiver.url, "--kinds", "removed,accepted").splitlines()
        assert added[0] == "Webhook 1 is told of what comes from now on"
        receiver.secret = added[1].removeprefix("Secret, which is not shown again: ")
        assert run("webhooks", "test", "1") == "The receiver answered 204\n"
        receiver.answer = lambda _: (500, 0)
        assert run("webhooks", "test", "1", code=1) == "The receiver answered 500\n"
        assert [call.genuine for call in receiver.calls] == [True, True]
    listed = run("webhooks", "list")
    assert listed == f"1: {receiver.url}: accepted,removed; not told yet\n"
    secret = tmp_path / "secret"
    secret.write_text(make_secret())
    kept = run("webhooks", "add", "https://ris.example.org/", "--secret-file", str(secret))
    assert kept == "Webhook 2 is told of what comes from now on\n"
    assert secret.read_text() not in run("webhooks", "list")
    url = os.environ["FILEROOM_DATABASE__URL"]
    fetch_at(url, "UPDATE webhook SET disabled = '410 Gone' WHERE id = 2")
    found = {one["check"]: one for one in json.loads(run("doctor", "--json"))["findings"]}
    assert found["jobs"]["found"] == "webhooks that are disabled: 2"
    assert "; disabled: 410 Gone" in run("webhooks", "list")
    assert run("webhooks", "enable", "2") == "Webhook 2 goes on where it was left\n"
    assert run("webhooks", "remove", "1") == "Webhook 1 is removed\n"
    with pytest.raises(ArchiveError, match="Webhook 1 not found"):
        run("webhooks", "remove", "1")


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_help_of_each_command_of_a_group_teaches_by_example(group: str) -> None:
    for entry in GROUPS[group].registered_commands:
        said = entry.callback.__doc__ or ""
        assert f"fileroom {group} {entry.name}" in said.split("Example", 1)[1]


def test_a_job_that_waits_for_its_next_try_says_when() -> None:
    job = SeenJob(7, "webhook/1", "waiting", 2, NOON, NOON, "no answer")
    assert describe(job) == (
        "7: webhook/1, waiting since 2026-01-31 12:00, next try 2026-01-31 12:00: no answer"
    )


def test_a_worker_needs_an_archive(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="There is no archive"):
        working.run_worker(Settings(data_dir=tmp_path / "data"))


def test_a_worker_waits_for_an_index_of_its_version(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[list[str] | None] = [None, None, ["0011"], ["0011"], []]

    def pending(_: str) -> list[str]:
        answer = answers.pop(0)
        if answer is None:
            raise Unavailable("the index does not answer")
        return answer

    monkeypatch.setattr(working, "WAIT_SECONDS", 0)
    monkeypatch.setattr(working, "pending", pending)
    working._wait_for_index(empty_database_url)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "waiting for the index: the index does not answer",
        "waiting for the index: it is older than this version",
    ]


@contextmanager
def worker(
    directory: Path, log: str = "worker", **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `fileroom worker` for the block, from when it is at work; kill it at the end."""
    path = directory / log
    with path.open("wb") as output:
        process = subprocess.Popen(
            [FILEROOM, "worker", "--data-dir", str(directory / "data")],
            cwd=directory,
            env=clean_environment(variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: b"is at work" in path.read_bytes())
        yield process
    finally:
        process.kill()
        process.wait()


def made(receiver: Receiver, run: Run) -> None:
    said = run("webhooks", "add", receiver.url)
    receiver.secret = said.split("again: ")[1].split()[0]


def none_waits(url: str) -> bool:
    return not fetch_at(url, "SELECT FROM job")


@pytest.mark.slow
def test_workers_that_are_stopped_or_killed_in_mid_delivery_lose_nothing(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    variables = {"FILEROOM_DATABASE__URL": database_url}
    with receiving() as receiver, worker(tmp_path, "first", **variables) as first:
        made(receiver, run)
        receiver.answer = lambda number: (204, 20 if number in (1, 3) else 0)
        happen(database_url, tmp_path)
        until(lambda: len(receiver.calls) == 1)
        with worker(tmp_path, "second", **variables) as second:
            begun = time.monotonic()
            first.send_signal(signal.SIGTERM)
            assert first.wait(PATIENCE) == 0
            assert time.monotonic() - begun < 10
            until(lambda: len(receiver.calls) == 2)
            assert receiver.calls[0].id == receiver.calls[1].id
            until(lambda: none_waits(database_url))
            happen(database_url, tmp_path)
            until(lambda: len(receiver.calls) == 3)
            second.kill()
            second.wait()
        fetch_at(database_url, "UPDATE job SET heartbeat = now() - interval '31 seconds'")
        with worker(tmp_path, "third", **variables) as third:
            until(lambda: len(receiver.calls) == 4)
            until(lambda: none_waits(database_url))
            third.send_signal(signal.SIGINT)
            assert third.wait(PATIENCE) == 0
    assert all(call.genuine for call in receiver.calls)
    (_, first_time, killed, again) = receiver.calls
    assert (killed.id, killed.body) == (again.id, again.body)
    assert killed.id != first_time.id


@pytest.mark.slow
def test_a_second_signal_ends_a_worker_at_once(
    run: Run, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import app.jobs.running as r; r.STOP_SECONDS = 60\nfrom app.cli.main import main; main()"
    )
    log = tmp_path / "log"
    with receiving() as receiver, log.open("wb") as output:
        made(receiver, run)
        receiver.answer = lambda _: (204, 5)
        process = subprocess.Popen(
            [sys.executable, "-c", program, "worker"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: b"is at work" in log.read_bytes())
            happen(database_url, tmp_path)
            until(lambda: len(receiver.calls) == 1)
            process.terminate()
            until(lambda: b"stopping" in log.read_bytes())
            assert process.poll() is None
            process.terminate()
            assert process.wait(3) == -signal.SIGTERM
        finally:
            process.kill()
            process.wait()


def store_over_http(url: str) -> None:
    headers = {"Content-Type": "application/dicom"}
    answer = httpx.post(f"{url}/dicom-web/studies", content=make_part10(), headers=headers)
    answer.raise_for_status()


@pytest.mark.slow
def test_a_worker_does_what_a_server_leaves_to_it_and_outlives_its_restart(tmp_path: Path) -> None:
    variables = {"FILEROOM_JOBS__INSIDE_SERVE": "false"}
    with receiving() as receiver, ExitStack() as stack:
        with serve(tmp_path, environment=variables) as server:
            done = subprocess.run(
                [FILEROOM, "webhooks", "add", receiver.url, "--data-dir", server.data_dir],
                env=clean_environment(),
                capture_output=True,
                text=True,
                check=True,
            )
            receiver.secret = done.stdout.split("again: ")[1].split()[0]
            store_over_http(server.url)
            time.sleep(2.5)
            assert receiver.calls == []
            left = stack.enter_context(worker(tmp_path))
            until(lambda: len(receiver.calls) == 1)
        with serve(tmp_path, environment=variables) as server:
            store_over_http(server.url)
            until(lambda: len(receiver.calls) == 2)
            metrics = httpx.get(f"{server.url}/metrics").text
            assert 'fileroom_webhook_waiting{webhook="1"}' in metrics
            left.terminate()
            assert left.wait(PATIENCE) == 0
    assert all(call.genuine for call in receiver.calls)
