"""Tasks on archives that hold some image series: store, frames, metadata, a whole series."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks.client import Answer, Connection, Message, open_connections, run_load
from benchmarks.data import Instance, make_ct_series, make_mr_series, make_multi_frame
from benchmarks.messages import (
    build_frame,
    build_metadata,
    build_series,
    build_store,
    expect_frame,
    expect_ok,
    store,
    verify_frames,
    verify_metadata,
    verify_series,
)
from benchmarks.population import make_population, write_population
from benchmarks.server import Server
from benchmarks.tasks import SETTLE_SECONDS, Prepare, Row, Sample, Size, Task, watch

READ_RUN, MULTI_RUN = 1, 2
"""Numbers of the series that are read; each task that stores counts from a hundred of its own."""


def _split(instances: Sequence[Instance], per_request: int) -> list[Sequence[Instance]]:
    return [
        instances[first : first + per_request] for first in range(0, len(instances), per_request)
    ]


async def measure_store(
    row: str, instances: Sequence[Instance], clients: int, per_request: int, server: Server
) -> dict[str, Sample]:
    """Store instances, so many in each request, and return how many a second were answered for."""
    messages = [build_store(server.root, group) for group in _split(instances, per_request)]
    connections = open_connections(server.port, clients)
    with watch(server) as watched:
        load = await run_load(connections, iter(messages), expect_ok)
    _close(connections)
    return {row: Sample(len(instances) / load.seconds, len(instances), watched.usage)}


def _close(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.close()


def _small_instances(repetition: int, count: int) -> list[Instance]:
    studies = make_population(20_000)[repetition * count : (repetition + 1) * count]
    return list(write_population(studies, 1))


def _make_store_tasks(size: Size) -> list[Task]:
    """Store one instance per request from 8 clients, and 100 in one request."""
    one = Row("store-one", "CT, 1 per request, 8 clients", "inst/s", "instance", 1.5)
    many = Row("store-hundred", "CT, 100 in one request", "inst/s", "instance", 2)
    mr = Row("store-mr", "MR, 1 per request, 8 clients", "inst/s", "instance")
    small = Row("store-small", "small objects, 100 in one request", "inst/s", "instance")

    async def store_one(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(100 + repetition, size.long_series)
        return await measure_store(one.name, series, 8, 1, server)

    async def store_many(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(200 + repetition, size.series)
        return await measure_store(many.name, series, 1, min(100, size.series), server)

    async def store_mr(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_mr_series(300 + repetition, size.long_series)
        return await measure_store(mr.name, series, 8, 1, server)

    async def store_small(server: Server, repetition: int) -> dict[str, Sample]:
        instances = _small_instances(repetition, size.long_series)
        return await measure_store(small.name, instances, 1, 100, server)

    return [
        Task((one,), store_one),
        Task((many,), store_many),
        Task((mr,), store_mr),
        Task((small,), store_small),
    ]


def _random_frames(root: str, places: Sequence[tuple[Instance, int]]) -> Iterator[Message]:
    """Yield requests for frames in random order without end; the same order for every server."""
    messages = [build_frame(root, instance, frame) for instance, frame in places]
    chooser = random.Random(4711)
    while True:
        yield chooser.choice(messages)


def _frame_task(
    row: Row,
    clients: int,
    size: Size,
    places: Callable[[], Sequence[tuple[Instance, int]]],
    prepare: Prepare,
) -> Task:
    async def measure(server: Server, _repetition: int) -> dict[str, Sample]:
        wanted = places()
        length = sum(len(piece) for piece in wanted[0][0].frames[0])
        check: Callable[[Answer], None] = partial(expect_frame, size=length)
        messages = _random_frames(server.root, wanted)
        connections = open_connections(server.port, clients)
        await run_load(connections, messages, check, seconds=size.seconds / 4)
        with watch(server) as watched:
            load = await run_load(connections, messages, check, seconds=size.seconds)
        _close(connections)
        return {row.name: Sample(load.rate, len(load.latencies), watched.usage)}

    return Task((row,), measure, prepare)


async def _prepare_read(size: Size, server: Server) -> None:
    """Store the series that is read and compare all that comes back with what was stored."""
    series = make_ct_series(READ_RUN, size.series)
    connection = Connection(server.port)
    await store(connection, server.root, series)
    for instance in series:
        await verify_frames(connection, server.root, instance)
    await verify_series(connection, server.root, series)
    await verify_metadata(connection, server.root, series)
    connection.close()


async def _prepare_multi_frame(size: Size, server: Server) -> None:
    instance = make_multi_frame(MULTI_RUN, size.frames)
    connection = Connection(server.port)
    await store(connection, server.root, [instance])
    await verify_frames(connection, server.root, instance)
    connection.close()


def make_image_tasks(size: Size) -> list[Task]:
    """Return all tasks of this module, in the order in which they are run."""
    read = partial(_prepare_read, size)
    return [
        *_make_store_tasks(size),
        *_make_frame_tasks(size, read),
        *_make_series_tasks(size, read),
        *_make_metadata_tasks(size),
    ]


def _make_frame_tasks(size: Size, read: Prepare) -> list[Task]:
    """Random frames of a CT series and of a multi-frame instance."""

    def of_series() -> list[tuple[Instance, int]]:
        return [(instance, 0) for instance in make_ct_series(READ_RUN, size.series)]

    def of_multi_frame() -> list[tuple[Instance, int]]:
        instance = make_multi_frame(MULTI_RUN, size.frames)
        return [(instance, frame) for frame in range(size.frames)]

    tasks = []
    for clients, gate in ((1, None), (8, 4), (16, 4)):
        name = f"frames of a CT series, {clients} client{'s' * (clients > 1)}"
        row = Row(f"frames-{clients}", name, "req/s", "frame", gate)
        tasks.append(_frame_task(row, clients, size, of_series, read))
    row = Row("frames-multi", "frames of one multi-frame instance, 8 clients", "req/s", "frame")
    prepare = partial(_prepare_multi_frame, size)
    return [*tasks, _frame_task(row, 8, size, of_multi_frame, prepare)]


def _make_series_tasks(size: Size, read: Prepare) -> list[Task]:
    """A whole series, as it was stored."""
    tasks = []
    for clients in (1, 4):
        title = f"a whole CT series, {clients} client{'s' * (clients > 1)}"
        row = Row(f"series-{clients}", title, "MB/s", "series", 1)
        tasks.append(_series_task(row, clients, size, read))
    return tasks


def _series_task(row: Row, clients: int, size: Size, read: Prepare) -> Task:
    async def measure(server: Server, _repetition: int) -> dict[str, Sample]:
        series = make_ct_series(READ_RUN, size.series)
        least = sum(instance.size for instance in series)
        messages = [build_series(server.root, series[0])] * max(3, clients)
        connections = open_connections(server.port, clients)
        with watch(server) as watched:
            load = await run_load(connections, iter(messages), expect_ok)
        _close(connections)
        assert load.received >= least * len(messages), "the series is not whole"
        rate = least * len(messages) / load.seconds / 1e6
        return {row.name: Sample(rate, len(messages), watched.usage)}

    return Task((row,), measure, read)


def _make_metadata_tasks(size: Size) -> list[Task]:
    """Metadata of a series: the first read of it, and the reads after that."""
    tasks = []
    for number, count in enumerate((size.series, size.long_series)):
        for compressed in (True, False):
            gated = number == 1 and compressed
            tasks.append(_metadata_task(number, count, compressed, gated))
    return [*tasks, _at_once_task(size.long_series)]


def _metadata_task(number: int, count: int, compressed: bool, gated: bool) -> Task:
    kind = "gzip" if compressed else "plain"
    label = ("300", "1000")[number]
    names = [f"metadata-{label}-{moment}-{kind}" for moment in ("first", "again")]
    first, again = (
        Row(names[0], f"{count} instances, {kind}, first read", "ms", gate=4 if gated else None),
        Row(names[1], f"{count} instances, {kind}, repeated", "ms", gate=20 if gated else None),
    )

    async def measure(server: Server, repetition: int) -> dict[str, Sample]:
        run = 400 + 200 * number + 100 * compressed + repetition
        series = make_ct_series(run, count)
        connection = Connection(server.port)
        await store(connection, server.root, series)
        connection.close()  # an idle one would be closed by the server meanwhile
        server.wait_until_idle(SETTLE_SECONDS)
        message = build_metadata(server.root, series[0], compressed=compressed)
        with watch(server) as watched:
            load = await run_load([connection], iter([message]), expect_ok)
        samples = {first.name: Sample(load.latencies[0] * 1000, 1, watched.usage)}
        with watch(server) as watched:
            load = await run_load([connection], iter([message] * 10), expect_ok)
        middle = sorted(load.latencies)[len(load.latencies) // 2]
        samples[again.name] = Sample(middle * 1000, len(load.latencies), watched.usage)
        await verify_metadata(connection, server.root, series)
        connection.close()
        return samples

    return Task((first, again), measure)


def _at_once_task(count: int) -> Task:
    row = Row("metadata-1000-at-once", f"{count} instances, gzip, right after the store", "ms")

    async def measure(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(800 + repetition, count)
        connection = Connection(server.port)
        await store(connection, server.root, series)
        message = build_metadata(server.root, series[0], compressed=True)
        with watch(server) as watched:
            load = await run_load([connection], iter([message]), expect_ok)
        await verify_metadata(connection, server.root, series)
        connection.close()
        return {row.name: Sample(load.latencies[0] * 1000, 1, watched.usage)}

    return Task((row,), measure)
