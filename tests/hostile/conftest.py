"""The whole application with one Instance in it, and a look at the end whether all is clean."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.archive import removal, verify
from app.archive.context import Archive
from app.main import create_app
from app.settings import Settings
from tests.hostile.scene import Scene

BASE = "http://127.0.0.1:8080/dicom-web"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are looked at however young they are, and no lease is waited for."""
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    monkeypatch.setattr(removal, "LEASE_SECONDS", 0.0)


@pytest.fixture
def limits() -> dict[str, Any]:
    """Limits other than the defaults; a test overrides it by parametrization."""
    return {}


@pytest.fixture
async def app(database_url: str, tmp_path: Path, limits: dict[str, Any]) -> AsyncIterator[FastAPI]:
    """The application on this test's database and directory."""
    settings = Settings(data_dir=tmp_path).with_database(database_url)
    settings = settings.model_copy(update={"limits": replace(settings.limits, **limits)})
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def archive(app: FastAPI) -> Archive:
    """The archive behind it."""
    archive: Archive = app.state.archive
    return archive


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A caller on this machine. A fault of ours comes out as an exception, not as a 500."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:
        yield client


@pytest.fixture
async def scene(client: httpx.AsyncClient, archive: Archive) -> AsyncIterator[Scene]:
    """An archive with one Instance; at the end nothing half-visible is left in it."""
    scene = await Scene.begin(client, archive)
    yield scene
    assert await scene.faults() == []


@pytest.fixture
def small_memory() -> Iterator[None]:
    """This process grows by less than 300 MB while the test runs."""
    from tests.hostile.memory import growth  # noqa: PLC0415 - reads /proc

    with growth() as grown:
        yield
    assert grown() < 300 * 2**20
