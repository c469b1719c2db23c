"""Tasks on a server that is asked for more than it can do: what its readers notice of it."""

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.client import Connection, Message, build_get
from benchmarks.data import Instance, make_ct_series
from benchmarks.messages import (
    JSON_ACCEPT,
    WrongAnswer,
    build_frame,
    expect_frame,
    expect_ok,
    store,
)
from benchmarks.server import Server
from benchmarks.storm import RENDERERS, SLOW, UPLOADS, stored_instance
from benchmarks.tasks import Row, Sample, Size, Task, watch

RUN, STORED_RUN = 4, 2000
_THINKS_SECONDS = 0.02
_ROUSES_SECONDS = 3.0
_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader saw: seconds of each answer."""

    searches: Sequence[float]
    frames: Sequence[float]


async def read_on(server: Server, series: Sequence[Instance], seconds: float) -> Seen:
    """Search and read frames like two people at their viewers, one request after the other."""
    path = f"{server.root}/studies?StudyInstanceUID={series[0].study}&limit=101"
    search = itertools.repeat(build_get(path, [JSON_ACCEPT]))
    frames = itertools.cycle([build_frame(server.root, one, 0) for one in series])
    size = sum(len(piece) for piece in series[0].frames[0])
    ends_at = time.perf_counter() + seconds
    searched, framed = await asyncio.gather(
        _read(server, search, ends_at, expect_ok),
        _read(server, frames, ends_at, partial(expect_frame, size=size)),
    )
    return Seen(searched, framed)


async def _read(
    server: Server, messages: Iterator[Message], ends_at: float, check: Any
) -> list[float]:
    connection, latencies = Connection(server.port), []
    for message in messages:
        answer = await connection.request(message)
        check(answer)
        latencies.append(answer.seconds)
        await asyncio.sleep(_THINKS_SECONDS)
        if time.perf_counter() >= ends_at:
            break
    connection.close()
    return latencies


async def begin_storm(
    server: Server, image: Instance, run: int, seconds: float
) -> asyncio.subprocess.Process:
    """Start a storm in a process of its own, so that it does not slow the reader itself."""
    wanted = (str(server.port), server.root, str(run), image.path, str(seconds))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.storm", *wanted, stdout=asyncio.subprocess.PIPE
    )


async def verify_stored(server: Server, run: int, acknowledged: Sequence[int]) -> None:
    """Raise unless each instance that was acknowledged comes back byte for byte."""
    numbers = iter(acknowledged)

    async def work() -> None:
        connection = Connection(server.port)
        for number in numbers:
            instance = stored_instance(run, number)
            accept = ("Accept", "application/dicom; transfer-syntax=*")
            path = f"{server.root}{instance.path}"
            answer = await connection.request(build_get(path, [accept]), keep=True)
            expect_ok(answer)
            if answer.body != b"".join(instance.pieces()):
                raise WrongAnswer(f"{instance.uid} was acknowledged, and comes back differently")
        connection.close()

    await asyncio.gather(*(work() for _ in range(_AHEAD)))


@dataclass(frozen=True, slots=True)
class Overloaded:
    """What readers saw before and during a storm, and what became of it."""

    alone: Seen
    during: Seen
    outcome: Mapping[str, Any]
    peak: int
    """Bytes that all processes of the server held together at most (PSS)."""


async def overload(server: Server, run: int, images: int, seconds: float) -> Overloaded:
    """Read for a while, then during a storm; all that was acknowledged in it is compared."""
    series = make_ct_series(RUN, images)
    alone = await read_on(server, series, seconds)
    storm = await begin_storm(server, series[0], run, seconds + 2 * _ROUSES_SECONDS)
    await asyncio.sleep(_ROUSES_SECONDS)
    with watch(server) as watched:
        during = await read_on(server, series, seconds)
    told, _ = await storm.communicate()
    if storm.returncode:
        raise WrongAnswer("the storm broke off")
    outcome = json.loads(told)
    await verify_stored(server, run, outcome["acknowledged"])
    assert watched.usage is not None
    return Overloaded(alone, during, outcome, watched.usage.peak)


def ratio(during: Sequence[float], alone: Sequence[float]) -> float:
    """Return how many times longer the median answer took."""
    return statistics.median(during) / statistics.median(alone)


def late(latencies: Sequence[float]) -> float:
    """Return the seconds in which 19 of 20 were answered."""
    return statistics.quantiles(latencies, n=20)[-1] if len(latencies) > 1 else latencies[0]


def make_overload_tasks(size: Size) -> list[Task]:
    """Return the one task of this module."""
    rows = (
        Row("overload-search", "search, median", "×", limit=None),
        Row("overload-search-late", "search, 19 of 20 within", "ms"),
        Row("overload-frame", "frame, median", "×", limit=None),
        Row("overload-frame-late", "frame, 19 of 20 within", "ms"),
        Row("overload-stored", "instances stored meanwhile, all compared", "inst/s"),
    )

    async def prepare(server: Server) -> None:
        connection = Connection(server.port)
        await store(connection, server.root, make_ct_series(RUN, size.series))
        connection.close()

    async def measure(server: Server, repetition: int) -> dict[str, Sample]:
        run, seconds = STORED_RUN + 50 * repetition, 5 * size.seconds
        seen = await overload(server, run, size.series, seconds)
        print({name: told for name, told in seen.outcome.items() if name != "acknowledged"})
        values = (
            ratio(seen.during.searches, seen.alone.searches),
            1000 * late(seen.during.searches),
            ratio(seen.during.frames, seen.alone.frames),
            1000 * late(seen.during.frames),
            len(seen.outcome["acknowledged"]) / (seconds + 2 * _ROUSES_SECONDS),
        )
        return {row.name: Sample(value) for row, value in zip(rows, values, strict=True)}

    return [Task(rows, measure, prepare)]


TITLE = (
    f"While {SLOW} clients on bad lines, {UPLOADS} uploads and {RENDERERS} renderers ask at once"
)
