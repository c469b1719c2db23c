"""Changes as a stream of events, over a real socket: `serve`'s own server, in a thread."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvloop

from app.archive import changes
from app.cli.asgi_server import Server, configuration
from app.cli.listening import bound_socket
from app.dicom.limits import Limits
from app.main import create_app
from app.settings import Settings
from tests.factories import make_part10, new_uid

CHANGES = "/api/v1/changes"
DICOM = {"content-type": "application/dicom"}
STREAM = {"accept": "text/event-stream"}


@dataclass
class Followed:
    """A server, and a client of it."""

    client: httpx.Client
    server: Server
    thread: threading.Thread
    waiting: Any

    def store(self) -> str:
        """Store an Instance; return the UID of its Study."""
        study = new_uid()
        body = make_part10(StudyInstanceUID=study)
        answer = self.client.post("/dicom-web/studies", content=body, headers=DICOM)
        assert answer.status_code == 200
        return study

    def stop(self) -> None:
        """Stop the server, well before requests under way would be broken off."""
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextmanager
def serving(settings: Settings) -> Iterator[Followed]:
    app = create_app(settings)
    with bound_socket("127.0.0.1", 0) as listening:
        ready = threading.Event()
        server = Server(configuration(settings, cast("Any", app)), settings, ready.set, app)
        thread = threading.Thread(target=lambda: uvloop.run(server.serve(sockets=[listening])))
        thread.start()
        assert ready.wait(20)
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with httpx.Client(base_url=base, timeout=10) as client:
            followed = Followed(client, server, thread, app.state.archive.watch)
            yield followed
        followed.stop()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, limits=Limits(waiting_clients=2)).with_database(database_url)


@pytest.fixture
def followed(settings: Settings) -> Iterator[Followed]:
    with serving(settings) as followed:
        yield followed


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Yield what comes, as a browser reads it: the id of each event, and its data."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    last, data = "", None
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            last = value
        elif name == "data":
            data = json.loads(value)
        elif not line and data is not None:
            yield last, data
            data = None


def test_changes_come_as_they_are_made(followed: Followed) -> None:
    before = followed.store()
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        coming = events(answer)
        place, first = next(coming)
        assert (first["kind"], first["study"], first["position"]) == ("accepted", before, place)
        for _ in range(2):
            study = followed.store()
            _, change = next(coming)
            assert change["study"] == study
    told = followed.client.get(CHANGES, params={"since": place}).json()["changes"]
    assert told[-1] == change


def test_it_goes_on_where_it_was_broken_off(followed: Followed) -> None:
    studies = [followed.store() for _ in range(3)]
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        place, _ = next(events(answer))
    again = {**STREAM, "last-event-id": place}
    for query, headers in ({"since": place}, STREAM), ({"since": "0.0"}, again):
        with followed.client.stream("GET", CHANGES, params=query, headers=headers) as answer:
            coming = events(answer)
            assert [next(coming)[1]["study"] for _ in range(2)] == studies[1:]


def test_where_nothing_comes_a_comment_does(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "QUIET_SECONDS", 0.3)
    followed.store()
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(": ")  # the head of the answer does not wait for a change
        told = [next(lines) for _ in range(8)]
        place = next(line for line in told if line.startswith("id: "))
        assert told[4:7] == [": nothing", place, ""]


def test_the_server_does_not_wait_for_who_follows(settings: Settings) -> None:
    with serving(settings) as followed:
        answers: list[httpx.Response] = []

        def poll() -> None:
            answers.append(followed.client.get(CHANGES, params={"wait": 60}, timeout=70))

        polling = threading.Thread(target=poll)
        polling.start()
        with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
            lines = answer.iter_lines()
            next(lines)
            _until_waiting(followed, 2)
            followed.stop()
            assert list(lines)[-1:] in ([], [""])  # it ends as an answer does that is whole
        polling.join(10)
        assert [(one.status_code, one.json()["changes"]) for one in answers] == [(200, [])]


def test_who_goes_gives_the_place_to_another(followed: Followed) -> None:
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        first = answer.iter_lines()
        next(first)
        with followed.client.stream("GET", CHANGES, headers=STREAM) as second:
            other = second.iter_lines()  # who lets go of this closes the connection
            next(other)
            _until_waiting(followed, 2)
            for headers, query in (STREAM, {}), ({}, {"wait": 5}):
                refused = followed.client.get(CHANGES, params=query, headers=headers)
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) > 0
            study = followed.store()
            told = followed.client.get(CHANGES, params={"wait": 5}).json()["changes"]
            assert [one["study"] for one in told] == [study]  # who need not wait is answered
    _until_waiting(followed, 0)
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        assert next(events(answer))[1]["study"] == study


def _until_waiting(followed: Followed, count: int) -> None:
    end = time.monotonic() + 10
    while followed.waiting.count != count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_after_its_time_a_stream_ends(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "FOLLOWED_SECONDS", 0.1)
    monkeypatch.setattr(changes, "QUIET_SECONDS", 0.1)
    study = followed.store()
    with followed.client.stream("GET", CHANGES, headers=STREAM) as answer:
        assert [change["study"] for _, change in events(answer)] == [study]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/*"])
def test_json_is_given_unless_a_stream_is_wanted(followed: Followed, accept: str) -> None:
    answer = followed.client.get(CHANGES, headers={"accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert followed.client.head(CHANGES, headers=STREAM).status_code == 200
    refused = followed.client.get(CHANGES, headers={**STREAM, "last-event-id": "1"})
    assert refused.status_code == 400
