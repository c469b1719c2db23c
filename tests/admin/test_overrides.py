"""Break-glass over the whole application: one Study, for a reason, for a while, and loudly."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.archive.context import Archive
from app.archive.labels import label_study
from app.archive.local_users import add_user, disable_user
from app.archive.overrides import LONGEST_REASON
from app.main import create_app
from app.rights import ROLES, Principal, Role, Scope, Verb, principal_of
from app.settings import Auth, Settings
from app.web.auth import Credentials, Identity
from app.web.overrides import Overriding
from tests.factories import make_dataset, make_part10

OVERRIDES, STUDIES = "/api/v1/overrides", "/dicom-web/studies"
REASON = "Found unconscious, nobody to ask"
OPERATOR = Principal("operator")
_HERS = Scope(labels=frozenset({"hers"}))
PEOPLE = {
    "anna": principal_of("anna", "user", [Role.VIEWER, Role.EMERGENCY], _HERS),
    "ben": principal_of("ben", "user", [Role.VIEWER, Role.EMERGENCY], _HERS),
    "token": principal_of("anna", "token", [Role.CURATOR, Role.EMERGENCY], _HERS),
    "viewer": principal_of("cleo", "user", [Role.VIEWER], _HERS),
    "key": principal_of("anna", "key", [Role.VIEWER, Role.EMERGENCY], _HERS),
    "ticket": principal_of("anna", "ticket", [Role.VIEWER, Role.EMERGENCY], _HERS),
    "service": principal_of("bridge", "key", [Role.SERVICE, Role.EMERGENCY], _HERS),
    "all": principal_of("dora", "user", [Role.VIEWER, Role.EMERGENCY], Scope()),
    "chief": principal_of("chief", "user", [Role.ADMINISTRATOR], Scope()),
    "auditor": principal_of("emil", "user", [Role.AUDITOR], Scope()),
    "elsewhere": principal_of(
        "anna", "user", [Role.VIEWER, Role.EMERGENCY], Scope(2, labels=frozenset({"hers"}))
    ),
    "chief elsewhere": principal_of("chief", "user", [Role.ADMINISTRATOR], Scope(2)),
}


class People:
    """A source of identity: a bearer key is the name of somebody here."""

    async def principal(self, given: Credentials, _: dict[str, Any]) -> Principal | None:
        return PEOPLE.get(given.value.replace("_", " "))


@dataclass
class Scene:
    """An archive with a Study that anna does not see, and one that she does; and a client."""

    archive: Archive
    client: httpx.AsyncClient
    hidden: str
    hers: str

    async def ask(
        self, who: str, method: str = "GET", path: str = "", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who.replace(' ', '_')}", **more.pop("headers", {})}
        path = path or f"{STUDIES}/{self.hidden}/metadata"
        return await self.client.request(method, path, headers=headers, **more)

    async def status(self, who: str, method: str = "GET", path: str = "", **more: Any) -> int:
        return (await self.ask(who, method, path, **more)).status_code

    async def open(self, who: str = "anna", **wanted: Any) -> httpx.Response:
        body = {"study": self.hidden, "reason": REASON, **wanted}
        return await self.ask(who, "POST", OVERRIDES, json=body)


Serving = Callable[..., AbstractAsyncContextManager[tuple[Archive, httpx.AsyncClient]]]


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("overrides", "local_users", "tickets"):
        monkeypatch.setattr(f"app.archive.{name}.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))


@pytest.fixture
def serving(database_url: str, tmp_path: Path) -> Serving:
    """Return a maker of processes of one archive."""

    @asynccontextmanager
    async def make(**auth: Any) -> AsyncIterator[tuple[Archive, httpx.AsyncClient]]:
        settings = Settings(data_dir=tmp_path, auth=Auth(**auth)).with_database(database_url)
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            if not auth.get("basic"):
                known = Identity((People(),))
                app.state.identity = Overriding(known, app.state, "/dicom-web")
            transport = httpx.ASGITransport(app)
            base = "http://127.0.0.1:8080"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                yield app.state.archive, client

    return make


async def make_scene(archive: Archive, client: httpx.AsyncClient) -> Scene:
    hidden, hers = make_dataset(), make_dataset()
    async with archive.index.writing() as connection:
        await connection.execute("INSERT INTO tenant VALUES (2, 'other')")
    scene = Scene(archive, client, hidden.StudyInstanceUID, hers.StudyInstanceUID)
    headers = {"Authorization": "Bearer chief", "Content-Type": "application/dicom"}
    for one in (hidden, hers):
        answer = await client.post(STUDIES, content=make_part10(one), headers=headers)
        assert answer.status_code == 200
    await label_study(archive, OPERATOR, scene.hers, ["hers"])
    return scene


@pytest.fixture
async def scene(serving: Serving) -> AsyncIterator[Scene]:
    """The archive, with people who come by name."""
    async with serving() as (archive, client):
        yield await make_scene(archive, client)


async def test_a_study_is_opened_to_the_one_who_says_why(scene: Scene) -> None:
    assert await scene.status("anna") == 404
    answer = await scene.open()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    made = answer.json()
    assert (made["study"], made["by"], made["reason"]) == (scene.hidden, "anna", REASON)
    assert await scene.status("anna") == 200
    found = (await scene.ask("anna", path=STUDIES)).json()
    assert {one["0020000D"]["Value"][0] for one in found} == {scene.hidden, scene.hers}
    assert await scene.status("anna", path=f"{STUDIES}/{scene.hers}/metadata") == 200


@pytest.mark.parametrize("who", ["ben", "token", "viewer", "key", "ticket", "service", "elsewhere"])
async def test_it_is_opened_to_nobody_else(scene: Scene, who: str) -> None:
    assert (await scene.open()).status_code == 201
    assert await scene.status(who) == 404
    found = await scene.ask(who, path=STUDIES)
    assert scene.hidden not in found.text


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("viewer", 403),
        ("chief", 403),
        ("key", 403),
        ("ticket", 403),
        ("service", 403),
        ("all", 409),
        ("elsewhere", 404),
        ("stranger", 401),
    ],
)
async def test_only_a_person_whose_role_permits_it_opens_what_there_is(
    scene: Scene, who: str, status: int
) -> None:
    assert (await scene.open(who)).status_code == status
    assert (await scene.ask("chief", path=OVERRIDES)).json()["overrides"] == []


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"reason": "because"}, 400),
        ({"reason": "  because    "}, 400),
        ({"reason": "an emergency\0"}, 400),
        ({"reason": "x" * (LONGEST_REASON + 1)}, 400),
        ({"reason": None}, 400),
        ({"study": "1.2.x"}, 400),
        ({"study": "1.2.3"}, 404),
        ({"minutes": 0}, 400),
        ({"minutes": 61}, 400),
        ({"minutes": 60}, 201),
    ],
)
async def test_a_reason_and_a_bounded_time_are_asked_for(
    scene: Scene, wanted: dict[str, Any], status: int
) -> None:
    assert (await scene.open(**wanted)).status_code == status


async def test_what_is_seen_anyway_is_not_opened(scene: Scene) -> None:
    assert (await scene.open(study=scene.hers)).status_code == 409


async def test_it_is_for_reading_and_for_nothing_else(scene: Scene) -> None:
    assert (await scene.open("token")).status_code == 201
    assert await scene.status("token") == 200
    study = f"{STUDIES}/{scene.hidden}"
    for method, path in (
        ("DELETE", study),
        ("POST", f"{study}/reject/113001^DCM"),
        ("PUT", f"/api/v1/studies/{scene.hidden}/labels/hers"),
        ("GET", f"/api/v1/studies/{scene.hidden}/labels"),
        ("GET", f"/api/v1/receipts/studies/{scene.hidden}"),
    ):
        assert await scene.status("token", method, path) in {403, 404}, path
    ticket = {"study": scene.hidden}
    assert await scene.status("token", "POST", "/api/v1/tickets", json=ticket) == 404
    assert await scene.status("chief") == 200


async def test_it_is_over_when_its_time_is(scene: Scene) -> None:
    made = (await scene.open(minutes=30)).json()
    async with scene.archive.index.writing() as connection:
        lasts = await connection.fetchval(
            "SELECT extract(epoch FROM expires_at - begun_at)::int FROM emergency_override"
        )
        assert lasts == 30 * 60
        await connection.execute("UPDATE emergency_override SET expires_at = now()")
    assert await scene.status("anna") == 404
    assert await scene.status("anna", "DELETE", f"{OVERRIDES}/{made['number']}") == 404
    assert (await scene.ask("anna", path=OVERRIDES)).json()["overrides"] == []


async def test_it_is_listed_and_ended_by_who_opened_it_and_who_administers(scene: Scene) -> None:
    hers = (await scene.open("anna")).json()["number"]
    his = (await scene.open("ben")).json()["number"]

    async def listed(who: str) -> list[int]:
        answer = (await scene.ask(who, path=OVERRIDES)).json()
        return [one["number"] for one in answer["overrides"]]

    assert await listed("anna") == [hers]
    assert await listed("auditor") == await listed("chief") == [hers, his]
    assert await listed("viewer") == await listed("chief elsewhere") == []
    for who in ("ben", "auditor", "viewer", "key", "elsewhere", "chief elsewhere"):
        assert await scene.status(who, "DELETE", f"{OVERRIDES}/{hers}") == 404
    assert await scene.status("anna", "DELETE", f"{OVERRIDES}/{hers}") == 204
    assert await scene.status("chief", "DELETE", f"{OVERRIDES}/{his}") == 204
    assert await scene.status("anna") == await scene.status("ben") == 404


async def test_it_is_loud(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = (await scene.open()).json()
        await scene.status("anna")
        await scene.status("chief", "DELETE", f"{OVERRIDES}/{made['number']}")
    assert f"in an emergency anna opens Study {scene.hidden}" in caplog.text
    path = f"/api/v1/audit?study={scene.hidden}"
    entries = (await scene.ask("auditor", path=path)).json()["entries"]
    told = {one["action"]: one for one in entries}
    begun, ended, seen = told["broke-glass"], told["override-ended"], told["viewed"]
    assert (begun["principal"], begun["because"]) == ("anna", REASON)
    assert begun["until"] == made["expires"]
    assert (ended["principal"], ended["user"]) == ("chief", {"name": "anna"})
    assert (seen["principal"], seen["by"]) == ("anna", "emergency")
    feed = (await scene.ask("chief", path="/api/v1/changes")).json()["changes"]
    assert [one["kind"] for one in feed][-2:] == ["broke-glass", "override-ended"]
    hers = await scene.ask("viewer", path="/api/v1/changes")
    assert REASON not in hers.text
    metrics = (await scene.ask("chief", path="/metrics")).text
    (count,) = (line for line in metrics.splitlines() if line.startswith("fileroom_overrides_t"))
    assert float(count.split()[1]) >= 1


async def test_it_begins_and_ends_in_every_process(
    scene: Scene, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.overrides.LEASE_SECONDS", 0.3)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.3,))
    async with AsyncExitStack() as stack:
        archive, client = await stack.enter_async_context(serving())
        elsewhere = Scene(archive, client, scene.hidden, scene.hers)

        async def until_done(asking: asyncio.Task[httpx.Response]) -> httpx.Response:
            while not asking.done():
                await elsewhere.status("anna")
                await asyncio.sleep(0.02)
            return asking.result()

        assert await elsewhere.status("anna") == 404
        made = await until_done(asyncio.create_task(scene.open()))
        assert await elsewhere.status("anna") == 200
        path = f"{OVERRIDES}/{made.json()['number']}"
        await until_done(asyncio.create_task(scene.ask("anna", "DELETE", path)))
        assert await elsewhere.status("anna") == 404


async def test_only_so_many_are_open_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = [(await scene.open()).status_code for _ in range(21)]
    assert statuses == [201] * 20 + [409]


async def test_it_can_be_switched_off(serving: Serving) -> None:
    async with serving(override_seconds=0) as (archive, client):
        scene = await make_scene(archive, client)
        assert (await scene.open()).status_code == 403


async def test_a_user_of_this_archive_who_is_disabled_has_nothing_open(serving: Serving) -> None:
    async with serving(basic=True) as (archive, client):
        roles, password = ["viewer", "emergency"], "a long password of hers"
        await add_user(archive, OPERATOR, "anna", password, roles, ["hers"])
        await add_user(archive, OPERATOR, "chief", password, ["administrator"])
        study = make_dataset()
        headers = {"Content-Type": "application/dicom"}
        chief, anna = ("chief", password), ("anna", password)
        body = make_part10(study)
        assert (await client.post(STUDIES, content=body, headers=headers, auth=chief)).is_success
        wanted = {"study": study.StudyInstanceUID, "reason": REASON}
        assert (await client.post(OVERRIDES, json=wanted, auth=anna)).status_code == 201
        path = f"{STUDIES}/{study.StudyInstanceUID}"
        assert (await client.get(path, auth=anna)).status_code == 200
        await disable_user(archive, OPERATOR, "anna")
        await disable_user(archive, OPERATOR, "anna", disabled=False)
        assert (await client.get(path, auth=anna)).status_code == 404


def test_no_role_but_its_own_has_it() -> None:
    assert [role for role in Role if Verb.OVERRIDE in ROLES[role]] == [Role.EMERGENCY]
