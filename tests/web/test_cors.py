"""Which pages may use the archive from a browser. # G-21, G-22"""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from app.web.cors import cross_origin_rules

LISTED = "https://viewer.example.org"


@pytest.fixture
async def client() -> httpx.AsyncClient:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, **cross_origin_rules([LISTED]))

    @app.get("/")
    async def root() -> None: ...

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (LISTED, True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("https://[::1]:8443", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("https://viewer.example.org.evil.example", False),
        ("null", False),
    ],
)
async def test_only_pages_of_this_machine_and_listed_ones_may_read(
    client: httpx.AsyncClient, origin: str, allowed: bool
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    preflight = await client.options(
        "/", headers={**asked, "Access-Control-Request-Headers": "authorization, range"}
    )
    assert preflight.is_success == allowed
    answer = await client.get("/", headers={"Origin": origin})
    assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


async def test_no_page_may_send_cookies(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={"Origin": LISTED, "Cookie": "a=b"})
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED


async def test_who_is_no_page_sees_nothing_of_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert not [name for name in answer.headers if name.startswith("access-control-allow")]
