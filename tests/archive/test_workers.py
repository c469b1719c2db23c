"""Worker processes under jobs that crash, hang, eat memory, lie; and callers that go away."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from app.archive.worker_main import serve
from app.archive.worker_messages import HEAD, read_answer, write
from app.archive.workers import Workers, decode_frame
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.errors import InvalidDataset, Unavailable
from app.objects.extents import Extent

JOBS = "tests.archive.jobs_for_workers"
MEMORY = 2**28


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(2, MEMORY, 20)
    yield pool
    await pool.close()


def children() -> list[psutil.Process]:
    return psutil.Process().children()


async def gone(process_id: int) -> bool:
    """Wait until a process is no more."""
    for _ in range(100):
        if not psutil.pid_exists(process_id):
            return True
        await asyncio.sleep(0.05)
    return False


def describe(**keywords: object) -> PixelDescription:
    plain = {
        "rows": 2,
        "columns": 3,
        "bits_allocated": 8,
        "bits_stored": 8,
        "photometric_interpretation": "MONOCHROME2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1.98",
    }
    return PixelDescription(**(plain | keywords))  # type: ignore[arg-type]


async def test_a_job_returns_what_it_made(workers: Workers) -> None:
    assert await workers.run(f"{JOBS}:echo", {"a": [1, 2.5, "é", b"x", None]}) == {
        "a": [1, 2.5, "é", b"x", None]
    }


async def test_no_process_runs_before_it_is_needed() -> None:
    pool = Workers(2, MEMORY, 20)
    before = len(children())
    assert await pool.run(f"{JOBS}:echo", 1) == 1
    assert len(children()) == before + 1
    await pool.close()
    assert len(children()) == before


async def test_large_values_pass_whole(workers: Workers) -> None:
    data = os.urandom(30_000_000)
    assert await workers.run(f"{JOBS}:echo", data) == data


async def test_jobs_one_after_the_other_use_one_process(workers: Workers) -> None:
    ids = {await workers.run(f"{JOBS}:process_id") for _ in range(5)}
    assert len(ids) == 1


async def test_many_jobs_at_once_share_the_processes(workers: Workers) -> None:
    ids = await asyncio.gather(*(workers.run(f"{JOBS}:sleep", 0.02) for _ in range(40)))
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("job", "arguments"), [("crash", ()), ("leave", (0,)), ("leave", (3,)), ("send_a_trojan", ())]
)
async def test_a_crash_ends_one_job(workers: Workers, job: str, arguments: tuple[int, ...]) -> None:
    neighbour = asyncio.create_task(workers.run(f"{JOBS}:sleep", 0.5))
    with pytest.raises(InvalidDataset, match="crashed"):
        await workers.run(f"{JOBS}:{job}", *arguments)
    assert await workers.run(f"{JOBS}:echo", 1) == 1
    assert await neighbour


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_kill_from_outside_may_be_asked_again(workers: Workers, number: int) -> None:
    with pytest.raises(Unavailable, match="killed"):
        await workers.run(f"{JOBS}:be_killed", number)
    assert await workers.run(f"{JOBS}:echo", 1) == 1


async def test_a_process_that_died_at_rest_is_not_used(workers: Workers) -> None:
    process_id = await workers.run(f"{JOBS}:process_id")
    os.kill(process_id, signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert await workers.run(f"{JOBS}:process_id") != process_id


async def test_a_job_that_never_ends_is_ended() -> None:
    pool = Workers(1, MEMORY, 4)
    start = time.monotonic()
    with pytest.raises(InvalidDataset, match="4 seconds"):
        await pool.run(f"{JOBS}:loop_forever")
    assert time.monotonic() - start < 12
    assert await pool.run(f"{JOBS}:echo", 1) == 1
    await pool.close()


async def test_memory_is_limited(workers: Workers) -> None:
    assert await workers.run(f"{JOBS}:take_memory", MEMORY // 4) == MEMORY // 4
    with pytest.raises(InvalidDataset, match="memory"):
        await workers.run(f"{JOBS}:take_memory", 2 * MEMORY)
    assert await workers.run(f"{JOBS}:echo", 1) == 1


async def test_a_refusal_keeps_its_reason(workers: Workers) -> None:
    with pytest.raises(InvalidDataset, match="this one not") as caught:
        await workers.run(f"{JOBS}:refuse")
    assert caught.value.reason == 0xA900


async def test_a_bug_is_no_refusal(workers: Workers) -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        await workers.run(f"{JOBS}:fail")
    assert await workers.run(f"{JOBS}:echo", 1) == 1


async def test_a_caller_that_goes_away_costs_no_process() -> None:
    pool = Workers(1, MEMORY, 20)
    process_id = await pool.run(f"{JOBS}:process_id")
    caller = asyncio.create_task(pool.run(f"{JOBS}:sleep", 0.3))
    waiting = asyncio.create_task(pool.run(f"{JOBS}:loop_forever"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await pool.run(f"{JOBS}:process_id") == process_id
    await pool.close()


async def test_a_caller_that_goes_away_from_a_failing_job_leaves_no_noise(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    caller = asyncio.create_task(workers.run(f"{JOBS}:leave", 1))
    await asyncio.sleep(0.1)
    caller.cancel()
    await asyncio.sleep(1)
    assert not caplog.records


async def test_processes_at_rest_end() -> None:
    pool = Workers(1, MEMORY, 20, rest_seconds=0.2)
    process_id = await pool.run(f"{JOBS}:process_id")
    assert psutil.pid_exists(process_id)
    assert await gone(process_id)
    assert await pool.run(f"{JOBS}:process_id") != process_id
    await pool.close()


async def test_a_closed_pool_ends_its_jobs_and_takes_no_more() -> None:
    others = set(children())
    pool = Workers(1, MEMORY, 20)
    running = asyncio.create_task(pool.run(f"{JOBS}:sleep", 60))
    waiting = asyncio.create_task(pool.run(f"{JOBS}:echo", 1))
    await asyncio.sleep(0.2)
    ours = set(children()) - others
    await pool.close()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await pool.run(f"{JOBS}:echo", 1)
    assert all([await gone(process.pid) for process in ours])


async def test_no_process_to_be_had_is_unavailable(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable):
        await workers.run(f"{JOBS}:echo", 1)


async def test_secrets_are_not_handed_down(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILEROOM_AUTH__KEY", "secret")
    assert "secret" not in str(await workers.run(f"{JOBS}:environment"))


async def test_a_worker_writes_no_files(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="OSError"):
        await workers.run(f"{JOBS}:write_a_file", str(tmp_path / "file"))


async def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import asyncio, os, signal\n"
        "from app.archive.workers import Workers\n"
        "async def main():\n"
        f"    pool = Workers(1, {MEMORY}, 60)\n"
        f"    print(await pool.run('{JOBS}:process_id'), flush=True)\n"
        f"    asyncio.create_task(pool.run('{JOBS}:loop_forever'))\n"
        "    await asyncio.sleep(0.2)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    paths = os.pathsep.join(sys.path)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}
    )
    output, _ = await parent.communicate()
    assert await gone(int(output))


def in_this_process(*jobs: tuple[str, tuple[object, ...]]) -> list[object]:
    """Return the answers that a worker's loop gives, run in a thread here."""
    ours, theirs = socket.socketpair()
    worker = threading.Thread(target=serve, args=(theirs,))
    worker.start()
    answers: list[object] = []
    with ours, theirs:
        for job in jobs:
            pieces, descriptors = write(job)
            socket.send_fds(ours, [b"".join(pieces)], descriptors)
            pickled, beside = HEAD.unpack(ours.recv(HEAD.size, socket.MSG_WAITALL))
            message = bytearray(ours.recv(pickled + beside, socket.MSG_WAITALL))
            answers.append(read_answer(message, pickled))
        ours.shutdown(socket.SHUT_RDWR)
        worker.join()
    return answers


