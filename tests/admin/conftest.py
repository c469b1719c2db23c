"""The whole application, with and without a key, and clients of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app.dicom.limits import Limits
from app.main import create_app
from app.settings import Auth, Http, Settings

KEY = "0123456789abcdef"
Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Served:
    """Return a maker of clients: `async with served(...) as client`."""

    @asynccontextmanager
    async def make(
        *,
        key: bool = False,
        url: str = database_url,
        root_path: str = "",
        limits: Limits | None = None,
    ) -> AsyncIterator[httpx.AsyncClient]:
        auth = Auth()
        if key:
            (tmp_path / "key").write_text(KEY)
            auth = Auth(key_file=tmp_path / "key")
        http = Http(root_path=root_path)
        settings = Settings(data_dir=tmp_path, auth=auth, http=http, limits=limits or Limits())
        app = create_app(settings.with_database(url))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, root_path=root_path)
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://127.0.0.1:8080{root_path}"
            ) as client:
                yield client

    return make


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """The operator on this machine; no key is set."""
    async with served() as client:
        yield client
