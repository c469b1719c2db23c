"""Tickets over the whole application: they read one Study, for a while, and do nothing else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from app.logs import ACCESS
from app.web.tickets import split_query
from tests.admin.conftest import KEY, Served
from tests.dicomweb.test_wado_rs import path_of
from tests.factories import make_dataset, make_part10, new_uid

TICKETS = "/api/v1/tickets"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
READING = ["search", "view", "download"]


@dataclass
class Scene:
    """An archive with a key and two Studies, and a client that shows nothing by itself."""

    client: httpx.AsyncClient
    seen: Dataset
    other: Dataset

    async def make(self, **wanted: Any) -> dict[str, Any]:
        """Return what is answered to somebody who makes a ticket with the key."""
        body = {"study": self.seen.StudyInstanceUID, **wanted}
        answer = await self.client.post(TICKETS, json=body, headers=AUTHORIZED)
        assert answer.status_code == 201, answer.text
        assert answer.headers["cache-control"] == "no-store"
        made: dict[str, Any] = answer.json()
        return made

    async def status(self, path: str, ticket: str, **more: Any) -> int:
        """Return the status of a GET with a ticket in its query."""
        asked = self.client.build_request("GET", path, **more)
        url = asked.url.copy_merge_params({"ticket": ticket})
        return (await self.client.get(url)).status_code


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.tickets.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


@pytest.fixture
async def scene(served: Served) -> AsyncIterator[Scene]:
    """The archive."""
    async with served(key=True) as client:
        studies = make_dataset(), make_dataset()
        for one in studies:
            headers = {"Content-Type": "application/dicom", **AUTHORIZED}
            body = make_part10(one)
            answer = await client.post("/dicom-web/studies", content=body, headers=headers)
            assert answer.status_code == 200
        yield Scene(client, *studies)


async def test_a_ticket_reads_its_study_by_query_and_as_a_bearer(scene: Scene) -> None:
    made = await scene.make(verbs=READING)
    assert made["verbs"] == ["download", "search", "view"]
    study, ticket = scene.seen.StudyInstanceUID, made["ticket"]
    instance = f"/dicom-web{path_of(scene.seen)}"
    for path in (
        f"/dicom-web/studies/{study}/metadata",
        f"/dicom-web/studies/{study}/series",
        f"/dicom-web/studies?StudyInstanceUID={study}",
        f"{instance}/frames/1",
        f"{instance}/rendered",
        f"{instance}/thumbnail",
        instance,
        f"/wado?requestType=WADO&studyUID={study}&seriesUID={scene.seen.SeriesInstanceUID}"
        f"&objectUID={scene.seen.SOPInstanceUID}",
    ):
        assert (await scene.client.get(path)).status_code == 401
        assert await scene.status(path, ticket) == 200, path
        bearer = {"Authorization": f"Bearer {ticket}"}
        assert (await scene.client.get(path, headers=bearer)).status_code == 200
        assert (await scene.client.head(path, headers=bearer)).status_code == 200


async def test_of_another_study_it_shows_nothing(scene: Scene) -> None:
    ticket = (await scene.make(verbs=READING))["ticket"]
    other, unknown = scene.other.StudyInstanceUID, new_uid()
    for path in (f"/dicom-web{path_of(scene.other)}/frames/1", f"/dicom-web/studies/{other}"):
        assert await scene.status(path, ticket) == 404
    answers = [
        await scene.client.get(f"/dicom-web/studies/{uid}/metadata", params={"ticket": ticket})
        for uid in (other, unknown)
    ]
    assert answers[0].text.replace(other, unknown) == answers[1].text
    found = await scene.client.get("/dicom-web/studies", params={"ticket": ticket})
    assert [one["0020000D"]["Value"] for one in found.json()] == [[scene.seen.StudyInstanceUID]]


NOT_FOR_TICKETS = (
    ("POST", "/dicom-web/studies"),
    ("DELETE", "/dicom-web/studies/{study}"),
    ("POST", "/dicom-web/studies/{study}/reject/113001^DCM"),
    ("GET", "/api/v1/changes"),
    ("GET", "/api/v1/tickets"),
    ("POST", "/api/v1/tickets"),
    ("GET", "/api/v1/studies/{study}/labels"),
    ("GET", "/metrics"),
    ("GET", "/dicom-web/commitment-requests/1.2"),
)


async def test_a_ticket_is_for_reading_images_alone(scene: Scene) -> None:
    ticket = (await scene.make(verbs=READING))["ticket"]
    bearer = {"Authorization": f"Bearer {ticket}"}
    for method, path in NOT_FOR_TICKETS:
        url = path.replace("{study}", scene.seen.StudyInstanceUID)
        for answer in (
            await scene.client.request(method, url, params={"ticket": ticket}),
            await scene.client.request(method, url, headers=bearer),
        ):
            assert answer.status_code == 401, (method, path)
            assert ticket not in answer.text


async def test_a_ticket_allows_what_it_names_and_no_more_than_its_maker_has(scene: Scene) -> None:
    made = await scene.make()
    assert made["verbs"] == ["view"]
    study = scene.seen.StudyInstanceUID
    assert await scene.status(f"/dicom-web/studies/{study}/metadata", made["ticket"]) == 200
    assert await scene.status("/dicom-web/studies", made["ticket"]) == 403


NO_TICKETS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"minutes": 481}, 400),
    ({"minutes": 0}, 400),
    ({"minutes": -1}, 400),
    ({"verbs": []}, 400),
    ({"verbs": ["delete"]}, 400),
    ({"verbs": ["view", "administer"]}, 400),
    ({"verbs": ["see"]}, 400),
    ({"study": "1.x"}, 400),
    ({"study": "1.2.3"}, 404),
    ({"more": 1}, 400),
)


async def test_what_no_ticket_can_be_for_is_refused(scene: Scene) -> None:
    for wanted, status in NO_TICKETS:
        body = {"study": scene.seen.StudyInstanceUID, **wanted}
        answer = await scene.client.post(TICKETS, json=body, headers=AUTHORIZED)
        assert answer.status_code == status, wanted


async def test_tickets_are_listed_without_their_secrets_and_revoked(scene: Scene) -> None:
    made = [await scene.make(minutes=minutes) for minutes in (1, 480)]
    page = (await scene.client.get(TICKETS, params={"limit": 1}, headers=AUTHORIZED)).json()
    assert page["next"] == made[0]["number"]
    rest = await scene.client.get(TICKETS, params={"after": page["next"]}, headers=AUTHORIZED)
    listed = [*page["tickets"], *rest.json()["tickets"]]
    assert listed == [{name: one[name] for name in one if name != "ticket"} for one in made]
    url = f"{TICKETS}/{made[0]['number']}"
    path = f"/dicom-web/studies/{scene.seen.StudyInstanceUID}/metadata"
    assert await scene.status(path, made[0]["ticket"]) == 200
    assert (await scene.client.delete(url, headers=AUTHORIZED)).status_code == 204
    assert await scene.status(path, made[0]["ticket"]) == 401
    assert await scene.status(path, made[1]["ticket"]) == 200
    assert (await scene.client.delete(url, headers=AUTHORIZED)).status_code == 404
    changes = await scene.client.get("/api/v1/changes", headers=AUTHORIZED)
    kinds = [one["kind"] for one in changes.json()["changes"]]
    assert kinds == ["accepted", "accepted", "ticket-made", "ticket-made", "ticket-revoked"]
    assert made[0]["ticket"] not in changes.text


async def test_a_revoked_ticket_is_dead_in_every_process_when_that_is_answered(
    scene: Scene, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.tickets.LEASE_SECONDS", 0.3)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.3,))
    made = await scene.make()
    path = f"/dicom-web/studies/{scene.seen.StudyInstanceUID}/metadata"
    async with served(key=True) as elsewhere:
        ticket = {"ticket": made["ticket"]}
        assert (await elsewhere.get(path, params=ticket)).status_code == 200
        revoking = asyncio.create_task(
            scene.client.delete(f"{TICKETS}/{made['number']}", headers=AUTHORIZED)
        )
        while not revoking.done():
            await elsewhere.get(path, params=ticket)
            await asyncio.sleep(0.02)
        assert revoking.result().status_code == 204
        assert (await elsewhere.get(path, params=ticket)).status_code == 401


async def test_what_is_no_ticket_opens_nothing_and_a_key_in_a_query_neither(scene: Scene) -> None:
    path = f"/dicom-web/studies/{scene.seen.StudyInstanceUID}/metadata"
    for ticket in ("", "frt_", "frt_" + "A" * 43, "frt_" + "A" * 5000, KEY, "\xe4"):
        assert await scene.status(path, ticket) == 401, ticket
        bearer = [(b"Authorization", f"Bearer {ticket}".encode())]
        answer = await scene.client.get(path, headers=bearer)
        assert answer.status_code == (200 if ticket == KEY else 401), ticket


async def test_two_tickets_are_refused_and_a_header_goes_before_one(scene: Scene) -> None:
    ticket = (await scene.make())["ticket"]
    path = f"/dicom-web/studies/{scene.seen.StudyInstanceUID}/metadata"
    both = await scene.client.get(f"{path}?ticket={ticket}&ticket={ticket}")
    assert both.status_code == 401
    one = await scene.client.get(f"{path}?ticket={ticket}", headers={"Authorization": "Bearer no"})
    assert one.status_code == 401
    other = f"/dicom-web/studies/{scene.other.StudyInstanceUID}/metadata"
    good = await scene.client.get(f"{other}?ticket={ticket}", headers=AUTHORIZED)
    assert good.status_code == 200


async def test_a_ticket_is_over_when_its_time_is(scene: Scene) -> None:
    ticket = (await scene.make(minutes=0.005))["ticket"]  # 0.3 s
    path = f"/dicom-web/studies/{scene.seen.StudyInstanceUID}/metadata"
    assert await scene.status(path, ticket) == 200
    await asyncio.sleep(0.4)
    assert await scene.status(path, ticket) == 401
    assert (await scene.client.get(TICKETS, headers=AUTHORIZED)).json()["tickets"] == []


async def test_answers_to_a_ticket_go_nowhere_on_and_no_log_has_it(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = (await scene.make(verbs=READING))["ticket"]
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, logger=ACCESS)
    study = scene.seen.StudyInstanceUID
    instance = f"/dicom-web{path_of(scene.seen)}"
    for path in (
        f"/dicom-web/studies/{study}/metadata",
        "/dicom-web/studies?PatientName=none",
        "/dicom-web/studies?nonsense=1",
        f"{instance}/frames/1",
        f"{instance}/frames/7",
        f"{instance}/thumbnail",
        "/dicom-web/studies/1.x",
        "/api/v1/changes",
        "/nowhere",
    ):
        url = f"{path}{'&' if '?' in path else '?'}ticket={ticket}"
        answer = await scene.client.get(url)
        assert answer.headers["referrer-policy"] == "no-referrer"
        caching = answer.headers["cache-control"]
        assert "private" in caching or "no-store" in caching
        assert ticket not in answer.text + str(answer.headers)
    logged = "".join(str(vars(one)) for one in caplog.records if one.name != "httpx")
    assert "'path'" in logged
    assert ticket not in logged


async def test_the_query_that_remains_is_the_one_that_was_asked() -> None:
    assert split_query(b"a=%20b&ticket=x%2By&&c") == (b"a=%20b&&c", [b"x+y"])
    assert split_query(b"Ticket=1&tickets=2&ticket") == (b"tickets=2", [b"1", b""])
    assert split_query(b"a=ticket") == (b"a=ticket", [])


async def test_where_nobody_is_asked_who_it_is_a_ticket_is_not_needed(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/dicom-web/studies?ticket=frt_x")).status_code == 204
