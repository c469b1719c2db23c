"""A small application for tests of `serve` that are not about the archive."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Return an application with routes that are slow, that die, and that ask the database."""
    url = settings.database.url
    assert url is not None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assert "STANDIN_FAILS" not in os.environ
        app.state.pool = await asyncpg.create_pool(url.get_secret_value(), min_size=0, max_size=2)
        yield
        await app.state.pool.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()

    @app.get("/sleep")
    async def sleep(seconds: float) -> PlainTextResponse:
        await asyncio.sleep(seconds)
        return PlainTextResponse("slept")

    @app.get("/sql")
    async def sql() -> int:
        value: int = await app.state.pool.fetchval("SELECT 42")
        return value

    @app.post("/count")
    async def count(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @app.get("/stream")
    async def stream(size: int) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(size):
                yield bytes(2**20)

        return StreamingResponse(body())

    return app
