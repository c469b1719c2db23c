"""A process that troubles a server: clients on bad lines, uploads, and a storm of renderings.

`python -m benchmarks.storm PORT ROOT RUN IMAGE SECONDS`; it prints what became of
its requests as JSON. Each kind of client has an address of its own, since callers are told apart by
it where nobody has to say who it is.
"""

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TypeAlias

import uvloop

from benchmarks.client import Answer, BrokenAnswer, Connection, Message, build_get
from benchmarks.data import Instance, make_ct_series
from benchmarks.messages import build_store

SLOW, UPLOADS, RENDERERS = 200, 50, 32
_SLOW_AT, _UPLOADS_AT, _RENDERS_AT = "127.0.1.1", "127.0.1.2", "127.0.1.3"
_SERIES = 250
_LONGEST_WAIT = 2.0
_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Outcome:
    """What became of a storm: numbers of the instances that were acknowledged, and all statuses."""

    acknowledged: list[int] = field(default_factory=list)
    uploads: Counter[int] = field(default_factory=Counter)
    renderings: Counter[int] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Storm:
    """Where it goes, what it stores, and which image it has rendered."""

    port: int
    root: str
    run: int
    image: str
    outcome: Outcome = field(default_factory=Outcome)

    async def rage(self, seconds: float) -> Outcome:
        """Go on for so long."""
        numbers, windows = itertools.count(), itertools.count()
        kinds = itertools.cycle((self._slow_head, self._slow_body, self._slow_taker))
        tasks = [self._again(next(kinds)) for _ in range(SLOW)]
        tasks += [self._upload(numbers) for _ in range(UPLOADS)]
        tasks += [self._render(windows) for _ in range(RENDERERS)]
        running = [asyncio.create_task(task) for task in tasks]
        await asyncio.wait(running, timeout=seconds)
        for task in running:
            if task.done():
                task.result()  # which none comes to without a fault
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return self.outcome

    async def _again(self, client: Callable[[], Awaitable[str]]) -> None:
        """Be a slow client, and another one when the server has had enough of it."""
        await asyncio.sleep(random.random())
        while True:
            try:
                said = await client()
            except (OSError, asyncio.IncompleteReadError):
                said = "closed"
            self.outcome.slow[said] += 1
            await asyncio.sleep(0.5)

    @contextlib.asynccontextmanager
    async def _line(self) -> AsyncIterator[_Streams]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(_SLOW_AT, 0), limit=2**12
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _slow_head(self) -> str:
        """Send a head that has no end."""
        async with self._line() as (reader, writer):
            writer.write(f"GET {self.root}/studies HTTP/1.1\r\nHost: a\r\n".encode())
            return await _trickle(reader, writer, b"X-More: y\r\n")

    async def _slow_body(self) -> str:
        """Send a body that comes a hundred bytes a second."""
        async with self._line() as (reader, writer):
            message = build_store(self.root, make_ct_series(self.run, 1))
            writer.write(bytes(message[0]))
            return await _trickle(reader, writer, bytes(100))

    async def _slow_taker(self) -> str:
        """Ask for a whole series, and take four kilobytes a second of it."""
        async with self._line() as (reader, writer):
            series = self.image.rpartition("/instances")[0]
            accept = ("Accept", 'multipart/related; type="application/dicom"')
            writer.write(bytes(build_get(f"{self.root}{series}", [accept])[0]))
            said = await reader.readline()
            more = True
            while more:
                await asyncio.sleep(1)
                more = bool(await reader.read(2**12))
            return said[9:12].decode()

    async def _upload(self, numbers: Iterator[int]) -> None:
        connection = Connection(self.port, source=_UPLOADS_AT)
        for number in numbers:
            message = build_store(self.root, [stored_instance(self.run, number)])
            while True:
                answer = await _request(connection, message)
                self.outcome.uploads[answer.status if answer else 0] += 1
                if answer is not None and answer.status == 200:
                    self.outcome.acknowledged.append(number)
                    break
                await _wait_as_told(answer)

    async def _render(self, windows: Iterator[int]) -> None:
        connection = Connection(self.port, source=_RENDERS_AT)
        for number in windows:
            window = f"window={1000 + number % 500},{400 + number // 500},linear"
            path = f"{self.root}{self.image}/rendered?{window}"
            answer = await _request(connection, build_get(path, [("Accept", "image/jpeg")]))
            self.outcome.renderings[answer.status if answer else 0] += 1
            if answer is None or answer.status != 200:
                await _wait_as_told(answer)


def stored_instance(run: int, number: int) -> Instance:
    """Return the instance of a number that a storm stores."""
    return make_ct_series(run + number // _SERIES, _SERIES)[number % _SERIES]


async def _request(connection: Connection, message: Message) -> Answer | None:
    """Return the answer, None if the connection was closed before it."""
    try:
        return await connection.request(message)
    except (BrokenAnswer, OSError):
        connection.close()
        return None


async def _wait_as_told(answer: Answer | None) -> None:
    told = answer.header("Retry-After") if answer is not None else None
    await asyncio.sleep(min(float(told or 1), _LONGEST_WAIT))


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes) -> str:
    """Send a piece each second until the server answers; return its status."""
    answer = asyncio.create_task(reader.readline())
    try:
        while not answer.done():
            writer.write(piece)
            await asyncio.wait([answer], timeout=1)
        return answer.result()[9:12].decode() or "closed"
    finally:
        answer.cancel()


def main() -> None:
    """Rage as the arguments say."""
    port, root, run, image, seconds = sys.argv[1:]
    storm = Storm(int(port), root, int(run), image)
    outcome = uvloop.run(storm.rage(float(seconds)))
    print(json.dumps({one.name: getattr(outcome, one.name) for one in fields(outcome)}))


if __name__ == "__main__":
    main()
