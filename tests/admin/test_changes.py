"""The change feed over the whole application."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from app.archive.changes import read_changes
from app.archive.context import Archive
from app.errors import Forbidden
from app.index.events import Position
from app.rights import Principal, Scope, Verb
from tests.admin.conftest import Served
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid

DICOM = {"Content-Type": "application/dicom"}
CHANGES = "/api/v1/changes"


async def post(client: httpx.AsyncClient, study: str) -> None:
    body = make_part10(StudyInstanceUID=study)
    answer = await client.post("/dicom-web/studies", content=body, headers=DICOM)
    assert answer.status_code == 200


async def read(client: httpx.AsyncClient, **query: Any) -> tuple[list[dict[str, Any]], str]:
    answer = await client.get(CHANGES, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    return body["changes"], body["next"]


async def test_what_happens_is_told_once_and_in_order(client: httpx.AsyncClient) -> None:
    assert await read(client) == ([], "0.0")
    one, two = new_uid(), new_uid()
    await post(client, one)
    await post(client, two)
    first, place = await read(client, limit=1)
    assert [(change["kind"], change["study"]) for change in first] == [("accepted", one)]
    await client.post(f"/dicom-web/studies/{one}/reject/113001^DCM")
    await client.delete(f"/dicom-web/studies/{one}/reject")
    await client.delete(f"/dicom-web/studies/{two}")
    rest, place = await read(client, since=place)
    assert [(change["kind"], change["study"]) for change in rest] == [
        ("accepted", two),
        ("rejected", one),
        ("restored", one),
        ("accepted", one),  # it is described and counted anew
        ("removed", two),
    ]
    assert [len(digest) for digest in _digests(rest[0])] == [64]
    assert _digests(rest[0]) == _digests(rest[-1])
    assert {change["actor"] for change in rest} == {first[0]["actor"]} != {""}
    assert await read(client, since=place) == ([], place)
    assert rest[-1]["position"] == place


def _digests(change: dict[str, Any]) -> list[str]:
    return [digest for series in change["series"].values() for digest in series.values()]


async def test_who_waits_is_answered_when_something_happens(client: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(read(client, wait=10))
    await asyncio.sleep(0.6)
    assert not waiting.done()
    study = new_uid()
    await post(client, study)
    ((change,), _) = await asyncio.wait_for(waiting, 5)
    assert change["study"] == study
    began = time.monotonic()
    assert (await read(client, since=change["position"], wait=0.7))[0] == []
    assert 0.7 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    "query", ["since=x", "since=1", "since=1.2.3", f"since={2**64}.1", "limit=0", "wait=61"]
)
async def test_what_is_no_position_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{CHANGES}?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_strangers_learn_nothing(served: Served) -> None:
    async with served(key=True) as client:
        assert (await client.get(CHANGES)).status_code == 401


async def test_each_sees_what_lies_in_its_scope(archive: Archive, principal: Principal) -> None:
    mine, other = new_uid(), new_uid()
    for study in (other, mine, other):
        await store(archive, principal, make_part10(StudyInstanceUID=study))
    limited = Principal("site", scope=Scope(studies=frozenset({mine})))
    events, place = await read_changes(archive, limited, Position(), 1, 0)
    assert events == []  # the first one is not for this caller
    events, place = await read_changes(archive, limited, place, 1, 0)
    assert [event.payload["study"] for event in events] == [mine]
    assert (await read_changes(archive, limited, place, 9, 0))[0] == []
    nobody = Principal("nobody", verbs=frozenset({Verb.STORE}))
    with pytest.raises(Forbidden):
        await read_changes(archive, nobody, Position(), 1, 0)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_place_that_the_log_does_not_reach_is_refused(
    client: httpx.AsyncClient, accept: str
) -> None:
    await post(client, new_uid())
    place = (await read(client))[1]
    transaction, number = map(int, place.split("."))
    headers = {"Accept": accept}
    for beyond in (f"{transaction + 167}.{number}", f"{transaction}.{number + 1}"):
        for query in ({"since": beyond}, {"since": beyond, "wait": "5"}):
            answer = await client.get(CHANGES, params=query, headers=headers)
            assert answer.status_code == 410
            assert answer.headers["content-type"] == "application/problem+json"
            assert f"Position {beyond} is not in this archive's log" in answer.json()["detail"]
    assert await read(client, since=place) == ([], place)
    assert await read(client, since=f"{transaction - 1}.{number + 9}") != ([], place)
