"""The application with a provider that runs on this machine, and a browser at it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI

from app.archive.context import Archive
from app.main import create_app
from app.setting_groups import Oidc
from app.settings import Auth, Http, Settings
from tests.web.oidc.standin import Provider, provider_running

HERE = "http://127.0.0.1:8080"
SAME = {"Origin": HERE}


@pytest.fixture(autouse=True)
def _no_leases(cheap_passwords: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sessions", "tickets", "local_users"):
        monkeypatch.setattr(f"app.archive.{name}.LEASE_SECONDS", 0)
    monkeypatch.setattr("app.archive.remembered.Remembered.__init__.__defaults__", (0.0,))


@pytest.fixture
def standin() -> Iterator[Provider]:
    """A provider of its own for the test."""
    with provider_running() as provider:
        yield provider


class Visited:
    """The application, and a browser (a client with cookies) at it."""

    def __init__(self, app: FastAPI, base: str) -> None:
        self.app = app
        transport = httpx.ASGITransport(app)
        self.browser = httpx.AsyncClient(transport=transport, base_url=base)

    async def end(self) -> None:
        """Close the browser."""
        await self.browser.aclose()


@pytest.fixture
def serving(database_url: str, tmp_path: Path, standin: Provider) -> Any:
    """Return a maker of applications: `async with serving(...) as served`."""

    @asynccontextmanager
    async def make(
        base: str = HERE, public_url: str | None = None, idle: float = 1800, **oidc: Any
    ) -> AsyncIterator[Visited]:
        given = {"issuer": standin.issuer, "client_id": "us", "audience": ("fileroom",), **oidc}
        auth = Auth(oidc=Oidc(**given), session_idle_seconds=idle)
        settings = Settings(data_dir=tmp_path, auth=auth, http=Http(public_url=public_url))
        app = create_app(settings.with_database(database_url))
        async with app.router.lifespan_context(app):
            served = Visited(app, base)
            yield served
            await served.end()

    return make


@pytest.fixture
async def served(serving: Any) -> AsyncIterator[Visited]:
    """The application with the provider, on this machine."""
    async with serving() as it:
        yield it


async def begin(served: Visited, then: str = "/docs") -> dict[str, str]:
    """Begin a login; return what the browser is to ask the provider."""
    answer = await served.browser.get("/login", params={"next": then})
    assert answer.status_code == 303
    place = urlsplit(answer.headers["location"])
    return {name: values[0] for name, values in parse_qs(place.query).items()}


def give(standin: Provider, asked: dict[str, str], **claims: Any) -> dict[str, str]:
    """Have the provider log somebody in; return what the browser brings back."""
    now = {"aud": "us", "nonce": asked["nonce"], "name": "Anna", **claims}
    standin.tokens["code-1"] = {"id_token": standin.token(**now), "access_token": "opaque"}
    return {"code": "code-1", "state": asked["state"]}


async def log_in(served: Visited, standin: Provider, **claims: Any) -> httpx.Response:
    """Log somebody in at the provider."""
    back = give(standin, await begin(served), **claims)
    return await served.browser.get("/auth/callback", params=back)


async def kept(served: Visited) -> list[tuple[str, str, bool]]:
    """Return the sessions of the index: whose, of which kind, and whether they are over."""
    archive: Archive = served.app.state.archive
    rows = await archive.index.fetch(
        "SELECT name, kind, ended_at IS NOT NULL FROM web_session ORDER BY created_at"
    )
    return [tuple(row) for row in rows]
