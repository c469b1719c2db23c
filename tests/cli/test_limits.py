"""Each limit on what goes on at once, by real sockets against the real server."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from app.archive.api_keys import WantedKey, make_key
from app.archive.context import Archive
from app.cli.asgi_server import Server, configuration
from app.cli.listening import bound_socket
from app.dicom.limits import Limits
from app.main import create_app
from app.rights import Principal
from app.settings import Auth, Http, Settings
from app.turns import Asker, Shares, Turns, Work, asked, asks
from tests.factories import make_dataset, make_part10, make_series
from tests.multipart import RELATED, make_multipart
from tests.waiting import until as waiting_until

TIGHT = Limits(
    uploads=4,
    downloads=4,
    wide_searches=1,
    waiting_requests=4,
    waiting_seconds=1,
)
FEW = Limits(principal_rate=1, burst_seconds=5)
WHO = ("jane", "john")
ONE_KEY = "0123456789abcdef"
PART = make_part10(Rows=512, Columns=512)


@dataclass(frozen=True)
class Served:
    """A server on a socket, the application in it, and a key for each caller."""

    port: int
    app: FastAPI
    keys: dict[str, str]

    @property
    def archive(self) -> Archive:
        archive: Archive = self.app.state.archive
        return archive


@pytest.fixture
async def served(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> AsyncIterator[Served]:
    limits: Limits = getattr(request, "param", TIGHT)
    (tmp_path / "key").write_text(ONE_KEY)
    auth = Auth(keys=True, key_file=tmp_path / "key")
    settings = Settings(
        data_dir=tmp_path, auth=auth, http=Http(drain_seconds=1), limits=limits
    ).with_database(database_url)
    app = create_app(settings)
    with bound_socket("127.0.0.1", 0) as listening:
        ready = asyncio.Event()
        server = Server(configuration(settings, cast("Any", app)), settings, ready.set, app)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        await asyncio.wait_for(ready.wait(), 60)
        try:
            archive: Archive = app.state.archive
            wanted = [WantedKey(name, ("administrator",), None) for name in WHO]
            made = [await make_key(archive, Principal("test"), one) for one in wanted]
            keys = {name: key.text for name, key in zip(WHO, made, strict=True)}
            keys["modality"] = ONE_KEY  # which is known without the index
            yield Served(listening.getsockname()[1], app, keys)
        finally:
            server.should_exit = True
            await running


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.encode():
                return value.strip().decode()
        return ""


class Caller:
    """A connection on which one caller asks."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._key = key

    async def ask(self, line: str, *fields: str, body: bytes = b"") -> None:
        """Send a request, or as much of its body as is given."""
        head = [f"{line} HTTP/1.1", "Host: a", f"Authorization: Bearer {self._key}", *fields]
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await self.writer.drain()

    async def get(self, path: str) -> Answer:
        await self.ask(f"GET {path}", "Connection: close")
        return await self.answer()

    async def answer(self) -> Answer:
        """Return the answer; the server has to close after it, or it has a length."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        partly = Answer(int(head.split()[1]), head, b"")
        if length := partly.header("content-length"):
            body = await self.reader.readexactly(int(length))
        else:
            body = await asyncio.wait_for(self.reader.read(), 60)
        return Answer(partly.status, head, body)


@contextlib.asynccontextmanager
async def caller(served: Served, who: str) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Caller(reader, writer, served.keys[who])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def store(served: Served, who: str, *parts: bytes) -> Answer:
    async with caller(served, who) as one:
        await begin_store(one, make_multipart(*parts), whole=True)
        return await one.answer()


async def begin_store(one: Caller, body: bytes, *more: str, whole: bool = False) -> None:
    length = f"Content-Length: {len(body)}"
    sent = body if whole else body[: len(body) // 2]
    await one.ask("POST /dicom-web/studies", f"Content-Type: {RELATED}", length, *more, body=sent)


def assert_busy(answer: Answer) -> None:
    assert answer.status == 503, answer.body
    assert int(answer.header("retry-after")) > 0
    assert json.loads(answer.body)["status"] == 503


async def until(turns: Turns, *, used: int, waiting: int = 0) -> None:
    async def is_so() -> bool:
        return (turns.used, turns.waiting) == (used, waiting)

    await waiting_until(is_so, 60)


@contextlib.contextmanager
def as_another(work: Work = Work.READ) -> Iterator[None]:
    token = asks(Asker("another", work))
    try:
        yield
    finally:
        asked(token)


async def test_of_uploads_one_caller_has_three_quarters_and_the_next_is_told_to_come_again(
    served: Served,
) -> None:
    uploads = served.archive.budgets.uploads
    body = make_multipart(PART)
    async with contextlib.AsyncExitStack() as stack:
        begun = [await stack.enter_async_context(caller(served, "jane")) for _ in range(3)]
        for one in begun:
            await begin_store(one, body)
        await until(uploads, used=3)
        late = await stack.enter_async_context(caller(served, "jane"))
        await begin_store(late, body, "Expect: 100-continue", whole=False)
        assert_busy(await late.answer())  # and no 100 before it: nothing was to be sent
        assert (await store(served, "john", PART)).status == 200
        for one in begun:
            one.writer.write(body[len(body) // 2 :])
            assert (await one.answer()).status == 200
    await until(uploads, used=0)
    assert uploads.refused == 1


@pytest.mark.parametrize(
    "served", [Limits(uploads=4, waiting_requests=4, waiting_seconds=60)], indirect=True
)
async def test_an_upload_that_waits_in_line_comes_in_when_another_ends(served: Served) -> None:
    uploads = served.archive.budgets.uploads
    body = make_multipart(PART)
    async with contextlib.AsyncExitStack() as stack:
        begun = [await stack.enter_async_context(caller(served, "jane")) for _ in range(4)]
        for one in begun:
            await begin_store(one, body)
        await until(uploads, used=3, waiting=1)
        for one in begun:
            one.writer.write(body[len(body) // 2 :])
        assert {(await one.answer()).status for one in begun} == {200}


async def test_an_upload_that_breaks_off_gives_its_turn_back(served: Served) -> None:
    uploads = served.archive.budgets.uploads
    async with caller(served, "jane") as one:
        await begin_store(one, make_multipart(PART))
        await until(uploads, used=1)
    await until(uploads, used=0)


async def test_of_downloads_one_caller_has_three_quarters_and_others_find_room(
    served: Served,
) -> None:
    downloads = served.archive.budgets.downloads
    series = make_series(20, Rows=512, Columns=512)
    stored = await store(served, "jane", *map(make_part10, series))
    assert stored.status == 200
    study = f"/dicom-web/studies/{series[0].StudyInstanceUID}"
    accept = 'Accept: multipart/related; type="application/dicom"'
    async with contextlib.AsyncExitStack() as stack:
        for path in (study, study, f"{study}/series/{series[0].SeriesInstanceUID}"):
            slow = await stack.enter_async_context(caller(served, "jane"))
            await slow.ask(f"GET {path}", accept)
        await until(downloads, used=3)
        late = await stack.enter_async_context(caller(served, "jane"))
        await late.ask(f"GET {study}", "Accept: application/zip", "Connection: close")
        assert_busy(await late.answer())
        one = await stack.enter_async_context(caller(served, "jane"))
        instance = f"{study}/series/{series[0].SeriesInstanceUID}/instances"
        alone = await one.get(f"{instance}/{series[0].SOPInstanceUID}/frames/1")
        assert alone.status == 200
        other = await stack.enter_async_context(caller(served, "john"))
        assert (await other.get(study)).status == 200
    await until(downloads, used=0)


async def test_a_head_holds_nothing_back(served: Served) -> None:
    series = make_series(2)
    await store(served, "jane", *map(make_part10, series))
    async with caller(served, "jane") as one:
        await one.ask(f"HEAD /dicom-web/studies/{series[0].StudyInstanceUID}", "Connection: close")
        head = await one.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
    await until(served.archive.budgets.downloads, used=0)


@pytest.mark.parametrize("served", [Limits(waiting_requests=4, waiting_seconds=60)], indirect=True)
async def test_in_a_storm_of_renderings_some_are_told_to_come_again_and_another_gets_its_own(
    served: Served,
) -> None:
    image = make_dataset(Rows=1024, Columns=1024)
    await store(served, "jane", make_part10(image))
    path = (
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}/rendered"
    )
    pixels = served.archive.budgets.pixels

    async def render(who: str, width: int) -> Answer:
        async with caller(served, who) as one:
            return await one.get(f"{path}?viewport={width},{width}")

    storm = [asyncio.create_task(render("jane", 500 + width)) for width in range(40)]

    async def is_refused() -> bool:
        return pixels.refused > 0

    await waiting_until(is_refused, 60)
    assert (await render("john", 900)).status == 200
    answers = await asyncio.gather(*storm)
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert_busy(answer)
    assert (pixels.used, pixels.waiting) == (0, 0)


async def test_a_wide_search_waits_for_others_and_a_plain_one_does_not(served: Served) -> None:
    await store(served, "jane", make_part10())
    async with contextlib.AsyncExitStack() as stack:
        with as_another():
            await stack.enter_async_context(served.archive.budgets.searches.turn())
        for wide in ("instances?includefield=all", "studies?limit=4000", "studies?KVP=120"):
            async with caller(served, "jane") as one:
                assert_busy(await one.get(f"/dicom-web/{wide}"))
        async with caller(served, "jane") as one:
            assert (await one.get("/dicom-web/studies?limit=101&PatientID=FR*")).status == 200
    async with caller(served, "jane") as one:
        assert (await one.get("/dicom-web/instances?includefield=all")).status == 200


async def refused(served: Served, who: str) -> Answer:
    """Ask until it is too often."""
    async with caller(served, who) as one:
        for _ in range(200):
            await one.ask("GET /api/v1/keys")
            answer = await one.answer()
            if answer.status != 200:
                return answer
    raise AssertionError("200 requests were not too many")


@pytest.mark.parametrize("served", [FEW], indirect=True)
async def test_who_asks_too_often_gets_429_and_when_to_come_again(served: Served) -> None:
    answer = await refused(served, "jane")
    assert answer.status == 429
    assert int(answer.header("retry-after")) == 1
    assert json.loads(answer.body)["detail"] == "Too many requests came from this caller"
    async with caller(served, "john") as other:
        assert (await other.get("/api/v1/keys")).status == 200


@pytest.mark.parametrize(
    "served", [Limits(principal_rate=1000, address_rate=1, burst_seconds=5)], indirect=True
)
async def test_from_one_address_not_even_strangers_ask_too_often(served: Served) -> None:
    assert (await refused(served, "jane")).status == 429
    async with caller(served, "john") as other:
        answer = await other.get("/login")
    assert answer.status == 429
    assert json.loads(answer.body)["detail"] == "Too many requests came from this address"


@contextlib.asynccontextmanager
async def all_taken(archive: Archive, work: Work) -> AsyncIterator[None]:
    """Have all connections to the index that there are for one kind of work."""
    async with contextlib.AsyncExitStack() as stack:
        with as_another(work):
            for shares in archive.index.shares:
                turns = shares.of[work]
                for _ in range(turns.size):
                    await stack.enter_async_context(turns.turn())
        yield


async def test_stores_and_jobs_that_take_all_their_connections_keep_no_reader_waiting(
    served: Served,
) -> None:
    image = make_dataset()
    await store(served, "jane", make_part10(image))
    path = (
        f"/dicom-web/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
        f"/instances/{image.SOPInstanceUID}/frames/1"
    )
    archive = served.archive
    async with all_taken(archive, Work.JOB), all_taken(archive, Work.STORE):
        for asked_for in (path, "/dicom-web/studies?PatientID=FR-0001"):
            async with caller(served, "jane") as one:
                assert (await one.get(asked_for)).status == 200
        waits = asyncio.create_task(store(served, "jane", make_part10()))
        shares: Shares = archive.index.pool.shares
        await until(shares.of[Work.STORE], used=shares.of[Work.STORE].size, waiting=1)
    assert (await waits).status == 200


async def test_readers_that_take_all_their_connections_keep_no_store_waiting(
    served: Served,
) -> None:
    async with all_taken(served.archive, Work.READ):
        stored = await store(served, "modality", make_part10())
    assert stored.status == 200


async def test_the_metrics_tell_what_is_done_and_what_was_refused(served: Served) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with as_another():
            await stack.enter_async_context(served.archive.budgets.searches.turn())
        async with caller(served, "jane") as one:
            assert_busy(await one.get("/dicom-web/instances?includefield=all"))
        wanted = (
            rb'fileroom_turns_used\{of="wide searches",work="any"\} 1.0',
            rb'fileroom_refused_total\{of="wide searches",work="any"\} [1-9]',
            rb'fileroom_turns\{of="look-ups",work="store"\} 4.0',
        )

        async def is_told() -> bool:
            async with caller(served, "jane") as one:
                told = (await one.get("/metrics")).body
            return all(re.search(line, told) for line in wanted)

        await waiting_until(is_told, 5)