def test_a_worker_says_how_each_job_ended() -> None:
    jobs = [("echo", (7,)), ("refuse", ()), ("fail", ()), ("use_too_much", ()), ("nothing", ())]
    done, invalid, failed, memory, unknown = in_this_process(
        *((f"{JOBS}:{name}", arguments) for name, arguments in jobs)
    )
    assert done == ("done", 7)
    assert invalid == ("invalid", ("this one not", 0xA900))
    assert failed == ("failed", "KeyError: 'a bug'")
    assert memory == ("memory", None)
    assert "AttributeError" in str(unknown)


@dataclass
class _Opened:
    fd: int


def test_a_worker_that_lacks_bytes_of_an_object_says_so(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(b"short")
    with (tmp_path / "object").open("rb") as file:
        extent, whole = Extent(_Opened(file.fileno()), 3, 9), Extent(_Opened(file.fileno()), 1, 3)
        answers = in_this_process((f"{JOBS}:echo", (extent,)), (f"{JOBS}:echo", (whole,)))
    assert answers == [("unreadable", None), ("done", b"hor")]


async def test_a_worker_reads_extents_of_objects_itself(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(bytes(range(256)) * 4096)
    with (tmp_path / "object").open("rb") as file:
        for _ in range(20):
            extent = Extent(_Opened(file.fileno()), 255, 2**19)
            assert await workers.run(f"{JOBS}:echo", extent) == b"\xff" + bytes(
                range(256)
            ) * 2047 + bytes(range(255))
        process = psutil.Process(await workers.run(f"{JOBS}:process_id"))
        assert process.num_fds() < 12  # what it was given is closed again
        with pytest.raises(Unavailable, match="lost"):
            await workers.run(f"{JOBS}:echo", Extent(_Opened(file.fileno()), 2**20, 1))


async def test_a_frame_is_decoded_in_a_worker(workers: Workers) -> None:
    frame = await decode_frame(workers, b"abcdef", describe(), 2**20)
    assert frame == DecodedFrame(b"abcdef", "MONOCHROME2")


async def test_a_damaged_frame_is_refused(workers: Workers) -> None:
    with pytest.raises(InvalidDataset, match="length"):
        await decode_frame(workers, b"abc", describe(), 2**20)


@pytest.mark.parametrize("answer", [b"no frame", DecodedFrame(b"short", "RGB")])
async def test_what_is_no_frame_is_not_believed(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    async def lie(*_: object) -> object:
        return answer

    monkeypatch.setattr(workers, "run", lie)
    with pytest.raises(InvalidDataset, match="something else"):
        await decode_frame(workers, b"abcdef", describe(), 2**20)


@pytest.mark.parametrize("answer", ["send_nonsense", "send_a_large_claim"])
async def test_a_worker_that_sends_nonsense_is_ended(workers: Workers, answer: str) -> None:
    with pytest.raises(InvalidDataset, match="crashed"):
        await workers.run(f"{JOBS}:{answer}")
    assert await workers.run(f"{JOBS}:echo", 1) == 1


async def test_a_hostile_description_costs_no_process() -> None:
    pool = Workers(1, MEMORY, 20)
    before = len(children())
    with pytest.raises(InvalidDataset, match="limit"):
        await decode_frame(pool, b"abc", describe(rows=65535, columns=65535), 2**30)
    assert len(children()) == before
    await pool.close()
