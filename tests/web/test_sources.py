"""API keys and local users over the whole application."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.archive.api_keys import WantedKey, make_key
from app.archive.context import Archive
from app.archive.local_users import add_user, disable_user
from app.main import create_app
from app.rights import Principal
from app.settings import Auth, Http, Settings
from tests.factories import make_dataset, make_part10

ADMIN, PASSWORD = Principal("admin"), "correct horse battery"
KEY = "0123456789abcdef"
STUDIES, KEYS = "/dicom-web/studies", "/api/v1/keys"
Opened = Callable[..., AbstractAsyncContextManager[tuple[httpx.AsyncClient, FastAPI]]]


@pytest.fixture
def opened(cheap_passwords: None, database_url: str, tmp_path: Path) -> Opened:
    """Return a maker of an application and a client of it from some address."""

    @asynccontextmanager
    async def make(
        base: str = "http://127.0.0.1:8080", client_at: str = "127.0.0.1", **auth: Any
    ) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
        if auth.pop("key", False):
            (tmp_path / "key").write_text(KEY)
            auth["key_file"] = tmp_path / "key"
        http = Http(cors_origins=("https://viewer.example",))
        settings = Settings(data_dir=tmp_path, auth=Auth(**auth), http=http)
        app = create_app(settings.with_database(database_url))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, client=(client_at, 5))
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                yield client, app

    return make


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(name: str, password: str, coding: str = "utf-8") -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode(coding)).decode()}


async def key_of(archive: Archive, *roles: str, labels: list[str] | None = None) -> str:
    name = "-".join(roles)
    return (await make_key(archive, ADMIN, WantedKey(name, roles, labels))).text


async def test_a_key_opens_every_kind_of_route(opened: Opened) -> None:
    async with opened(keys=True, client_at="203.0.113.5", base="https://pacs.example") as (
        client,
        app,
    ):
        archive: Archive = app.state.archive
        dataset = make_dataset()
        admin, viewer = [await key_of(archive, role) for role in ("administrator", "viewer")]
        headers = {**bearer(admin), "Content-Type": "application/dicom"}
        stored = await client.post(STUDIES, content=make_part10(dataset), headers=headers)
        assert stored.status_code == 200
        image = (
            f"{STUDIES}/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
            f"/instances/{dataset.SOPInstanceUID}"
        )
        for path in (STUDIES, f"{image}/frames/1", f"{image}/metadata", "/api/v1/changes", "/wado"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == 'Bearer realm="Fileroom"'
            assert (await client.get(path, headers=bearer(viewer))).status_code in {200, 400}
        page = await client.get("/")
        assert "Shown to callers with a key" in page.text
        assert "<dt>studies</dt><dd>1</dd>" in (await client.get("/", headers=bearer(viewer))).text
        deleted = await client.delete(image, headers=bearer(viewer))
        assert deleted.status_code == 403


async def test_this_machine_needs_a_key_too_and_the_one_key_stays(opened: Opened) -> None:
    async with opened(keys=True, key=True) as (client, app):
        made = await key_of(app.state.archive, "viewer")
        assert (await client.get(STUDIES)).status_code == 401
        for key in (KEY, made):
            assert (await client.get(STUDIES, headers=bearer(key))).status_code == 204
        assert (await client.get(KEYS, headers=bearer(KEY))).status_code == 200
        assert (await client.get(KEYS, headers=bearer(made))).status_code == 403


async def test_keys_count_only_where_they_are_switched_on(opened: Opened) -> None:
    async with opened(key=True) as (client, app):
        made = await key_of(app.state.archive, "administrator")
        assert (await client.get(STUDIES, headers=bearer(made))).status_code == 401


@pytest.mark.parametrize("name", ["ticket", "key", "access_token", "token", "api_key"])
async def test_a_key_in_the_query_is_never_taken(opened: Opened, name: str) -> None:
    async with opened(keys=True, basic=True) as (client, app):
        made = await key_of(app.state.archive, "administrator")
        assert (await client.get(STUDIES, params={name: made})).status_code == 401
        headers = {"Cookie": f"fileroom_session={made}"}
        assert (await client.get(STUDIES, headers=headers)).status_code == 401
        answer = await client.get(STUDIES, params={name: "frt_x"}, headers=bearer(made))
        assert answer.status_code in {204, 400}


async def test_two_credentials_of_one_sort_are_refused(opened: Opened) -> None:
    async with opened(keys=True) as (client, app):
        made = await key_of(app.state.archive, "viewer")
        twice = [("Authorization", f"Bearer {made}")] * 2
        answer = await client.get(STUDIES, headers=twice)
        assert (answer.status_code, "once" in answer.json()["detail"]) == (401, True)


async def test_administrators_make_list_and_revoke_keys(opened: Opened) -> None:
    async with opened(keys=True) as (client, app):
        client.headers.update(bearer(await key_of(app.state.archive, "administrator")))
        wanted = {"name": "ct-1", "roles": ["uploader"], "labels": ["ct"], "days": None}
        made = await client.post(KEYS, json=wanted)
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
        shown = made.json()
        key = shown.pop("key")
        assert shown["expires_at"] is None
        assert (await client.post(KEYS, json=wanted)).status_code == 409
        listed = (await client.get(KEYS)).json()["keys"]
        assert listed[1] == shown
        assert key not in (await client.get(KEYS)).text
        assert (await client.get(STUDIES, headers=bearer(key))).status_code == 403
        assert (await client.delete(f"{KEYS}/ct-1")).status_code == 204
        assert (await client.get(STUDIES, headers=bearer(key))).status_code == 401
        assert (await client.delete(f"{KEYS}/ct-1")).status_code == 404
        assert (await client.delete(f"{KEYS}/%00")).status_code == 400
        assert (await client.get(KEYS)).json()["keys"][1]["revoked_at"]
        plain = await client.post(KEYS, json={"name": "plain", "roles": ["viewer"]})
        assert plain.json()["expires_at"] is not None


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "a"},
        {"name": "a", "roles": []},
        {"name": "a", "roles": ["root"]},
        {"name": "a b", "roles": ["viewer"]},
        {"name": "a", "roles": ["viewer"], "labels": []},
        {"name": "a", "roles": ["viewer"], "days": True},
        {"name": "a", "roles": ["viewer"], "days": 0},
        {"name": "a", "roles": ["viewer"], "secret": "mine"},
    ],
)
async def test_a_key_that_cannot_be_made_is_refused(
    opened: Opened, wanted: dict[str, object]
) -> None:
    async with opened(key=True) as (client, _):
        assert (await client.post(KEYS, json=wanted, headers=bearer(KEY))).status_code == 400


async def test_who_is_let_in_shows_in_the_feed_to_administrators_alone(opened: Opened) -> None:
    async with opened(keys=True) as (client, app):
        admin, viewer = [
            await key_of(app.state.archive, role) for role in ("administrator", "viewer")
        ]
        for key, told in ((admin, True), (viewer, False)):
            answer = await client.get("/api/v1/changes", headers=bearer(key))
            changes = answer.json()["changes"]
            assert [one["kind"] for one in changes] == ["key-created"] * 2
            assert ["name" in one.get("key", {}) for one in changes] == [told, told]
            assert ["actor" in one for one in changes] == [told, told]


async def test_a_user_is_let_in_by_basic_and_told_so(opened: Opened) -> None:
    async with opened(keys=True, basic=True) as (client, app):
        archive: Archive = app.state.archive
        await add_user(archive, ADMIN, "meier", "Zürichsee-2026", ["viewer"])
        stranger = await client.get(STUDIES)
        assert stranger.headers["www-authenticate"] == (
            'Bearer realm="Fileroom", Basic realm="Fileroom", charset="UTF-8"'
        )
        for coding in ("utf-8", "latin-1"):
            right = basic("meier", "Zürichsee-2026", coding)
            assert (await client.get(STUDIES, headers=right)).status_code == 204
        await disable_user(archive, ADMIN, "meier")
        assert (await client.get(STUDIES, headers=right)).status_code == 401


@pytest.mark.parametrize(
    "value",
    ["", "!", "YQ", "YTpiOg=", b64encode(b"no colon").decode(), b64encode(b"a\0:b").decode()],
)
async def test_what_is_no_basic_credential_is_refused(opened: Opened, value: str) -> None:
    async with opened(basic=True) as (client, _):
        answer = await client.get(STUDIES, headers={"Authorization": f"Basic {value}"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("base", "client_at", "headers", "status"),
    [
        ("http://127.0.0.1", "127.0.0.1", {}, 204),
        ("https://pacs.example", "203.0.113.5", {}, 204),
        ("http://pacs.example", "203.0.113.5", {}, 403),
        ("http://127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "203.0.113.5"}, 403),
        ("http://127.0.0.1", "127.0.0.1", {"X-Forwarded-Proto": "https"}, 403),  # nobody trusts it
        ("http://pacs.example", "127.0.0.1", {}, 403),  # a proxy that says nothing of itself
    ],
)
async def test_a_password_is_taken_over_https_or_from_this_machine(
    opened: Opened, base: str, client_at: str, headers: dict[str, str], status: int
) -> None:
    async with opened(base, client_at, basic=True) as (client, app):
        await add_user(app.state.archive, ADMIN, "meier", PASSWORD, ["viewer"])
        right = {**basic("meier", PASSWORD), **headers}
        answer = await client.get(STUDIES, headers=right)
        assert answer.status_code == status
        if status == 403:
            assert "over HTTPS only" in answer.json()["detail"]
            wrong = {**basic("meier", "another"), **headers}
            assert (await client.get(STUDIES, headers=wrong)).status_code == 403


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        (None, True),
        ("https://pacs.example", True),
        ("http://127.0.0.1:8080", True),  # the base of its URLs
        ("https://viewer.example", True),
        ("https://evil.example", False),
        ("https://pacs.example.evil.example", False),
        ("null", False),
    ],
)
async def test_a_strangers_page_changes_nothing_with_what_a_browser_remembers(
    opened: Opened, origin: str | None, taken: bool
) -> None:
    async with opened("https://pacs.example", basic=True) as (client, app):
        await add_user(app.state.archive, ADMIN, "meier", PASSWORD, ["administrator"])
        headers = {**basic("meier", PASSWORD), **({"Origin": origin} if origin else {})}
        body = '{"name": "mine", "roles": ["administrator"]}'
        made = await client.post(
            KEYS, content=body, headers={**headers, "Content-Type": "text/plain"}
        )
        assert made.status_code == (201 if taken else 403)
        read = await client.get(KEYS, headers=headers)
        assert read.status_code == 200
        assert "access-control-allow-credentials" not in read.headers
        assert len(read.json()["keys"]) == taken


async def test_who_guesses_is_told_when_to_come_again(opened: Opened) -> None:
    async with opened(basic=True) as (client, app):
        await add_user(app.state.archive, ADMIN, "meier", PASSWORD, ["viewer"])
        answers = [
            await client.get(STUDIES, headers=basic("meier", f"wrong {number}"))
            for number in range(6)
        ]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert {answer.text for answer in answers[:5]} == {answers[0].text}
        nobody = await client.get(STUDIES, headers=basic("nobody", "wrong"))
        assert nobody.text == answers[0].text


async def test_answers_over_tls_say_that_it_stays_so(opened: Opened) -> None:
    async with opened("https://127.0.0.1") as (client, _):
        for path in ("/", STUDIES, "/nowhere", "/health/live"):
            header = (await client.get(path)).headers["strict-transport-security"]
            assert header == "max-age=31536000"
    async with opened() as (client, _):
        assert "strict-transport-security" not in (await client.get("/")).headers
