"""Tasks on what a server makes of stored images: transcoded, rendered, as a thumbnail, in a zip."""

import hashlib
import io
import itertools
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import imagecodecs
import numpy as np
from pydicom import dcmread

from benchmarks.client import Answer, Connection, Message, build_get, open_connections, run_load
from benchmarks.data import Instance, make_ct_series
from benchmarks.messages import WrongAnswer, expect_ok, store
from benchmarks.server import Server
from benchmarks.tasks import Prepare, Row, Sample, Size, Task, watch

RUN = 3
"""Number of the series that is read here; others are read by others."""
_TRANSCODE = 1000
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
"""The one that the peer encodes as Debian builds it."""


def make_rendition_tasks(size: Size) -> list[Task]:
    """Return all tasks of this module, in the order in which they are run."""
    prepare = partial(_prepare, size)
    rows = (
        (Row("rendered", "JPEG of an instance, each once, 4 clients", "req/s"), _rendered),
        (Row("thumbnail", "thumbnail of an instance, each once, 4 clients", "req/s"), _thumbnail),
    )
    tasks = [Task((row,), partial(_once_each, row, build, size), prepare) for row, build in rows]
    again = Row("rendered-again", "JPEG of an instance, repeated, 4 clients", "req/s")
    return [
        _transcode_task(size),
        *tasks,
        Task((again,), partial(_again, again, size), prepare),
        _zip_task(size, prepare),
    ]


def _series(size: Size) -> list[Instance]:
    return make_ct_series(RUN, size.series)


async def _prepare(size: Size, server: Server) -> None:
    """Store the series, and look at what is made of it."""
    series = _series(size)
    connection = Connection(server.port)
    await store(connection, server.root, series)
    for build in (_rendered, _thumbnail):
        answer = await connection.request(build(server, series[0], 0), keep=True)
        expect_ok(answer)
        image = imagecodecs.jpeg8_decode(answer.body)
        if image.ndim != 2 and not np.array_equal(image[..., 0], image[..., 1]):
            raise WrongAnswer("a grey image came in colour")
    answer = await connection.request(_zipped(server, series[0]), keep=True)
    expect_ok(answer)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as file:
        found = sorted(hashlib.sha256(file.read(name)).digest() for name in file.namelist())
    wanted = sorted(hashlib.sha256(b"".join(one.pieces())).digest() for one in series)
    if found != wanted:
        raise WrongAnswer(f"{len(found)} files are in the zip; they are not what was stored")
    connection.close()


def _rendered(server: Server, instance: Instance, number: int) -> Message:
    """Return a request that no cache has seen: each number is a window of its own."""
    window = f"window={1000 + number % 500},{400 + number // 500},linear"
    return build_get(f"{server.root}{instance.path}/rendered?{window}", [("Accept", "image/jpeg")])


def _thumbnail(server: Server, instance: Instance, number: int) -> Message:
    viewport = f"viewport={128 + number},{128 + number}"
    return build_get(
        f"{server.root}{instance.path}/thumbnail?{viewport}", [("Accept", "image/jpeg")]
    )


def _zipped(server: Server, instance: Instance) -> Message:
    if server.name == "Fileroom":
        return build_get(f"{server.root}/studies/{instance.study}", [("Accept", "application/zip")])
    return build_get(f"/studies/{_orthanc_identifier(instance)}/archive", [])


def _orthanc_identifier(instance: Instance) -> str:
    """Return the name that Orthanc gives a study: a hash of Patient ID and UID, in five groups."""
    patient = str(
        dcmread(io.BytesIO(b"".join(instance.pieces())), stop_before_pixels=True).PatientID
    )
    digest = hashlib.sha1(f"{patient}|{instance.study}".encode()).hexdigest()  # noqa: S324 - Orthanc's
    return "-".join(digest[at : at + 8] for at in range(0, 40, 8))


async def _once_each(
    row: Row,
    build: Callable[[Server, Instance, int], Message],
    size: Size,
    server: Server,
    repetition: int,
) -> dict[str, Sample]:
    series = _series(size)
    first = 1 + repetition * size.series
    messages = [build(server, one, first + number) for number, one in enumerate(series)]
    return {row.name: await _load(server, iter(messages), 4)}


async def _again(row: Row, size: Size, server: Server, _repetition: int) -> dict[str, Sample]:
    messages = [_rendered(server, one, 0) for one in _series(size)[:20]]
    await _load(server, iter(messages), 4)
    repeated = itertools.cycle(messages)
    return {row.name: await _load(server, repeated, 4, seconds=size.seconds)}


async def _load(
    server: Server, messages: Iterator[Message], clients: int, seconds: float = math.inf
) -> Sample:
    connections = open_connections(server.port, clients)
    with watch(server) as watched:
        load = await run_load(connections, messages, expect_ok, seconds=seconds)
    for connection in connections:
        connection.close()
    return Sample(load.rate, len(load.latencies), watched.usage)


def _transcode_task(size: Size) -> Task:
    """Instances of a new series, asked for in JPEG Lossless, each once."""
    row = Row("transcode", "instance in JPEG Lossless, each once, 4 clients", "req/s")
    accept = (
        "Accept",
        f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LOSSLESS}',
    )

    async def measure(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(_TRANSCODE + repetition, max(size.series // 5, 20))
        connection = Connection(server.port)
        await store(connection, server.root, series)
        messages = [build_get(f"{server.root}{one.path}", [accept]) for one in series]
        await _verify_transcoded(connection, messages[0], series[0])
        connection.close()
        return {row.name: await _load(server, iter(messages[1:]), 4)}

    return Task((row,), measure)


async def _verify_transcoded(connection: Connection, message: Message, instance: Instance) -> None:
    answer = await connection.request(message, keep=True)
    expect_ok(answer)
    part = answer.body.partition(b"\r\n\r\n")[2]
    dataset = dcmread(io.BytesIO(part[part.index(b"DICM") - 128 :]), force=True)
    _check(answer, dataset.file_meta.TransferSyntaxUID == JPEG_LOSSLESS, "another transfer syntax")
    pixels: Sequence[bytes | memoryview] = instance.frames[0]
    _check(answer, dataset.pixel_array.tobytes() == b"".join(pixels), "other pixels")


def _check(answer: Answer, well: bool, fault: str) -> None:
    if not well:
        raise WrongAnswer(f"{fault}: {answer.head.decode('latin-1')}")


def _zip_task(size: Size, prepare: Prepare) -> Task:
    row = Row("zip", "a whole CT study as a zip, 1 client", "MB/s", "zip")

    async def measure(server: Server, _repetition: int) -> dict[str, Sample]:
        series = _series(size)
        whole = sum(instance.size for instance in series)
        sample = await _load(server, iter([_zipped(server, series[0])] * 3), 1)
        return {row.name: Sample(sample.value * whole / 1e6, 3, sample.usage)}

    return Task((row,), measure, prepare)
